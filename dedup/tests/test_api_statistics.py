from pathlib import Path
from typing import Any

import pytest
from django.test.client import Client

from accounts.models import User
from accounts.tests.factories import client_of, make_user
from common.tenancy import acting_as
from dedup.models import Conversation
from dedup.services import import_path
from dedup.tests.exports_json import (
    as_json,
    as_lines,
    chatgpt_export,
    claude_ai_conversation,
    claude_ai_message,
    langchain_export,
)
from dedup.tests.factories import (
    SESSION,
    Row,
    dialogue,
    import_all,
    lines,
    prompt,
    reply,
    transcript,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return make_user()


def address(user: User, key: str = SESSION) -> str:
    with acting_as(user.pk):
        row = Conversation.objects.visible_to(user.pk).get(native_key=key)
    return f"/api/v1/conversations/{row.pk}/"


def answered(client: Client, url: str) -> Any:
    answer = client.get(url)
    assert answer.status_code == 200, answer.content
    return answer.json()


def part(key: str, parent: str, response: int, block: Row, usage: Row | None) -> Row:
    """One content block of a response, with the usage so far."""
    row = reply(key, "", parent, response)
    row["message"] |= {"content": [block], "model": "claude-opus", "usage": usage}
    return row


def usage(sent: int, received: int, made: int = 0, read: int = 0) -> Row:
    return {
        "input_tokens": sent,
        "output_tokens": received,
        "cache_creation_input_tokens": made,
        "cache_read_input_tokens": read,
        "service_tier": "standard",
        "server_tool_use": {"web_search_requests": 9},
    }


def tool(name: str, key: str) -> Row:
    return {"type": "tool_use", "id": key, "name": name, "input": {}}


TEXT = {"type": "text", "text": "Knead it."}


def session() -> list[Row]:
    """Two responses, of which the first came in three blocks, and one without an id."""
    no_id = part("r5", "p2", 5, TEXT, usage(1, 2))
    del no_id["message"]["id"]
    no_id["message"]["model"] = "claude-haiku"
    return [
        prompt("p1", "Bread?"),
        part("r1", "p1", 1, TEXT, usage(10, 1, 100, 1000)),
        part("r2", "r1", 1, tool("Bash", "t1"), usage(10, 50, 100, 1000)),
        part("r3", "r2", 1, tool("Bash", "t2"), usage(10, 20, 100, 1000)),
        part("r4", "r3", 4, tool("Read", "t3"), usage(5, 7)),
        prompt("p2", "And salt?", "r4", 6),
        no_id,
    ]


def total(tokens: Any) -> tuple[int, ...]:
    names = ("responses", "input", "output", "cache_creation", "cache_read")
    return tuple(tokens[name] for name in names)


def test_tokens_count_once_for_each_response_at_their_greatest(ada: User, tmp_path: Path) -> None:
    import_all(ada.pk, [transcript(tmp_path, session())])

    found = answered(client_of(ada), f"{address(ada)}statistics/")

    assert total(found["tokens"]["total"]) == (3, 16, 59, 100, 1000)
    assert [(each["model"], *total(each)) for each in found["tokens"]["by_model"]] == [
        ("claude-opus", 2, 15, 57, 100, 1000),
        ("claude-haiku", 1, 1, 2, 0, 0),
    ]
    assert found["tools"] == [{"name": "Bash", "count": 2}, {"name": "Read", "count": 1}]
    assert found["messages_by_role"] == [
        {"role": "assistant", "count": 5},
        {"role": "user", "count": 2},
    ]
    assert (found["first_sent_at"], found["last_sent_at"]) == (
        "2026-03-02T10:00:00Z",
        "2026-03-02T10:00:06Z",
    )


@pytest.mark.parametrize(
    "odd",
    [None, "many", [], {"input_tokens": "7"}, {"input_tokens": None}, {"input_tokens": {"a": 1}}],
)
def test_usage_in_another_shape_counts_nothing(ada: User, tmp_path: Path, odd: Any) -> None:
    import_all(ada.pk, [transcript(tmp_path, [part("r1", "", 1, TEXT, odd)])])

    tokens = answered(client_of(ada), f"{address(ada)}statistics/")["tokens"]

    assert total(tokens["total"])[1:] == (0, 0, 0, 0)


def test_prompt_and_completion_tokens_are_input_and_output(ada: User, tmp_path: Path) -> None:
    path = tmp_path / "messages.json"
    path.write_bytes(langchain_export())
    import_all(ada.pk, [path])

    tokens = answered(client_of(ada), "/api/v1/archive/statistics/")["tokens"]

    assert total(tokens["total"]) == (1, 12, 5, 0, 0)
    assert [each["model"] for each in tokens["by_model"]] == ["gpt-4o"]


def test_sub_agents_are_linked_and_count_apart(ada: User, tmp_path: Path) -> None:
    main = [prompt("p1", "Bake"), part("r1", "p1", 1, TEXT, usage(1, 2))]
    agent = [
        row | {"agentId": "a1", "isSidechain": True}
        for row in [prompt("q1", "Look it up"), part("s1", "q1", 9, TEXT, usage(30, 40))]
    ]
    paths = [transcript(tmp_path, main), transcript(tmp_path, agent, name="agent-a1")]
    import_all(ada.pk, paths)
    client = client_of(ada)

    found = answered(client, f"{address(ada)}statistics/")
    parent = answered(client, address(ada))
    child = answered(client, address(ada, f"{SESSION}/agent-a1"))

    assert total(found["tokens"]["total"]) == (1, 1, 2, 0, 0)
    assert found["sub_agents"] == 1
    assert total(found["sub_agent_tokens"]["total"]) == (1, 30, 40, 0, 0)
    assert parent["sub_agents"] == [
        {
            "id": child["id"],
            "native_key": f"{SESSION}/agent-a1",
            "title": "Look it up",
            "total_messages": 2,
        }
    ]
    assert (parent["parent"], child["parent"]) == (None, parent["id"])


def test_the_log_is_summed_and_listed(ada: User, tmp_path: Path) -> None:
    rows = dialogue(4)
    first = transcript(tmp_path / "a", rows[:2])
    second = transcript(tmp_path / "b", rows)
    import_all(ada.pk, [first, second])
    client = client_of(ada)

    found = answered(client, f"{address(ada)}statistics/")
    latest, oldest = answered(client, f"{address(ada)}log/")["results"]

    milliseconds = latest["processing_time_ms"] + oldest["processing_time_ms"]
    assert found["log"] == {
        "exports": 2,
        "messages_processed": 6,
        "new_messages": 4,
        "duplicates_filtered": 2,
        "revisions": 0,
        "content_collisions": 0,
        "average_savings_pct": 25.0,
        "average_processing_time_ms": milliseconds / 2,
    }
    assert (found["total_messages"], found["highest_index"], found["branch_points"]) == (4, 3, 0)
    assert (latest["import_name"], latest["messages_processed"]) == (str(second), 4)
    assert (latest["new_messages"], latest["storage_savings_pct"]) == (2, 50.0)
    assert (oldest["import_name"], oldest["operation"]) == (str(first), "process_export")
    assert answered(client, f"/api/v1/imports/{oldest['import_id']}/")["name"] == str(first)


def test_a_conversation_without_messages_has_figures_too(ada: User, tmp_path: Path) -> None:
    path = tmp_path / "conversations.json"
    path.write_bytes(as_json([claude_ai_conversation([], "c1", "Never asked")]))
    import_all(ada.pk, [path])

    found = answered(client_of(ada), f"{address(ada, 'c1')}statistics/")

    assert (found["total_messages"], found["highest_index"]) == (0, -1)
    assert (found["first_sent_at"], found["messages_by_role"], found["tools"]) == (None, [], [])
    assert found["log"]["exports"] == 1


def test_gaps_are_ranges_of_the_sources_own_numbers(ada: User, tmp_path: Path) -> None:
    messages = [
        claude_ai_message(f"m{index}", "human", f"Words {index}", second=index, index=index)
        for index in (0, 1, 4, 8, 9)
    ]
    path = tmp_path / "conversations.json"
    path.write_bytes(as_json([claude_ai_conversation(messages, "c1")]))
    import_all(ada.pk, [path])

    gaps = answered(client_of(ada), f"{address(ada, 'c1')}gaps/")

    assert gaps == {"indexes": [[2, 3], [5, 7]], "unknown": [], "missing_parents": []}


def test_parents_that_are_not_here_are_named(ada: User, tmp_path: Path) -> None:
    rows = [prompt("p1", "Bread"), prompt("p2", "Salt", "gone", 1)]
    import_all(ada.pk, [transcript(tmp_path, rows)])
    client = client_of(ada)
    _, orphan = answered(client, f"{address(ada)}messages/")["results"]

    gaps = answered(client, f"{address(ada)}gaps/")

    assert gaps["missing_parents"] == [{"message": orphan["message"]["id"], "parent_key": "gone"}]
    assert (gaps["indexes"], gaps["unknown"]) == ([], [])


def test_between_two_stretches_of_a_conversation_something_may_be_missing(
    ada: User, tmp_path: Path
) -> None:
    words = [f"A sentence about bread, number {number}" for number in range(6)]
    for name, said in (("a", words[:3]), ("b", words[3:])):
        messages = [{"role": "user", "content": text} for text in said]
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(as_lines([{"id": "c1", "messages": messages}]))
        import_path(user_id=ada.pk, path=path)
    client = client_of(ada)
    places = answered(client, f"{address(ada, 'c1')}messages/")["results"]
    ids = [place["message"]["id"] for place in places]

    gaps = answered(client, f"{address(ada, 'c1')}gaps/")

    assert [place["segment"] for place in places] == [0, 0, 0, 1, 1, 1]
    assert gaps["unknown"] == [{"after": ids[2], "before": ids[3]}]
    assert answered(client, address(ada, "c1"))["segments"] == 2


def test_the_whole_archive_is_counted(ada: User, tmp_path: Path) -> None:
    rows = session()
    first, second = transcript(tmp_path / "a", rows[:3]), transcript(tmp_path / "b", rows)
    chats = tmp_path / "conversations.json"
    chats.write_bytes(chatgpt_export())
    import_all(ada.pk, [first, second, chats, chats])
    client = client_of(ada)

    found = answered(client, "/api/v1/archive/statistics/")

    assert (found["conversations"], found["messages"], found["artifacts"]) == (3, 17, 3)
    assert found["artifact_bytes"] == sum(path.stat().st_size for path in (first, second, chats))
    assert found["exports"] == {
        "imports": 4,
        "messages_in_exports": 30,
        "new_messages": 17,
        "duplicates_filtered": 13,
        "revisions": 0,
        "content_collisions": found["exports"]["content_collisions"],
        "savings_pct": 43.33,
    }
    assert found["by_source"] == [
        {"source": "chatgpt", "conversations": 2, "messages": 10, "imports": 2},
        {"source": "claude_code", "conversations": 1, "messages": 7, "imports": 2},
    ]
    (day,) = found["by_day"]
    assert (day["messages_in_exports"], day["duplicates_filtered"]) == (30, 13)
    assert total(found["tokens"]["total"]) == (3, 16, 59, 100, 1000)


def test_an_empty_archive_has_figures_and_is_valid(ada: User) -> None:
    client = client_of(ada)

    found = answered(client, "/api/v1/archive/statistics/")

    assert (found["conversations"], found["by_source"], found["by_day"]) == (0, [], [])
    assert found["exports"]["savings_pct"] == 0.0
    assert answered(client, "/api/v1/archive/integrity/") == {"valid": True, "problems": []}


def test_a_wrong_total_is_a_problem_of_integrity(ada: User, tmp_path: Path) -> None:
    import_all(ada.pk, [transcript(tmp_path, dialogue(2))])
    with acting_as(ada.pk):
        row = Conversation.objects.visible_to(ada.pk).get()
        Conversation.objects.visible_to(ada.pk).update(total_messages=7)

    found = answered(client_of(ada), "/api/v1/archive/integrity/")

    assert found == {
        "valid": False,
        "problems": [f"conversation {row.pk} counts 7 messages, not 2"],
    }


def test_nobody_elses_figures_are_counted(ada: User, tmp_path: Path) -> None:
    import_all(ada.pk, [transcript(tmp_path, session())])

    found = answered(client_of(make_user()), "/api/v1/archive/statistics/")

    assert (found["messages"], found["artifacts"], found["exports"]["imports"]) == (0, 0, 0)
    assert total(found["tokens"]["total"]) == (0, 0, 0, 0, 0)


def test_a_merged_conversation_is_not_listed_but_says_where_it_went(
    ada: User, tmp_path: Path
) -> None:
    paths = [
        transcript(tmp_path, dialogue(2)),
        tmp_path / "f3c0a9d4-52b7-4b0e-8a41-6d1c9e22b870.jsonl",
    ]
    paths[1].write_bytes(lines([prompt("x1", "Salt", sessionId=paths[1].stem)]))
    import_all(ada.pk, paths)
    with acting_as(ada.pk):
        mine = Conversation.objects.visible_to(ada.pk)
        target, gone = mine.get(native_key=SESSION), mine.get(native_key=paths[1].stem)
        mine.filter(pk=gone.pk).update(merged_into=target)
    client = client_of(ada)

    listed = answered(client, "/api/v1/conversations/")["results"]
    detail = answered(client, f"/api/v1/conversations/{gone.pk}/")

    assert [row["id"] for row in listed] == [str(target.pk)]
    assert listed[0]["merged_into"] is None
    assert detail["merged_into"] == str(target.pk)
    assert answered(client, "/api/v1/archive/statistics/")["conversations"] == 1


def test_a_log_costs_the_same_queries_however_long(
    ada: User, tmp_path: Path, django_assert_num_queries: Any
) -> None:
    rows = dialogue(6)
    import_all(
        ada.pk, [transcript(tmp_path / str(end), rows[:end]) for end in range(1, len(rows) + 1)]
    )
    client, url = client_of(ada), f"{address(ada)}log/"
    client.get(url)

    # The token, a savepoint, reading and setting the actor, the conversation, the lines, and back.
    with django_assert_num_queries(8):
        assert len(client.get(url).json()["results"]) == 6
