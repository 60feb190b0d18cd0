import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.choices import Role
from dedup.formats.chatgpt import ChatGPT
from dedup.formats.contract import Block, Header, ParsedMessage, ParsedRecord
from dedup.hashing import content_hash, storable, text_of
from dedup.tests.exports_json import (
    BREAD,
    TARTS,
    Row,
    as_json,
    chatgpt_conversation,
    chatgpt_export,
    chatgpt_message,
    chatgpt_node,
    chatgpt_said,
    claude_ai_export,
    langchain_export,
    openai_export,
    sharegpt_export,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(["a", "b", "c", "d"])
CONTENTS = st.fixed_dictionaries(
    {"content_type": st.sampled_from(["text", "code", "multimodal_text"]) | JSON},
    optional={"parts": st.lists(JSON, max_size=3) | JSON, "text": JSON, "type": JSON},
)
MESSAGES = st.fixed_dictionaries(
    {"author": st.fixed_dictionaries({"role": st.sampled_from(["user", "tool"]) | JSON}) | JSON},
    optional={"content": CONTENTS | JSON, "metadata": JSON, "create_time": JSON, "weight": JSON},
)
NODES = st.fixed_dictionaries(
    {"message": MESSAGES | JSON},
    optional={"parent": KEYS | JSON, "children": st.lists(KEYS, max_size=3) | JSON},
)
CONVERSATIONS = st.fixed_dictionaries(
    {"mapping": st.dictionaries(KEYS | st.text(max_size=3), NODES | JSON, max_size=5) | JSON},
    optional={"id": st.just("c1") | JSON, "conversation_id": JSON, "title": JSON},
)


def read(raw: bytes, name: str = "conversations.json") -> list[ParsedRecord]:
    return list(ChatGPT().records(io.BytesIO(raw), name))


def messages_of(*conversations: Row) -> list[ParsedMessage]:
    return [record.message for record in read(as_json(conversations)) if record.message]


def headers_of(raw: bytes, name: str = "conversations.json") -> list[Header]:
    return [row.header for row in read(raw, name) if row.header and row.message is None]


def content_of(content: Any) -> list[Block]:
    (message,) = messages_of(chatgpt_conversation([chatgpt_said("a", None, "user", content)]))
    return message.content


def family(*conversations: Row) -> list[tuple[str, str, int | None]]:
    """The node, its parent's node and the place of each message."""
    return [
        (row.native_key.split("/")[1], row.parent_key.rpartition("/")[2], row.order)
        for row in messages_of(*conversations)
    ]


# --- Recognition ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        chatgpt_export(),
        chatgpt_export()[:400],
        b"\xef\xbb\xbf" + chatgpt_export(),
        json.dumps(json.loads(chatgpt_export()), indent=2).encode()[:900],
        as_json(chatgpt_conversation([])),
        b"[{torn}, " + chatgpt_export()[1:],
        b'[{"mapping": {"a": {"message": null}}}]',
    ],
)
def test_conversations_are_recognised(head: bytes) -> None:
    assert ChatGPT().recognises(head, "anything.json")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[]",
        b"[1, 2, 3]",
        b'{"name": "shop", "version": "1.0.0", "dependencies": {"left-pad": "1"}}',
        b'{"id": "user-1", "email": "a@example.com", "chatgpt_plus_user": true}',
        b'[{"id": "f1", "conversation_id": "c1", "rating": "thumbsUp", "create_time": "2026"}]',
        b'[{"id": "s1", "conversation_id": "c1", "title": "Tarts", "is_anonymous": true}]',
        b'{"mapping": {"properties": {"title": {"type": "text"}}}}',
        b'{"timestamp": "2026", "type": "session_meta", "payload": {"id": "a"}}\n',
        claude_ai_export(),
        openai_export(),
        sharegpt_export(),
        langchain_export(),
    ],
)
def test_other_files_are_not(head: bytes) -> None:
    assert not ChatGPT().recognises(head, "conversations.json")


# --- Conversations -------------------------------------------------------------------------------


def test_an_export_is_read_in_pieces_that_are_the_file() -> None:
    raw = json.dumps(json.loads(chatgpt_export()), indent=1).encode() + b"\n"

    records = read(raw)

    assert b"".join(record.raw for record in records) == raw
    assert not any(record.unreadable for record in records)
    assert [bool(record.message) for record in records] == (
        [False] * 3 + [True] * 6 + [False] * 3 + [True] * 4 + [False]
    )


def test_a_conversation_is_declared_with_what_is_said_about_it() -> None:
    conversation = chatgpt_conversation(
        [], gizmo_id="g-p-1", is_archived=True, update_time=1772449200.5
    )

    assert headers_of(as_json([conversation])) == [
        Header(
            key=TARTS,
            title="Tarts",
            project="g-p-1",
            metadata={
                "create_time": 1772445600.0,
                "update_time": 1772449200.5,
                "default_model_slug": "gpt-4o",
                "is_archived": True,
                "gizmo_id": "g-p-1",
            },
            declared=True,
        )
    ]


