import base64
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from accounts.tests.factories import client_of, make_user
from dedup.services import import_path
from dedup.tests.test_api_imports import transcript

pytestmark = pytest.mark.django_db

TEXTS = [f"Step {number}: knead the dough" for number in range(25)]


@pytest.fixture
def ada(tmp_path: Path) -> User:
    ada = make_user()
    path = tmp_path / "session.jsonl"
    path.write_bytes(transcript(*TEXTS, "Sourdough & rye < wheat, at last"))
    import_path(user_id=ada.pk, path=path)
    return ada


def pages(client: Any, url: str) -> list[dict[str, Any]]:
    """All results, page by page."""
    results: list[dict[str, Any]] = []
    following: str | None = url
    while following:
        answer = client.get(following)
        assert answer.status_code == 200
        results += answer.json()["results"]
        following = answer.json()["next"]
    return results


def test_a_conversation_reads_in_order_over_pages(ada: User) -> None:
    client = client_of(ada)
    (conversation,) = client.get("/api/v1/conversations/").json()["results"]

    read = pages(client, f"/api/v1/conversations/{conversation['id']}/messages/?page_size=7")

    assert [place["position"] for place in read] == list(range(26))
    assert [place["message"]["text"] for place in read[:25]] == TEXTS
    assert conversation["title"] == TEXTS[0]
    assert (conversation["total_messages"], conversation["watermark"]) == (26, 25)


def test_found_words_are_marked_and_the_rest_is_escaped(ada: User) -> None:
    (hit,) = client_of(ada).get("/api/v1/messages/?q=sourdough").json()["results"]

    assert hit["highlight"] == "<mark>Sourdough</mark> &amp; rye &lt; wheat, at last"
    assert hit["message"]["text"] == "Sourdough & rye < wheat, at last"


def test_hits_over_pages_are_each_found_once(ada: User) -> None:
    hits = pages(client_of(ada), "/api/v1/messages/?q=kneading&page_size=4")

    found = [hit["message"]["message_index"] for hit in hits]
    assert sorted(found) == list(range(25))
    assert [hit["rank"] for hit in hits] == sorted((hit["rank"] for hit in hits), reverse=True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('"knead the dough" -rye', 25),
        ("rye or knead", 26),
        ("dough & | ! (", 25),
        ("nothing like it", 0),
        ("rye&role=user", 1),
        ("rye&role=assistant", 0),
        ("rye&source=claude_code", 1),
        ("rye&sent_from=2026-01-05T09:00:25Z", 1),
        ("rye&sent_before=2026-01-05T09:00:25Z", 0),
        ("rye&conversation=00000000-0000-7000-8000-000000000000", 0),
    ],
)
def test_web_search_syntax_and_filters(ada: User, query: str, found: int) -> None:
    query = query.replace(" & | ! (", "+%26+%7C+%21+%28")

    answer = client_of(ada).get(f"/api/v1/messages/?q={query}&page_size=100")

    assert answer.status_code == 200
    assert len(answer.json()["results"]) == found


@pytest.mark.parametrize("cursor", ["nonsense", "W10=", "WyJhIiwiYiJd", "bnVsbA=="])
def test_a_made_up_cursor_is_refused(ada: User, cursor: str) -> None:
    client = client_of(ada)
    conversation = client.get("/api/v1/conversations/").json()["results"][0]["id"]

    for url in (
        f"/api/v1/messages/?q=rye&cursor={cursor}",
        f"/api/v1/conversations/{conversation}/messages/?cursor={cursor}",
    ):
        answer = client.get(url)

        assert answer.status_code == 400, url
        assert answer.json()["code"] == "invalid_input"


def test_a_message_has_all_its_revisions(ada: User, tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    path.write_bytes(transcript("Step 0: rest the dough"))
    import_path(user_id=ada.pk, path=path)
    client = client_of(ada)
    (hit,) = client.get("/api/v1/messages/?q=rest").json()["results"]

    message = client.get(f"/api/v1/messages/{hit['message']['id']}/").json()

    assert [row["text"] for row in message["revisions"]] == [TEXTS[0], "Step 0: rest the dough"]
    assert message["revisions"][1]["content"] == [
        {"type": "text", "text": "Step 0: rest the dough"}
    ]
    assert len(message["revisions"][0]["content_hash"]) == 64


def test_a_search_costs_the_same_queries_however_many_hits(
    ada: User, django_assert_num_queries: Any
) -> None:
    client = client_of(ada)
    client.get("/api/v1/messages/?q=rye")

    # The token, a savepoint, reading and setting the actor, the words, the hits, their messages
    # and revisions, and back.
    with django_assert_num_queries(10):
        assert len(client.get("/api/v1/messages/?q=knead").json()["results"]) == 25


@pytest.mark.parametrize(
    "cursor",
    [
        b'[null,"00000000-0000-7000-8000-000000000000"]',
        b'[1e300,"00000000-0000-7000-8000-000000000000"]',
        b'[0.5,"nonsense"]',
        b"[0.5,7]",
        b"[Infinity,1]",
        b"[" + b"9" * 400 + b",1]",
        b"[" * 5000,
    ],
    ids=lambda cursor: str(cursor[:12]),
)
def test_a_hostile_cursor_is_refused(ada: User, cursor: bytes) -> None:
    encoded = base64.urlsafe_b64encode(cursor).decode()

    answer = client_of(ada).get("/api/v1/messages/", {"q": "rye", "cursor": encoded})

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_input"


def test_a_search_that_only_leaves_words_out_is_refused(ada: User) -> None:
    answer = client_of(ada).get("/api/v1/messages/", {"q": "-rye"})

    assert answer.status_code == 400
    assert "Give a word to look for" in answer.json()["detail"]
