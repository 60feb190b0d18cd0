import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.choices import Role
from dedup.formats.claude_ai import ClaudeAI
from dedup.formats.contract import Block, Header, ParsedMessage, ParsedRecord
from dedup.hashing import content_hash, storable, text_of
from dedup.tests.exports_json import (
    CLAUDE_EMPTY,
    CLAUDE_ROOT,
    CLAUDE_TARTS,
    Row,
    as_json,
    chatgpt_export,
    claude_ai_conversation,
    claude_ai_export,
    claude_ai_message,
    langchain_export,
    openai_export,
    sharegpt_export,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(["a", "b", "c", "", CLAUDE_ROOT])
FILES = st.lists(st.fixed_dictionaries({}, optional={"file_name": JSON, "type": JSON}) | JSON)
MESSAGES = st.fixed_dictionaries(
    {"sender": st.sampled_from(["human", "assistant"]) | JSON},
    optional={
        "uuid": KEYS | JSON,
        "parent_message_uuid": KEYS | JSON,
        "text": st.text(max_size=3) | JSON,
        "content": st.lists(st.dictionaries(st.just("type") | st.text(max_size=3), JSON)) | JSON,
        "attachments": FILES | JSON,
        "files": FILES | JSON,
        "files_v2": FILES | JSON,
        "index": JSON,
        "created_at": JSON,
    },
)
CONVERSATIONS = st.fixed_dictionaries(
    {"chat_messages": st.lists(MESSAGES | JSON, max_size=5) | JSON},
    optional={"uuid": st.just("c1") | JSON, "name": JSON, "project": JSON},
)


def read(raw: bytes, name: str = "conversations.json") -> list[ParsedRecord]:
    return list(ClaudeAI().records(io.BytesIO(raw), name))


def messages_of(*conversations: Row) -> list[ParsedMessage]:
    return [record.message for record in read(as_json(conversations)) if record.message]


def headers_of(raw: bytes, name: str = "conversations.json") -> list[Header]:
    return [row.header for row in read(raw, name) if row.header and row.message is None]


def message_of(message: Row) -> ParsedMessage:
    (parsed,) = messages_of(claude_ai_conversation([message]))
    return parsed


def family(*messages: Row) -> list[tuple[str, str, int | None]]:
    parsed = messages_of(claude_ai_conversation(messages))
    return [(row.native_key, row.parent_key, row.order) for row in parsed]


def said(message: Row) -> bytes:
    """The content hash."""
    parsed = message_of(message)
    content = parsed.content if parsed.compared is None else parsed.compared
    return content_hash(parsed.role, content)


# --- Recognition ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        claude_ai_export(),
        claude_ai_export()[:300],
        json.dumps(json.loads(claude_ai_export()), indent=2).encode()[:500],
        as_json(claude_ai_conversation([])),
        b"[{torn}, " + claude_ai_export()[1:],
        b'[{"chat_messages": [{"sender": "human", "text": "Hel',
    ],
)
def test_conversations_are_recognised(head: bytes) -> None:
    assert ClaudeAI().recognises(head, "anything.json")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[]",
        b"[1, 2, 3]",
        b'[{"uuid": "u1", "full_name": "Ada", "email_address": "ada@example.com"}]',
        b'[{"uuid": "p1", "name": "Tarts", "docs": [], "prompt_template": ""}]',
        b'[{"conversations_memory": "Bakes tarts.", "account_uuid": "u1"}]',
        b'{"name": "shop", "version": "1.0.0"}',
        chatgpt_export(),
        openai_export(),
        sharegpt_export(),
        langchain_export(),
    ],
)
def test_other_files_are_not(head: bytes) -> None:
    assert not ClaudeAI().recognises(head, "conversations.json")


# --- Conversations -------------------------------------------------------------------------------


def test_an_export_is_read_in_pieces_that_are_the_file() -> None:
    raw = json.dumps(json.loads(claude_ai_export()), indent=1).encode() + b"\n"

    records = read(raw)

    assert b"".join(record.raw for record in records) == raw
    assert not any(record.unreadable for record in records)
    assert [bool(record.message) for record in records] == [False] * 2 + [True] * 6 + [False] * 2


def test_an_empty_conversation_is_declared() -> None:
    _, empty = headers_of(claude_ai_export())

    assert empty == Header(
        key=CLAUDE_EMPTY,
        title="Never asked",
        metadata={
            "summary": "",
            "created_at": "2026-03-02T10:00:00.000000Z",
            "updated_at": "2026-03-02T11:00:00.000000Z",
            "account": {"uuid": "account-1"},
        },
        declared=True,
    )


