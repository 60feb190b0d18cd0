import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test.client import Client

from accounts.choices import Scope
from accounts.models import User
from accounts.tests.factories import client_of, make_user
from common.tenancy import acting_as
from dedup.api.downloads import safe_name
from dedup.importing import run_import
from dedup.models import Conversation, Import
from dedup.tests.factories import (
    dialogue,
    import_all,
    latest_import,
    lines,
    prompt,
    reply,
    transcript,
)
from dedup.tests.planted_secrets import PLANTED
from dedup.tests.test_api_imports import count, upload

pytestmark = pytest.mark.django_db

TOKEN = next(secret for secret in PLANTED if secret.kind == "github_pat")
ROWS = [
    prompt("p1", f"Deploy with {TOKEN.secret}"),
    reply("r1", "Left", "p1", 1),
    prompt("p2", "Bread <b>now</b>", "r1", 2),
    prompt("p3", "Tarts", "r1", 3),
]


@pytest.fixture
def ada(tmp_path: Path) -> User:
    ada = make_user()
    import_all(ada.pk, [transcript(tmp_path, ROWS)])
    return ada


def address(user: User) -> str:
    with acting_as(user.pk):
        return f"/api/v1/conversations/{Conversation.objects.visible_to(user.pk).get().pk}/"


def downloaded(client: Client, url: str) -> tuple[Any, bytes]:
    answer = client.get(url)
    assert answer.status_code == 200
    return answer, b"".join(answer)


@pytest.mark.parametrize(
    ("form", "content_type", "suffix"),
    [
        ("", "text/markdown; charset=utf-8", ".md"),
        ("markdown", "text/markdown; charset=utf-8", ".md"),
        ("json", "application/json", ".json"),
        ("html", "text/html; charset=utf-8", ".html"),
    ],
)
def test_a_conversation_is_downloaded_in_each_form(
    ada: User, form: str, content_type: str, suffix: str
) -> None:
    answer, body = downloaded(client_of(ada), f"{address(ada)}export/{form and f'?form={form}'}")

    assert answer["Content-Type"] == content_type
    assert answer["Content-Disposition"].startswith('attachment; filename="claude_code-')
    assert answer["Content-Disposition"].endswith(f'{suffix}"')
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert int(answer["Content-Length"]) == len(body)
    assert b"Tarts" in body
    assert TOKEN.secret.encode() not in body


def test_a_document_leaves_out_branches_and_shows_secrets_where_it_is_asked(ada: User) -> None:
    client, url = client_of(ada), f"{address(ada)}export/?form=json"

    _, everything = downloaded(client, f"{url}&branch=all&secrets=shown")
    _, active = downloaded(client, f"{url}&branch=active")

    assert b"Bread" in everything
    assert TOKEN.secret.encode() in everything
    assert b"Bread" not in active
    assert b"Tarts" in active


@pytest.mark.parametrize("query", ["form=pdf", "branch=left", "secrets=yes"])
def test_another_form_is_refused(ada: User, query: str) -> None:
    answer = client_of(ada).get(f"{address(ada)}export/?{query}")

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [query.partition("=")[0]]


def test_the_bytes_that_were_imported_come_back_whole(ada: User) -> None:
    row = latest_import(ada.pk)

    answer, body = downloaded(client_of(ada), f"/api/v1/imports/{row.pk}/file/")

    assert body == lines(ROWS)
    assert hashlib.sha256(body).digest() == bytes(row.artifact.sha256)
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Disposition"] == f'attachment; filename="{Path(row.name).name}"'


def test_a_file_needs_the_scope_to_read(ada: User) -> None:
    url = f"/api/v1/imports/{latest_import(ada.pk).pk}/file/"

    answer = client_of(ada, Scope.ARCHIVES_WRITE).get(url)

    assert answer.status_code == 403
    assert answer.json()["code"] == "permission_denied"


def stored_file(user: User) -> Path:
    return Path(settings.MEDIA_ROOT, latest_import(user.pk).artifact.stored_as)


