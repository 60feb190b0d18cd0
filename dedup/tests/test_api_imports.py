import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.choices import Scope
from accounts.models import User
from accounts.tests.factories import client_of, make_user
from common.tenancy import acting_as
from dedup.importing import run_import
from dedup.models import Artifact, Import

pytestmark = pytest.mark.django_db

SESSION = "5d1f2c3a-0000-4000-8000-000000000001"


def transcript(*texts: str) -> bytes:
    """A session in which a person says these things one after the other."""
    rows = [
        {
            "type": "user",
            "uuid": f"7b0c6f0e-0000-4000-8000-{number:012d}",
            "parentUuid": None,
            "sessionId": SESSION,
            "timestamp": f"2026-01-05T09:00:{number:02d}.000Z",
            "message": {"role": "user", "content": text},
        }
        for number, text in enumerate(texts)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def upload(user: User, content: bytes, name: str = "session.jsonl", **headers: Any) -> Any:
    file = BytesIO(content)
    file.name = name
    return client_of(user).post("/api/v1/imports/", {"file": file}, format="multipart", **headers)


def count(user: User, model: Any) -> int:
    with acting_as(user.pk):
        return int(model.objects.count())


def test_an_upload_is_queued_and_read_by_the_task(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    ada = make_user()

    with django_capture_on_commit_callbacks() as callbacks:
        answer = upload(ada, transcript("Bread", "Salt"))
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    assert answer["Location"].endswith(f"/api/v1/imports/{answer.json()['id']}/")
    assert answer.json()["events_url"].startswith(settings.LIVE_URL)
    assert len(callbacks) == 1
    run_import(answer.json()["id"], ada.pk)

    found = client_of(ada).get(answer["Location"]).json()
    assert found["status"] == "completed"
    assert (found["messages_in_export"], found["new_messages"]) == (2, 2)
    assert found["progress"] is None
    assert found["already_imported"] is False


def test_the_same_bytes_again_are_known() -> None:
    ada = make_user()
    for _ in range(2):
        answer = upload(ada, transcript("Bread"))
        run_import(answer.json()["id"], ada.pk)

    found = client_of(ada).get(answer["Location"]).json()
    assert found["already_imported"] is True
    assert (found["new_messages"], found["duplicates_filtered"]) == (0, 1)
    assert found["savings_pct"] == 100.0
    assert count(ada, Artifact) == 1


def test_a_repeated_request_with_a_key_makes_one_import() -> None:
    ada = make_user()

    first = upload(ada, transcript("Bread"), HTTP_IDEMPOTENCY_KEY="monday")
    again = upload(ada, transcript("Bread"), HTTP_IDEMPOTENCY_KEY="monday")

    assert again.status_code == 202
    assert again.json() == first.json()
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert count(ada, Import) == 1


def test_a_key_of_another_request_is_refused() -> None:
    ada = make_user()
    upload(ada, transcript("Bread"), HTTP_IDEMPOTENCY_KEY="monday")

    answer = upload(ada, transcript("Salt"), HTTP_IDEMPOTENCY_KEY="monday")

    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert count(ada, Import) == 1


def test_two_people_may_use_the_same_key() -> None:
    ada, bob = make_user(), make_user()

    answers = [
        upload(person, transcript("Bread"), HTTP_IDEMPOTENCY_KEY="monday") for person in (ada, bob)
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] != answers[1].json()["id"]


@pytest.mark.parametrize(
    ("content", "name"), [(b"", "notes.txt"), (b"\x00\x01\x02", "a.jsonl"), (b"Hello\n", "a.jsonl")]
)
def test_what_is_no_export_is_refused_and_nothing_is_kept(content: bytes, name: str) -> None:
    ada = make_user()

    answer = upload(ada, content, name)

    assert answer.status_code == 422
    assert answer.json()["code"] == "unknown_format"
    assert (count(ada, Import), count(ada, Artifact)) == (0, 0)
    assert not list(Path(settings.MEDIA_ROOT, "artifacts", str(ada.pk)).rglob("*"))


def test_an_empty_export_brings_nothing_and_is_no_error() -> None:
    ada = make_user()

    answer = upload(ada, b"", f"{SESSION}.jsonl")
    run_import(answer.json()["id"], ada.pk)

    found = client_of(ada).get(answer["Location"]).json()
    assert (found["status"], found["messages_in_export"]) == ("completed", 0)


def test_an_upload_needs_a_file() -> None:
    answer = client_of(make_user()).post("/api/v1/imports/", {}, format="multipart")

    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {"field": "file", "code": "required", "message": "No file was submitted."}
    ]


def test_an_upload_larger_than_allowed_is_refused(settings: Any) -> None:
    settings.LARGEST_UPLOAD_BYTES = 10
    ada = make_user()

    answer = upload(ada, transcript("Bread"))

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "too_large"
    assert count(ada, Import) == 0


def test_a_token_that_may_only_read_cannot_import() -> None:
    ada = make_user()
    file = BytesIO(transcript("Bread"))
    file.name = "a.jsonl"

    answer = client_of(ada, Scope.ARCHIVES_READ).post(
        "/api/v1/imports/", {"file": file}, format="multipart"
    )

    assert answer.status_code == 403
    assert answer.json()["code"] == "permission_denied"
    assert count(ada, Import) == 0


def test_imports_are_listed_newest_first_and_filtered() -> None:
    ada = make_user()
    ids = [upload(ada, transcript(text)).json()["id"] for text in ("Bread", "Salt")]
    run_import(ids[0], ada.pk)
    client = client_of(ada)

    everything = client.get("/api/v1/imports/").json()["results"]
    completed = client.get("/api/v1/imports/?status=completed").json()["results"]

    assert [row["id"] for row in everything] == ids[::-1]
    assert [row["id"] for row in completed] == ids[:1]


def test_a_list_costs_the_same_queries_however_long(django_assert_num_queries: Any) -> None:
    ada = make_user()
    for text in ("Bread", "Salt", "Water"):
        run_import(upload(ada, transcript(text)).json()["id"], ada.pk)
    client = client_of(ada)
    client.get("/api/v1/imports/")

    # The token, a savepoint, reading and setting the actor, the rows, and back.
    with django_assert_num_queries(7):
        assert len(client.get("/api/v1/imports/").json()["results"]) == 3