def test_one_conversation_may_be_a_file_with_its_model_and_project() -> None:
    conversation = claude_ai_conversation(
        [claude_ai_message("m1", "human", "Hello")],
        model="claude-sonnet-4",
        is_starred=True,
        project={"uuid": "p1", "name": "Bakery"},
    )

    head, message, _ = read(as_json(conversation))

    assert head.header is not None
    assert head.header == message.header
    assert (head.header.key, head.header.project) == (CLAUDE_TARTS, "Bakery")
    assert head.header.metadata["model"] == "claude-sonnet-4"
    assert head.header.metadata["is_starred"] is True


def test_a_conversation_without_an_id_is_called_after_the_file() -> None:
    nameless = claude_ai_conversation([], key="", name="")

    (of_array,) = headers_of(as_json([nameless]))
    (of_object,) = headers_of(as_json(nameless), "export/tarts.json")

    assert (of_array.key, of_array.certain, of_array.declared) == ("conversations#1", False, False)
    assert (of_object.key, of_object.certain) == ("tarts", False)


def test_damaged_conversations_leave_the_others_whole() -> None:
    good = as_json(claude_ai_conversation([claude_ai_message("m1", "human", "Hello")]))
    raw = b'[{"chat_messages": [oops]},7,{"uuid":"x"},' + good + b',{"chat_messages": [{"torn'

    records = read(raw)

    assert b"".join(record.raw for record in records) == raw
    assert [record.unreadable for record in records] == [False] + [True] * 3 + [False] * 3 + [True]
    assert sum(record.message is not None for record in records) == 1


# --- Messages ------------------------------------------------------------------------------------


def test_a_message_is_read_with_all_that_is_known_of_it() -> None:
    message = claude_ai_message("m1", "assistant", "180 degrees.", index=3, stop_reason="end_turn")

    assert message_of(message) == ParsedMessage(
        native_key="m1",
        role=Role.ASSISTANT,
        content=message["content"],
        sent_at=datetime(2026, 3, 2, 10, tzinfo=UTC),
        metadata={"updated_at": "2026-03-02T10:00:00.000000Z", "stop_reason": "end_turn"},
        index=3,
        compared=[{"type": "text", "text": "180 degrees."}],
    )


def test_exports_of_different_years_say_the_same() -> None:
    old = claude_ai_message("m1", "human", "Hello", files=[{"file_name": "tart.png"}])
    new = old | {"files": [{"file_name": "tart.png", "file_uuid": "f1"}]}

    assert said(old) == said(new) == said(old | {"content": []})
    assert said(old) != said(old | {"files": []})
    assert said(old) != said(old | {"content": [{"type": "text", "text": "Hello!"}]})


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"content": []}, [{"type": "text", "text": "Hello"}]),
        ({"content": None}, [{"type": "text", "text": "Hello"}]),
        ({"content": 7}, [{"type": "text", "text": "Hello"}]),
        ({"content": [{"type": "text", "text": ""}]}, [{"type": "text", "text": "Hello"}]),
        ({"content": [], "text": ""}, []),
        (
            {"content": [{"type": "oven_timer", "minutes": 25}], "text": ""},
            [{"type": "oven_timer", "minutes": 25}],
        ),
        ({"content": ["loose"]}, [{"type": "unknown", "value": "loose"}]),
    ],
)
def test_the_text_stands_in_where_the_content_says_nothing(
    fields: Row, content: list[Block]
) -> None:
    assert message_of(claude_ai_message("m1", "human", "Hello") | fields).content == content


def test_blocks_of_tools_are_kept_whole() -> None:
    asked = json.loads(claude_ai_export())[0]["chat_messages"][1]

    message = message_of(asked)

    assert message.content == asked["content"]
    assert (message.role, message.compared) == (Role.ASSISTANT, None)
    assert text_of(message.content) == "web_search\noven temperature\n180"


def test_the_text_of_an_attachment_and_the_name_of_a_file_can_be_found() -> None:
    message = claude_ai_message(
        "m1",
        "human",
        "",
        attachments=[{"file_name": "recipe.txt", "extracted_content": "Flour"}],
        files=[{"file_name": "tart.png"}, "odd"],
        files_v2=[{"file_name": "tart.png", "file_kind": "image"}, {"file_name": "pie.pdf"}],
    )

    content = message_of(message).content

    assert content == [
        {"type": "attachment", "file_name": "recipe.txt", "extracted_content": "Flour"},
        {"type": "file", "file_name": "tart.png"},
        {"type": "file", "value": "odd"},
        {"type": "file", "file_name": "pie.pdf"},
    ]
    assert text_of(content) == "recipe.txt\nFlour\ntart.png\nodd\npie.pdf"