def test_damaged_bytes_are_not_given_out_as_what_was_imported(ada: User) -> None:
    stored_file(ada).write_bytes(b"something else")

    answer = client_of(ada).get(f"/api/v1/imports/{latest_import(ada.pk).pk}/file/")

    assert answer.status_code == 409
    assert answer.json()["code"] == "damaged_artifact"


def test_bytes_that_are_gone_are_said_to_be(ada: User) -> None:
    stored_file(ada).unlink()

    answer = client_of(ada).get(f"/api/v1/imports/{latest_import(ada.pk).pk}/file/")

    assert answer.status_code == 409
    assert answer.json()["code"] == "missing_artifact"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("/home/robin/a session.jsonl", "a_session.jsonl"),
        ("C:\\exports\\chat.zip", "chat.zip"),
        ('x"\r\nSet-Cookie: a=b.json', "xSet-Cookie_ab.json"),
        ("../..", "export"),
        ("", "export"),
        ("…", "export"),
        ("Törtchen.json", "Törtchen.json"),
        (".bashrc", "bashrc"),
    ],
)
def test_a_name_of_a_download_is_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_file_is_rebuilt_from_the_database_and_compared(ada: User, tmp_path: Path) -> None:
    import_all(ada.pk, [transcript(tmp_path, ROWS)])
    again = latest_import(ada.pk)
    assert again.already_imported

    for pk in (again.pk, again.original_id):
        answer = client_of(ada).get(f"/api/v1/imports/{pk}/verification/")

        assert answer.status_code == 200
        assert answer.json() == {"rebuilt": True, "mismatches": []}


def test_what_does_not_agree_with_the_file_is_listed(ada: User) -> None:
    stored_file(ada).write_bytes(b"something else")

    answer = client_of(ada).get(f"/api/v1/imports/{latest_import(ada.pk).pk}/verification/")

    assert answer.json() == {
        "rebuilt": False,
        "mismatches": [
            {
                "ordinal": None,
                "revision": None,
                "reason": "the stored file differs from the imported one",
            }
        ],
    }


def test_an_import_that_is_not_completed_cannot_be_compared(ada: User) -> None:
    waiting = upload(ada, lines(dialogue(1))).json()["id"]

    answer = client_of(ada).get(f"/api/v1/imports/{waiting}/verification/")

    assert answer.status_code == 409
    assert answer.json()["code"] == "conflict"


# --- What whoever uploads knows better -----------------------------------------------------------


def upload_as(user: User, content: bytes, key: str = "", **wanted: str) -> Any:
    file = BytesIO(content)
    file.name = "notes.json"
    headers: dict[str, Any] = {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
    return client_of(user).post(
        "/api/v1/imports/", {"file": file, **wanted}, format="multipart", **headers
    )


CHAT = b'{"messages": [{"role": "user", "content": "How long do tarts bake?"}]}'


def test_an_upload_may_say_its_source_and_its_conversation() -> None:
    ada = make_user()

    answer = upload_as(ada, CHAT, source="openai", conversation="kitchen")
    run_import(answer.json()["id"], ada.pk)

    found = client_of(ada).get(answer["Location"]).json()
    assert (found["status"], found["source"]) == ("completed", "openai")
    assert (found["wanted_source"], found["wanted_conversation"]) == ("openai", "kitchen")
    assert found["report"] == {}
    (row,) = client_of(ada).get("/api/v1/conversations/").json()["results"]
    assert row["native_key"] == "kitchen"


def test_an_unknown_source_is_refused_and_nothing_is_kept() -> None:
    ada = make_user()

    answer = upload_as(ada, CHAT, source="telepathy")

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["source"]
    assert count(ada, Import) == 0


@pytest.mark.parametrize("wanted", [{"source": "openai"}, {"conversation": "kitchen"}])
def test_a_key_of_an_upload_that_wanted_something_else_is_refused(wanted: dict[str, str]) -> None:
    ada = make_user()
    upload_as(ada, CHAT, key="monday")

    answer = upload_as(ada, CHAT, key="monday", **wanted)

    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert count(ada, Import) == 1
