"""What archives report to the stream: each import from the request to its end, and each look."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.factories import client_of, make_user, operator_browser
from common.queue import ACTOR_HEADER, REQUEST_HEADER
from common.tenancy import acting_as
from common.tests.broker import empty_queue, queued_messages
from dedup.models import Conversation, Import, Message
from dedup.services import import_path
from dedup.tasks import read_import
from dedup.tests.factories import dialogue, lines, prompt, stored_files, transcript
from dedup.tests.planted_secrets import PLANTED
from tests.events import changes, security, values

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

TABLES = ["dedup_artifact", "dedup_import", "dedup_conversation"]
REASON = "Ticket 4711: the import is stuck"
NOBODY = UUID("00000000-0000-7000-8000-000000000000")


@pytest.fixture(autouse=True)
def _a_quiet_queue() -> Iterator[None]:
    empty_queue()
    yield
    empty_queue()


@pytest.fixture
def ada() -> User:
    return make_user("ada")


def upload(client: APIClient, data: bytes, **headers: str) -> Any:
    file = BytesIO(data)
    file.name = "pies.jsonl"
    answer = client.post("/api/v1/imports/", {"file": file}, format="multipart", headers=headers)
    assert answer.status_code == 202, answer.content
    return answer


def deliver() -> None:
    """Hand each message in the queue to the task, as a worker does."""
    messages = queued_messages()
    empty_queue()
    for message in messages:
        headers = {name: message[name] for name in (ACTOR_HEADER, REQUEST_HEADER)}
        argument = message["argsrepr"].strip("(),'")
        read_import.apply(args=(argument,), headers=headers, throw=True)


# --- Imports ----------------------------------------------------------------------------------


def test_an_import_is_told_from_the_upload_to_its_end(ada: User) -> None:
    answer = upload(client_of(ada), lines(dialogue(3)))
    deliver()

    with acting_as(ada.pk):
        row, conversation = Import.objects.get(), Conversation.objects.get()
    assert answer.json()["id"] == str(row.pk)
    noted = changes(*TABLES)
    assert values(noted, "name", "row_id", "changed") == [
        ("dedup-artifact-added", row.artifact_id, None),
        ("import-requested", row.pk, None),
        ("dedup-import-changed", row.pk, ["attempts", "status"]),
        ("conversation-found", conversation.pk, None),
        ("dedup-conversation-changed", conversation.pk, ["title"]),
        ("dedup-conversation-changed", conversation.pk, ["total_messages", "updated_at"]),
        (
            "import-completed",
            row.pk,
            ["finished_at", "last_sent_at", "messages_in_export",
             "new_messages", "parser_version", "processing_time_ms", "reaches_at", "records",
             "source", "status"],
        ),
    ]  # fmt: skip
    # The worker's events belong to the request that asked for them, and to the person.
    assert set(values(noted, "user_id", "actor_id", "role", "request_id", "reason")) == {
        (ada.pk, ada.pk, "app", answer["X-Request-ID"], "")
    }
    last = noted[-1]
    assert (last["old"]["status"], last["new"]["status"]) == ("running", "completed")
    assert (last["old"]["new_messages"], last["new"]["new_messages"]) == (0, 3)
    assert security() == []


def test_a_second_import_of_the_same_bytes_finds_no_conversation(ada: User, tmp_path: Path) -> None:
    path = transcript(tmp_path, dialogue(2))
    import_path(user_id=ada.pk, path=path)
    before = len(changes(*TABLES))
    import_path(user_id=ada.pk, path=path)

    noted = changes(*TABLES)[before:]

    assert values(noted, "name", "actor_id") == [
        ("import-requested", ada.pk), ("import-completed", ada.pk),
    ]  # fmt: skip
    original = changes("dedup_import")[0]["row_id"]
    assert noted[-1]["new"]["original_id"] == str(original)
    assert noted[-1]["new"]["duplicates_filtered"] == 2


def test_an_import_that_is_rolled_back_was_never_told_of(ada: User, tmp_path: Path) -> None:
    before = changes()

    with pytest.raises(RuntimeError, match="later"), acting_as(ada.pk):  # noqa: PT012 - what is undone
        import_path(user_id=ada.pk, path=transcript(tmp_path, dialogue(2)))
        raise RuntimeError("later")

    assert changes() == before


def failed_import(client: APIClient) -> Any:
    """An upload whose bytes are gone when a worker comes."""
    answer = upload(client, lines(dialogue(3)))
    for path in stored_files():
        path.unlink()
    deliver()
    return answer


def test_an_import_that_fails_is_told_with_its_code_and_without_its_sentence(ada: User) -> None:
    answer = failed_import(client_of(ada))

    *_, last = changes(*TABLES)
    assert values([last], "name", "actor_id", "request_id") == [
        ("import-failed", ada.pk, answer["X-Request-ID"])
    ]
    assert last["changed"] == ["error_code", "error_detail", "finished_at", "status"]
    assert (last["new"]["status"], last["new"]["error_code"]) == ("failed", "missing_artifact")
    assert "error_detail" not in last["new"]
    assert "conversation-found" not in {row["name"] for row in changes()}


def test_an_operators_retry_carries_who_and_why(ada: User) -> None:
    failed_import(client_of(ada))
    browser = operator_browser("grace", reason=REASON)
    grace = User.objects.get(username="grace")
    with acting_as(ada.pk):
        row = Import.objects.get()
    before = len(changes(*TABLES))

    answer = browser.post(
        reverse("admin:dedup_import_changelist"),
        {"action": "read_again", "_selected_action": [str(row.pk)]},
    )
    deliver()

    assert answer.status_code == 302
    retried, *_, ended = changes(*TABLES)[before:]
    assert values([retried], "name", "user_id", "actor_id", "role", "reason", "request_id") == [
        ("dedup-import-changed", ada.pk, grace.pk, "operator", REASON, answer["X-Request-ID"])
    ]
    assert (retried["old"]["status"], retried["new"]["status"]) == ("failed", "queued")
    # The worker reads it for the person; which request it was tells who asked.
    assert values([ended], "name", "actor_id", "role", "reason", "request_id") == [
        ("import-failed", ada.pk, "app", "", answer["X-Request-ID"])
    ]
    (acted,) = security("operator_acted")
    assert values([acted], "user_id", "actor_id", "subject", "details", "reason") == [
        (ada.pk, grace.pk, "dedup_import", {"action": "read_again", "chosen": 1}, REASON)
    ]


# --- Looks at what is sensitive ---------------------------------------------------------------


@pytest.fixture
def keys(ada: User, tmp_path: Path) -> dict[str, UUID]:
    """The keys of an archive in which a secret was said."""
    import_path(
        user_id=ada.pk,
        path=transcript(tmp_path, [prompt("m0", f"Bread with {PLANTED[3].text}")]),
    )
    with acting_as(ada.pk):
        return {
            "imports": Import.objects.get().pk,
            "conversations": Conversation.objects.get().pk,
            "messages": Message.objects.get().pk,
        }


# Route, what the event says it is about, and the action.
SHOWING = [
    ("imports/", "dedup_import", "list"),
    ("imports/{imports}/", "dedup_import", "retrieve"),
    ("conversations/", "dedup_conversation", "list"),
    ("conversations/{conversations}/", "dedup_conversation", "retrieve"),
    ("conversations/{conversations}/messages/", "dedup_conversation", "messages"),
    ("conversations/{conversations}/branches/", "dedup_conversation", "branches"),
    ("conversations/{conversations}/statistics/", "dedup_conversation", "statistics"),
    ("conversations/{conversations}/gaps/", "dedup_conversation", "gaps"),
    ("conversations/{conversations}/log/", "dedup_conversation", "log"),
    ("conversations/{conversations}/export/", "dedup_conversation", "export"),
    ("messages/?q=bread", "dedup_message", "list"),
    ("messages/{messages}/", "dedup_message", "retrieve"),
]
ROUTES = [route for route, *_ in SHOWING]


def ask(user: User, route: str, keys: dict[str, UUID], secrets: str = "", verb: str = "get") -> Any:
    url = f"/api/v1/{route.format(**keys)}"
    if secrets:
        url += f"{'&' if '?' in url else '?'}secrets={secrets}"
    answer = getattr(client_of(user), verb)(url)
    if answer.streaming:
        b"".join(answer)
    return answer


@pytest.mark.parametrize(("route", "subject", "action"), SHOWING)
def test_whoever_asks_for_secrets_leaves_a_trace(
    ada: User, keys: dict[str, UUID], route: str, subject: str, action: str
) -> None:
    before = len(changes())

    answer = ask(ada, route, keys, "shown")

    assert answer.status_code == 200
    named = next((key for name, key in keys.items() if f"{{{name}}}" in route), None)
    noted = security("secrets_revealed")
    assert values(noted, "user_id", "actor_id", "subject", "row_id", "details", "request_id") == [
        (ada.pk, ada.pk, subject, named, {"action": action}, answer["X-Request-ID"])
    ]
    # Nothing but the token that asked.
    assert values(changes()[before:], "table_name") == [("accounts_personalaccesstoken",)]


@pytest.mark.parametrize("secrets", ["", "masked"])
@pytest.mark.parametrize("route", ROUTES)
def test_whoever_does_not_leaves_none(
    ada: User, keys: dict[str, UUID], route: str, secrets: str
) -> None:
    assert ask(ada, route, keys, secrets).status_code == 200
    assert security("secrets_revealed") == []


@pytest.mark.parametrize("route", ROUTES)
def test_what_was_not_shown_leaves_none(ada: User, keys: dict[str, UUID], route: str) -> None:
    nowhere = dict.fromkeys(keys, NOBODY)
    nothing = dict.fromkeys(keys, "not-a-key")

    answers = [
        ask(ada, route, keys, "all"),
        ask(ada, route, keys, "shown", verb="post"),
        ask(ada, route, keys, "shown", verb="options"),
        ask(ada, route, nothing, "shown", verb="options"),  # type: ignore[arg-type]  # no key
    ]
    if "{" in route:
        answers += [
            ask(make_user(), route, keys, "shown"),
            ask(ada, route, nowhere, "shown"),
            ask(ada, route, nothing, "shown"),  # type: ignore[arg-type]  # no key
        ]

    # Without a file the upload asks for one.
    refused = 400 if route == "imports/" else 405
    not_found = [404] * (len(answers) - 4)
    assert [answer.status_code for answer in answers] == [400, refused, 200, 200, *not_found]
    assert security() == []


def test_without_a_token_nothing_is_shown_and_none_is_left(keys: dict[str, UUID]) -> None:
    for route in ROUTES:
        answer = APIClient().get(f"/api/v1/{route.format(**keys)}", {"secrets": "shown"})
        assert answer.status_code == 401
    assert security() == []


def test_a_download_leaves_a_trace(ada: User, keys: dict[str, UUID]) -> None:
    answer = ask(ada, "imports/{imports}/file/", keys)

    assert answer.status_code == 200
    assert values(
        security(), "kind", "name", "user_id", "actor_id", "subject", "row_id", "details"
    ) == [
        (
            "file_downloaded", "file-downloaded", ada.pk, ada.pk, "dedup_import",
            keys["imports"], {"action": "file"},
        )
    ]  # fmt: skip
    assert ask(make_user(), "imports/{imports}/file/", keys).status_code == 404
    assert len(security()) == 1


@pytest.mark.parametrize("form", ["markdown", "json", "html"])
@pytest.mark.parametrize("secrets", ["", "shown"])
def test_an_export_leaves_a_trace_and_one_with_secrets_two(
    ada: User, keys: dict[str, UUID], form: str, secrets: str
) -> None:
    answer = ask(ada, f"conversations/{{conversations}}/export/?form={form}", keys, secrets)

    assert answer.status_code == 200
    expected = [("data_exported", keys["conversations"], {"action": "export", "form": form})]
    if secrets:
        expected.append(("secrets_revealed", keys["conversations"], {"action": "export"}))
    assert values(security(), "kind", "row_id", "details") == expected
    assert {row["request_id"] for row in security()} == {answer["X-Request-ID"]}


def test_an_export_that_is_refused_leaves_none(ada: User, keys: dict[str, UUID]) -> None:
    route = "conversations/{conversations}/export/"

    answers = [
        ask(ada, f"{route}?form=docx", keys),
        ask(ada, route, keys | {"conversations": NOBODY}),
        ask(make_user(), route, keys),
    ]

    assert [answer.status_code for answer in answers] == [400, 404, 404]
    assert security() == []