@pytest.mark.parametrize(
    "message",
    [
        "words",
        {},
        {"sender": "oven", "text": "Ping"},
        {"sender": ["human"], "text": "Hello"},
        {"sender": "human", "content": 7},
    ],
)
def test_a_damaged_message_is_unreadable_and_the_others_are_read(message: Any) -> None:
    good = claude_ai_message("m1", "human", "Hello")

    records = read(as_json([claude_ai_conversation([message, good])]))

    assert [record.unreadable for record in records] == [False] * 2 + [True] + [False] * 2
    assert [record.message is not None for record in records][2:] == [False, True, False]


@pytest.mark.parametrize("index", [-1, 1 << 31, True, "3", 2.0, None])
def test_an_index_that_is_no_number_is_none(index: Any) -> None:
    assert message_of(claude_ai_message("m1", "human", "Hello", index=index)).index is None


# --- Ids and parents -----------------------------------------------------------------------------


def test_without_parents_the_order_is_that_of_the_file() -> None:
    messages = [claude_ai_message("m1", "human", "One"), claude_ai_message("m2", "human", "Two")]

    assert family(*messages) == [("m1", "", None), ("m2", "", None)]


def test_a_branch_is_read_after_its_elder_sibling() -> None:
    tarts = json.loads(claude_ai_export())[0]

    assert family(*tarts["chat_messages"]) == [
        ("m1", "", 0),
        ("m2", "m1", 1),
        ("m3", "m2", 2),
        ("m4", "", 4),
        ("m5", "m3", 3),
        ("m6", "m4", 5),
    ]


def test_the_root_is_a_parent_where_it_is_a_message() -> None:
    root = claude_ai_message(CLAUDE_ROOT, "human", "One", "")

    assert family(root, claude_ai_message("m1", "human", "Two", CLAUDE_ROOT)) == [
        (CLAUDE_ROOT, "", 0),
        ("m1", CLAUDE_ROOT, 1),
    ]


def test_a_parent_of_another_export_is_remembered() -> None:
    assert family(claude_ai_message("m1", "human", "One", "absent")) == [("m1", "absent", 0)]


def test_the_parent_of_a_reply_to_a_damaged_message_is_the_one_before() -> None:
    damaged = claude_ai_message("m2", "oven", "Ping", "m1")

    assert family(
        claude_ai_message("m1", "human", "One", ""),
        damaged,
        claude_ai_message("m3", "human", "Three", "m2"),
    ) == [("m1", "", 0), ("m3", "m1", 2)]


def test_circles_and_repeated_ids_lose_nothing() -> None:
    assert family(
        claude_ai_message("egg", "human", "One", "hen"),
        claude_ai_message("hen", "human", "Two", "egg"),
        claude_ai_message("self", "human", "Three", "self"),
        claude_ai_message("hen", "human", "Four", "egg"),
    ) == [("egg", "", 0), ("hen", "egg", 1), ("self", "", 3), ("hen", "egg", 2)]


def test_a_message_without_an_id_is_known_by_its_place() -> None:
    messages = [claude_ai_message("m1", "human", "One"), claude_ai_message("", "human", "Two")]

    assert [row[0] for row in family(*messages)] == ["m1", f"{CLAUDE_TARTS}/1"]


def test_places_are_not_mixed_up_with_those_of_another_conversation_without_an_id() -> None:
    known = [claude_ai_message("m1", "human", "One"), claude_ai_message("", "human", "Two")]
    unknown = [claude_ai_message("", "human", "One")]

    messages = messages_of(
        claude_ai_conversation(known, key=""), claude_ai_conversation(unknown, key="")
    )

    assert [message.native_key for message in messages] == ["m1", "m1/1", ""]


# --- Anything ------------------------------------------------------------------------------------


def check(raw: bytes) -> None:
    records = read(raw)
    assert b"".join(record.raw for record in records) == raw
    assert all(record.header for record in records if record.message)
    for message in (record.message for record in records if record.message):
        assert len(content_hash(message.role, message.compared or message.content)) == 32
        assert "\x00" not in text_of(storable(message.content))
        storable(message.metadata)


@given(st.binary(max_size=80), st.integers(0, 60))
def test_any_bytes_are_kept(noise: bytes, place: int) -> None:
    check(noise)
    check(claude_ai_export()[: place * 50] + noise + claude_ai_export()[place * 50 :])


@given(st.lists(CONVERSATIONS | JSON, max_size=3) | CONVERSATIONS | JSON)
def test_any_values_in_the_place_of_conversations_are_kept(value: Any) -> None:
    check(json.dumps(value).encode())
    check(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
