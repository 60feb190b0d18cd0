"""What hostile cursors get from each list of the API: a refusal, and never an error of ours."""

import base64
from uuid import UUID

import pytest

from accounts.models import User
from accounts.tests.factories import client_of, make_user
from common.tenancy import acting_as
from dedup.choices import Source
from dedup.models import Conversation

pytestmark = pytest.mark.django_db

REFUSAL = "The cursor is not one of ours: follow `next` from the first page."


@pytest.fixture
def ada() -> User:
    return make_user("ada")


@pytest.fixture
def conversation_id(ada: User) -> UUID:
    with acting_as(ada.pk):
        conversation = Conversation.objects.create(
            user=ada, source=Source.CLAUDE_CODE, native_key="a talk"
        )
    return UUID(str(conversation.pk))


def assert_refused(user: User, path: str, cursor: str) -> None:
    answer = client_of(user).get(path, {"cursor": cursor})

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["detail"]) == ("invalid_input", REFUSAL)


@pytest.mark.parametrize("path", ["/api/v1/imports/", "/api/v1/conversations/"])
@pytest.mark.parametrize(
    "cursor",
    [
        b"p=x",
        b"p=",
        b"p=%00",
        b"p=2026-01-01",
        b"r=1&p=x",
        b"o=x",
        b"o=-1",
        b"o=" + b"9" * 5000,
        b"\xff",
        b"p=" + b"f" * 33,
    ],
    ids=lambda cursor: str(cursor[:12]),
)
def test_a_hostile_cursor_of_newest_first_is_refused(ada: User, path: str, cursor: bytes) -> None:
    assert_refused(ada, path, base64.b64encode(cursor).decode())


@pytest.mark.parametrize("path", ["/api/v1/imports/", "/api/v1/conversations/"])
@pytest.mark.parametrize("cursor", ["é", "cD14=x", "a"])
def test_a_cursor_of_newest_first_that_cannot_be_decoded_is_refused(
    ada: User, path: str, cursor: str
) -> None:
    assert_refused(ada, path, cursor)


@pytest.mark.parametrize(
    "cursor",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[Infinity, 1]",
        b"[-Infinity, 1]",
        b"[NaN, 1]",
        b"[1e400, 1]",
        b"[1, 1e400]",
        b"[" + b"9" * 5000 + b", 1]",
        b"[null, 1]",
        b'["x", 1]',
        b"[[], {}]",
        b"[1]",
        b"{}",
        b"\xff",
    ],
    ids=lambda cursor: str(cursor[:12]),
)
def test_a_hostile_cursor_of_a_keyset_is_refused(
    ada: User, conversation_id: UUID, cursor: bytes
) -> None:
    path = f"/api/v1/conversations/{conversation_id}/messages/"

    assert_refused(ada, path, base64.urlsafe_b64encode(cursor).decode())


def test_a_cursor_beyond_all_numbers_is_the_end(ada: User, conversation_id: UUID) -> None:
    cursor = base64.urlsafe_b64encode(b"[" + b"9" * 30 + b", 1]").decode()

    answer = client_of(ada).get(
        f"/api/v1/conversations/{conversation_id}/messages/", {"cursor": cursor}
    )

    assert (answer.status_code, answer.json()["results"]) == (200, [])


def test_the_cursor_that_a_list_gives_leads_on(ada: User, conversation_id: UUID) -> None:
    with acting_as(ada.pk):
        Conversation.objects.create(user=ada, source=Source.CLAUDE_CODE, native_key="another")
    client = client_of(ada)

    first = client.get("/api/v1/conversations/", {"page_size": 1}).json()
    second = client.get(first["next"]).json()

    assert [page["results"][0]["native_key"] for page in (first, second)] == ["another", "a talk"]
    assert client.get(second["previous"]).json()["results"] == first["results"]
