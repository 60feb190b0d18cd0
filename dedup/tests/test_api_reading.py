import base64
import json
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from accounts.tests.factories import client_of, make_user
from dedup.services import import_path
from dedup.tests.factories import lines, prompt, reply
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


# --- Which messages of a conversation ------------------------------------------------------------


def session(folder: Path) -> tuple[User, Any, str]:
    """A person with a session that uses a tool, a client, and the session's address."""
    robin = make_user()
    call = reply("r1", "", "p1", 1)
    call["message"]["content"] = [{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]
    rows = [
        prompt("p1", "Bread", cwd="/home/robin/kitchen"),
        call,
        prompt("p2", "Salt", "r1", 2),
        reply("r2", "A spoon of salt", "p2", 3),
    ]
    path = folder / "kitchen.jsonl"
    path.write_bytes(lines(rows))
    import_path(user_id=robin.pk, path=path)
    client = client_of(robin)
    (conversation,) = client.get("/api/v1/conversations/").json()["results"]
    return robin, client, f"/api/v1/conversations/{conversation['id']}/"


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        ("", [0, 1, 2, 3]),
        ("order=reading", [0, 1, 2, 3]),
        ("order=latest", [3, 2, 1, 0]),
        ("message_index=2", [2]),
        ("message_index=4", []),
        ("role=user", [0, 2]),
        ("role=user&order=latest", [2, 0]),
        ("role=tool", []),
        ("tool=Bash", [1]),
        ("tool=bash", []),
        (f"content_hash={'0' * 64}", []),
    ],
)
def test_messages_of_a_conversation_are_found_in_the_ways_of_the_requirements(
    tmp_path: Path, query: str, indexes: list[int]
) -> None:
    _, client, url = session(tmp_path)

    found = pages(client, f"{url}messages/?page_size=3&{query}")

    assert [place["message"]["message_index"] for place in found] == indexes


def test_the_latest_messages_are_the_first_page(tmp_path: Path) -> None:
    _, client, url = session(tmp_path)

    answer = client.get(f"{url}messages/?order=latest&page_size=1").json()

    assert [place["message"]["text"] for place in answer["results"]] == ["A spoon of salt"]
    assert answer["next"]


def test_a_content_hash_tells_whether_it_was_said(tmp_path: Path) -> None:
    _, client, url = session(tmp_path)
    said = client.get(f"{url}messages/").json()["results"][2]["message"]

    for digest in (said["content_hash"], said["content_hash"].upper()):
        (found,) = client.get(f"{url}messages/?content_hash={digest}").json()["results"]

        assert found["message"] == said


@pytest.mark.parametrize(
    "query",
    [
        "message_index=-1",
        "message_index=one",
        "message_index=99999999999999999999",
        "content_hash=abc",
        "order=oldest",
        "role=cook",
        "branch=left",
        "tool=a%00b",
    ],
)
def test_what_no_message_can_be_asked_for_is_refused(tmp_path: Path, query: str) -> None:
    _, client, url = session(tmp_path)

    answer = client.get(f"{url}messages/?{query}")

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [query.partition("=")[0]]


@pytest.mark.parametrize("cursor", [b'["a","b"]', b'["0","b"]', b"[null,null]", b"[{},[]]"])
def test_a_hostile_cursor_of_the_latest_messages_is_refused(ada: User, cursor: bytes) -> None:
    client = client_of(ada)
    (conversation,) = client.get("/api/v1/conversations/").json()["results"]

    answer = client.get(
        f"/api/v1/conversations/{conversation['id']}/messages/",
        {"order": "latest", "cursor": base64.urlsafe_b64encode(cursor).decode()},
    )

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_input"


@pytest.mark.parametrize("order", ["reading", "latest"])
def test_messages_cost_the_same_queries_however_many(
    ada: User, django_assert_num_queries: Any, order: str
) -> None:
    client = client_of(ada)
    (conversation,) = client.get("/api/v1/conversations/").json()["results"]
    url = f"/api/v1/conversations/{conversation['id']}/messages/?order={order}"
    client.get(url)

    # The token, a savepoint, reading and setting the actor, the conversation, the places with
    # their messages, the revisions, and back.
    with django_assert_num_queries(9):
        assert len(client.get(url).json()["results"]) == 26


# --- Which conversations -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("source=claude_code", 1),
        ("source=chatgpt", 0),
        ("project=/home/robin/kitchen", 1),
        ("project=kitchen", 0),
        ("parent_key=someone", 0),
        ("q=brea", 1),
        ("q=BREAD", 1),
        ("q=tarts", 0),
        ("updated_from=2026-01-01T00:00:00Z", 1),
        ("updated_from=2999-01-01T00:00:00Z", 0),
        ("updated_before=2999-01-01T00:00:00Z", 1),
        ("updated_before=2026-01-01", 0),
        ("has_secrets=false", 1),
        ("has_secrets=true", 0),
    ],
)
def test_conversations_are_filtered(tmp_path: Path, query: str, found: int) -> None:
    _, client, _ = session(tmp_path)

    answer = client.get(f"/api/v1/conversations/?{query}")

    assert answer.status_code == 200
    assert len(answer.json()["results"]) == found


@pytest.mark.parametrize("query", ["updated_from=soon", "source=telepathy"])
def test_a_filter_that_cannot_be_is_refused(tmp_path: Path, query: str) -> None:
    _, client, _ = session(tmp_path)

    answer = client.get(f"/api/v1/conversations/?{query}")

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [query.partition("=")[0]]


def test_a_conversation_has_details(tmp_path: Path) -> None:
    _, client, url = session(tmp_path)

    found = client.get(url).json()

    assert (found["project"], found["segments"]) == ("/home/robin/kitchen", 1)
    assert (found["metadata"], found["parent"], found["sub_agents"]) == ({}, None, [])
    assert (found["merged_into"], found["has_secrets"]) == (None, False)


def test_conversations_cost_the_same_queries_however_many(
    tmp_path: Path, django_assert_num_queries: Any
) -> None:
    robin, client, _ = session(tmp_path)
    for key in ("c1", "c2", "c3"):
        path = tmp_path / f"{key}.json"
        chat = {"id": key, "messages": [{"role": "user", "content": f"Words of {key}"}]}
        path.write_text(json.dumps(chat))
        import_path(user_id=robin.pk, path=path)
    client.get("/api/v1/conversations/")

    # The token, a savepoint, reading and setting the actor, the rows, which have secrets, and back.
    with django_assert_num_queries(8):
        assert len(client.get("/api/v1/conversations/").json()["results"]) == 4


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("salt", 2),
        ("salt&project=/home/robin/kitchen", 2),
        ("salt&project=garden", 0),
        ("bash&tool=Bash", 1),
        ("salt&tool=Bash", 0),
    ],
)
def test_words_are_found_in_a_project_and_where_a_tool_is_used(
    tmp_path: Path, query: str, found: int
) -> None:
    _, client, _ = session(tmp_path)

    answer = client.get(f"/api/v1/messages/?q={query}")

    assert answer.status_code == 200
    assert len(answer.json()["results"]) == found