def test_messages_carry_the_header_of_their_conversation() -> None:
    records = [record for record in read(chatgpt_export()) if record.message]

    keys = [record.header.key for record in records if record.header]
    assert keys == [TARTS] * 6 + [BREAD] * 4


def test_one_conversation_may_be_a_file() -> None:
    raw = as_json(chatgpt_conversation([chatgpt_said("a", None, "user", "Hello")]))

    head, message, tail = read(raw)

    assert head.raw + message.raw + tail.raw == raw
    assert head.header == message.header
    assert message.message is not None
    assert message.message.native_key == f"{TARTS}/a"


def test_a_conversation_without_an_id_is_called_after_the_file() -> None:
    nameless = chatgpt_conversation(
        [chatgpt_said("a", None, "user", "Hello")], key="", title="Tarts"
    )

    (of_array,) = headers_of(as_json([nameless]))
    (of_object,) = headers_of(as_json(nameless), "export/tarts.json")

    assert (of_array.key, of_array.certain, of_array.declared) == ("conversations#1", False, True)
    assert (of_object.key, of_object.certain) == ("tarts", False)
    assert [message.native_key for message in messages_of(nameless)] == [""]


def test_damaged_conversations_leave_the_others_whole() -> None:
    good = as_json(chatgpt_conversation([chatgpt_said("a", None, "user", "Hello")]))
    raw = b'[{"mapping": {oops}},7,{"id":"x","mapping":"none"},' + good + b',{"mapping": {"torn'

    records = read(raw)

    assert b"".join(record.raw for record in records) == raw
    assert [record.unreadable for record in records] == [False] + [True] * 3 + [False] * 3 + [True]
    assert sum(record.message is not None for record in records) == 1


# --- Messages ------------------------------------------------------------------------------------


def test_a_message_is_read_with_all_that_is_known_of_it() -> None:
    message = chatgpt_message(
        "own-id",
        "assistant",
        "180 degrees.",
        1.5,  # type: ignore[arg-type]  # ChatGPT has fractions of seconds
        channel="final",
        end_turn=True,
        recipient="browser",
        metadata={"model_slug": "gpt-4o", "finish_details": {"type": "stop"}, "is_complete": True},
    )

    (parsed,) = messages_of(chatgpt_conversation([chatgpt_node("node", None, message)]))

    assert parsed == ParsedMessage(
        native_key=f"{TARTS}/node",
        role=Role.ASSISTANT,
        content=[{"type": "text", "text": "180 degrees."}],
        sent_at=datetime(2026, 3, 2, 10, 0, 1, 500_000, tzinfo=UTC),
        metadata={
            "status": "finished_successfully",
            "end_turn": True,
            "channel": "final",
            "model": "gpt-4o",
            "finish_details": {"type": "stop"},
            "message_id": "own-id",
            "recipient": "browser",
        },
        order=0,
    )


def test_hidden_messages_are_kept_and_say_so() -> None:
    hidden = next(row for row in messages_of(*json.loads(chatgpt_export())))

    assert (hidden.native_key, hidden.role) == (f"{TARTS}/t1", Role.SYSTEM)
    assert hidden.metadata == {"status": "finished_successfully", "is_hidden": True, "weight": 0.0}


def test_a_tool_is_named() -> None:
    ran = messages_of(*json.loads(chatgpt_export()))[5]

    assert (ran.role, ran.metadata["author"]) == (Role.TOOL, "python")
    assert ran.content == [{"type": "execution_output", "text": "356.0"}]


@pytest.mark.parametrize(
    ("content", "blocks", "words"),
    [
        (
            {"content_type": "text", "parts": ["One", "Two"]},
            [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}],
            "One\nTwo",
        ),
        (
            {
                "content_type": "multimodal_text",
                "parts": [
                    {"content_type": "image_asset_pointer", "asset_pointer": "x", "width": 2},
                    {"content_type": "audio_transcription", "text": "Is it done?"},
                    7,
                ],
            },
            [
                {"type": "image", "asset_pointer": "x", "width": 2},
                {"type": "audio_transcription", "text": "Is it done?"},
                {"type": "unknown", "value": 7},
            ],
            "Is it done?",
        ),
        (
            {"content_type": "code", "language": "python", "text": "print(1)"},
            [{"type": "code", "language": "python", "text": "print(1)"}],
            "python\nprint(1)",
        ),
        (
            {"content_type": "thoughts", "thoughts": [{"summary": "Heat", "content": "Try 180"}]},
            [{"type": "thoughts", "thoughts": [{"summary": "Heat", "content": "Try 180"}]}],
            "Heat\nTry 180",
        ),
        (
            {"content_type": "reasoning_recap", "content": "Thought for 8 seconds"},
            [{"type": "reasoning_recap", "content": "Thought for 8 seconds"}],
            "Thought for 8 seconds",
        ),
        (
            {"content_type": "canvas", "parts": ["One"], "title": "Tarts"},
            [{"type": "text", "text": "One"}, {"type": "canvas", "title": "Tarts"}],
            "One\nTarts",
        ),
        (
            {"content_type": "odd", "type": "own", "text": "Words"},
            [{"content_type": "odd", "type": "own", "text": "Words"}],
            "odd\nWords",
        ),
        ({"text": "Words"}, [{"type": "unknown", "text": "Words"}], "Words"),
        (["Words"], [{"type": "unknown", "value": "Words"}], "Words"),
        (None, [], ""),
    ],
)
def test_content_of_every_kind_is_kept_and_its_words_are_found(
    content: Any, blocks: list[Block], words: str
) -> None:
    assert content_of(content) == blocks
    assert text_of(blocks) == words


@pytest.mark.parametrize(
    "message",
    [
        "words",
        {},
        {"author": {"role": "critic"}, "content": {}},
        {"author": {"role": ["user"]}, "content": {}},
        {"author": {"role": "user"}, "content": 7},
    ],
)
def test_a_damaged_message_is_unreadable_and_the_others_are_read(message: Any) -> None:
    nodes = [
        chatgpt_said("a", None, "user", "Hello"),
        chatgpt_node("b", "a", message),
        chatgpt_said("c", "b", "assistant", "Good day"),
    ]

    records = read(as_json([chatgpt_conversation(nodes)]))

    assert [record.unreadable for record in records] == [False] * 3 + [True] + [False] * 2
    assert family(chatgpt_conversation(nodes)) == [("a", "", 0), ("c", "a", 2)]


# --- The tree ------------------------------------------------------------------------------------


def test_a_branch_is_read_after_its_elder_sibling() -> None:
    tarts = json.loads(chatgpt_export())[0]

    assert family(tarts) == [
        ("t1", "", 1),
        ("t2", "t1", 2),
        ("t3", "t1", 4),
        ("t4", "t2", 3),
        ("t5", "t3", 5),
        ("t6", "t5", 6),
    ]


def test_siblings_stand_as_their_parent_lists_them() -> None:
    nodes = [
        chatgpt_said("late", "root", "user", "Two"),
        chatgpt_said("early", "root", "user", "One"),
        chatgpt_node("root", None, None, ["early", "late"]),
    ]

    assert family(chatgpt_conversation(nodes)) == [("late", "", 2), ("early", "", 1)]


def test_the_parent_is_the_nearest_ancestor_with_a_message() -> None:
    nodes = [
        chatgpt_said("a", None, "user", "Hello"),
        chatgpt_node("gap", "a"),
        chatgpt_node("gap2", "gap"),
        chatgpt_said("b", "gap2", "assistant", "Good day"),
    ]

    assert family(chatgpt_conversation(nodes)) == [("a", "", 0), ("b", "a", 3)]


def test_a_tree_may_be_broken_in_every_way() -> None:
    nodes = [
        chatgpt_said("orphan", "nowhere", "user", "One", ["absent", "listed"]),
        chatgpt_said("egg", "hen", "user", "Two", ["hen"]),
        chatgpt_said("hen", "egg", "user", "Three", ["egg"]),
        chatgpt_said("self", "self", "user", "Four", ["self"]),
        chatgpt_said("listed", None, "user", "Five"),
    ]

    assert family(chatgpt_conversation(nodes)) == [
        ("orphan", "", 0),
        ("egg", "", 2),
        ("hen", "egg", 3),
        ("self", "", 4),
        ("listed", "orphan", 1),
    ]


def test_a_long_conversation_is_walked() -> None:
    nodes = [
        chatgpt_said(f"n{number}", f"n{number - 1}" if number else None, "user", "continue")
        for number in range(3000)
    ]

    assert [row[2] for row in family(chatgpt_conversation(nodes))] == list(range(3000))


def test_a_node_whose_key_cannot_be_stored_is_known_by_its_place() -> None:
    nodes = [chatgpt_said("crème", None, "user", "One"), chatgpt_said("x" * 150, None, "user", "2")]

    assert [row.native_key for row in messages_of(chatgpt_conversation(nodes))] == [
        f"{TARTS}/0",
        f"{TARTS}/1",
    ]


# --- Anything ------------------------------------------------------------------------------------


def check(raw: bytes) -> None:
    records = read(raw)
    assert b"".join(record.raw for record in records) == raw
    messages = [record.message for record in records if record.message]
    assert all(record.header for record in records if record.message)
    assert all(message.order is not None for message in messages)
    for message in messages:
        assert len(content_hash(message.role, message.content)) == 32
        assert "\x00" not in text_of(storable(message.content))
        storable(message.metadata)


@given(st.binary(max_size=80), st.integers(0, 60))
def test_any_bytes_are_kept(noise: bytes, place: int) -> None:
    check(noise)
    check(chatgpt_export()[: place * 40] + noise + chatgpt_export()[place * 40 :])


@given(st.lists(CONVERSATIONS | JSON, max_size=3) | CONVERSATIONS | JSON)
def test_any_values_in_the_place_of_conversations_are_kept(value: Any) -> None:
    check(json.dumps(value).encode())
    check(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
