import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.choices import Role
from dedup.formats.claude_code import ClaudeCodeTranscript
from dedup.formats.contract import Block, Format, Header, ParsedMessage, ParsedRecord
from dedup.formats.message_lists import LangChainMessages, OpenAIMessages, ShareGPT
from dedup.hashing import content_hash, storable, text_of
from dedup.tests.exports_json import (
    Row,
    as_json,
    as_lines,
    chatgpt_export,
    claude_ai_export,
    langchain_constructor,
    langchain_export,
    openai_export,
    openai_messages,
    sharegpt_export,
)

FORMATS: list[Format] = [OpenAIMessages(), ShareGPT(), LangChainMessages()]
OPENAI, SHAREGPT, LANGCHAIN = FORMATS
HELLO = {"role": "user", "content": "Hello"}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
NAMES = [
    "content", "tool_calls", "tool_call_id", "function_call", "invalid_tool_calls", "refusal",
    "id", "response_metadata", "additional_kwargs", "timestamp", "type",
]  # fmt: skip
CALLS = st.lists(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("id", "name", "args", "function", "type"), JSON)
    )
)
FIELDS = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "tool", "assistant"]) | JSON},
    optional=dict.fromkeys(NAMES, JSON | CALLS),
)
MESSAGES = (
    FIELDS
    | st.fixed_dictionaries({"from": st.sampled_from(["gpt", "tool"]) | JSON, "value": JSON})
    | st.fixed_dictionaries({"type": st.sampled_from(["ai", "chat", "tool"]), "data": FIELDS})
    | FIELDS.map(lambda fields: langchain_constructor("AIMessageChunk", **fields))
)
CONVERSATIONS = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(MESSAGES | JSON, max_size=4) | JSON,
        "conversations": st.lists(MESSAGES | JSON, max_size=4) | JSON,
        "id": st.text(max_size=3) | JSON,
        "title": JSON,
    },
)


def read(form: Format, raw: bytes, name: str = "chats.json") -> list[ParsedRecord]:
    return list(form.records(io.BytesIO(raw), name))


def messages_of(form: Format, raw: bytes) -> list[ParsedMessage]:
    return [record.message for record in read(form, raw) if record.message]


def headers_of(form: Format, raw: bytes, name: str = "chats.json") -> list[Header]:
    return [row.header for row in read(form, raw, name) if row.header and row.message is None]


def said(form: Format, message: Row, key: str = "messages") -> ParsedMessage:
    (parsed,) = messages_of(form, as_json({"id": "chat-1", key: [message]}))
    return parsed


def langchain(kind: str, **data: Any) -> ParsedMessage:
    return said(LANGCHAIN, {"type": kind, "data": data})


# --- Recognition ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (openai_export(), OPENAI),
        (openai_export()[:200], OPENAI),
        (b"\xef\xbb\xbf" + openai_export(), OPENAI),
        (b"{torn\n" + openai_export(), OPENAI),
        (as_json(openai_messages()), OPENAI),
        (as_json({"messages": openai_messages()}), OPENAI),
        (json.dumps([{"messages": openai_messages()}], indent=2).encode(), OPENAI),
        (json.dumps({"model": "gpt-4o", "messages": [HELLO]}, indent=2).encode(), OPENAI),
        (as_lines([{"messages": []}, {"messages": [HELLO]}]), OPENAI),
        (sharegpt_export(), SHAREGPT),
        (sharegpt_export()[:90], SHAREGPT),
        (as_lines(json.loads(sharegpt_export())), SHAREGPT),
        (as_json(json.loads(sharegpt_export())[0]), SHAREGPT),
        (langchain_export(), LANGCHAIN),
        (langchain_export()[:100], LANGCHAIN),
        (as_json([langchain_constructor("HumanMessage", content="Hello")]), LANGCHAIN),
        (as_json({"messages": [langchain_constructor("AIMessage", content="")]}), LANGCHAIN),
        (as_json({"messages": json.loads(langchain_export())}), LANGCHAIN),
    ],
)
def test_each_list_is_recognised_as_what_it_is(head: bytes, form: Format) -> None:
    assert [known for known in FORMATS if known.recognises(head, "anything")] == [form]
    assert not ClaudeCodeTranscript().recognises(head, "anything")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[]",
        b"{}",
        b"[1, 2, 3]",
        b"words\nand words\n",
        b'{"name": "shop", "version": "1.0.0", "scripts": {"test": "jest"}}',
        b'[{"name": "Ada", "role": "user"}, {"name": "Bo", "role": "system"}]',
        b'[{"uuid": "u1", "full_name": "Ada"}]',
        b'{"id": "user-1", "email": "ada@example.com"}',
        b'[{"type": "message", "user": "U1", "text": "Hello", "ts": "1.2"}]',
        b'[{"type": "human", "data": "Hello"}]',
        b'{"type": "human", "data": {"content": "Hello"}}',
        b'{"messages": ["Hello"]}',
        b'{"messages": [{"role": "oven", "content": "Ping"}]}',
        b'{"conversations": [{"from": "ada@example.com", "value": "Hello"}]}',
        b'{"role": "user", "content": "Hello"}\n{"role": "assistant", "content": "Hello"}\n',
        b'{"timestamp":"2026","type":"response_item","payload":{"type":"message","role":"user"}}\n',
        b'{"conversation_id":"c","timestamp":"t","content_hash":"h","message":{"role":"user"}}\n',
        b'{"type":"user","uuid":"m1","sessionId":"s","message":{"role":"user","content":"Hello"}}\n',
        chatgpt_export(),
        claude_ai_export(),
    ],
)
def test_nothing_else_is_recognised(head: bytes) -> None:
    assert not [known for known in FORMATS if known.recognises(head, "chats.json")]


# --- Files and conversations ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "raw"),
    [
        (OPENAI, openai_export()),
        (OPENAI, as_json(openai_messages())),
        (SHAREGPT, sharegpt_export()),
        (LANGCHAIN, langchain_export()),
    ],
)
def test_an_export_is_read_in_pieces_that_are_the_file(form: Format, raw: bytes) -> None:
    records = read(form, raw)

    assert b"".join(record.raw for record in records) == raw
    assert not any(record.unreadable for record in records)
    assert all(record.message.native_key == "" for record in records if record.message)


def test_conversations_stand_on_lines() -> None:
    records = read(OPENAI, openai_export() + b"\n")

    assert [record.header.key for record in records if record.header] == (
        ["chat-1"] * 8 + ["chat-2"] * 3
    )
    assert headers_of(OPENAI, openai_export())[0] == Header(
        key="chat-1", metadata={"model": "gpt-4o"}, declared=True
    )
    assert records[-1].raw == b"\n"
    assert not records[-1].unreadable


def test_a_pretty_printed_object_is_one_conversation() -> None:
    raw = json.dumps({"title": "Tarts", "messages": [HELLO, HELLO]}, indent=2).encode()

    assert [message.content[0]["text"] for message in messages_of(OPENAI, raw)] == ["Hello"] * 2
    assert headers_of(OPENAI, raw, "export/tarts.json") == [
        Header(key="tarts", title="Tarts", certain=False, declared=True)
    ]


def test_messages_by_themselves_are_one_conversation() -> None:
    assert headers_of(OPENAI, as_json([HELLO, HELLO])) == [Header(key="chats", certain=False)]
    assert headers_of(LANGCHAIN, langchain_export()) == [Header(key="chats", certain=False)]


@pytest.mark.parametrize(
    ("raw", "keys"),
    [
        (as_lines([{"messages": [HELLO]}]) + b"\n\n", ["chats"]),
        (as_json([{"messages": [HELLO]}]), ["chats"]),
        (as_json([{"id": 0, "messages": [HELLO]}]), ["chats"]),
        (as_lines([{"messages": [HELLO]}] * 2), ["chats#1", "chats#2"]),
        (b"{torn\n\n" + as_lines([{"messages": [HELLO]}]), ["chats#2"]),
        (as_lines([{"messages": []}] * 30 + [{"messages": [HELLO]}]), ["chats#31"]),
        (as_json([{"messages": [HELLO]}, 7]), ["chats#1"]),
    ],
)
def test_conversations_without_an_id_are_called_after_the_file(raw: bytes, keys: list[str]) -> None:
    records = [record for record in read(OPENAI, raw) if record.message and record.header]

    assert [record.header.key for record in records if record.header] == keys
    assert not any(record.header.certain for record in records if record.header)


def test_keys_fit_their_column() -> None:
    long, unnamed = {"id": "x" * 900, "messages": [HELLO]}, {"messages": [HELLO]}

    assert headers_of(OPENAI, as_json(long))[0].key == "x" * 200
    assert len(headers_of(OPENAI, as_lines([unnamed] * 2), "y" * 900)[1].key) <= 200


def test_a_conversation_without_messages_is_declared_if_it_is_named() -> None:
    raw = as_lines([{"id": "chat-1", "messages": []}, {"messages": []}, {"messages": [HELLO]}])

    assert [header.declared for header in headers_of(OPENAI, raw)] == [True, False, False]


def test_damage_leaves_the_rest_whole() -> None:
    messages = [HELLO, "words", {"content": "No role"}, {"role": "oven", "content": "Ping"}]
    damaged = [{"role": "user", "content": 7}, HELLO]
    raw = b"{oops}\n" + as_lines([{"messages": [*messages, *damaged]}]) + b'{"messages": [{"ro'

    records = read(OPENAI, raw)

    assert b"".join(record.raw for record in records) == raw
    assert [record.unreadable for record in records] == (
        [True] + [False] * 2 + [True] * 4 + [False] * 2 + [True]
    )
    assert [record.message is not None for record in records].count(True) == 2


def test_damage_among_messages_by_themselves_leaves_the_rest_whole() -> None:
    records = read(OPENAI, b"[{oops}, " + as_json([HELLO, 7, HELLO])[1:-1])

    assert [record.unreadable for record in records] == [False, True, False, True, False]


# --- OpenAI --------------------------------------------------------------------------------------


def test_a_conversation_with_tools_is_read() -> None:
    messages = messages_of(OPENAI, as_json(openai_messages()))

    assert [(message.role, text_of(message.content)) for message in messages] == [
        (Role.SYSTEM, "You bake."),
        (Role.USER, "Is it done?"),
        (Role.ASSISTANT, "oven"),
        (Role.TOOL, "180 degrees"),
        (Role.ASSISTANT, "Almost."),
        (Role.USER, "continue"),
        (Role.USER, "continue"),
    ]
    assert messages[1].content[1]["type"] == "image"
    assert messages[2].content == [
        {"type": "tool_use", "id": "call_1", "name": "oven", "input": {"degrees": 180}}
    ]
    assert messages[3].content == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "180 degrees"}
    ]


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (HELLO, [{"type": "text", "text": "Hello"}]),
        ({"role": "user", "content": ["One"]}, [{"type": "text", "text": "One"}]),
        ({"role": "user"}, []),
        ({"role": "user", "content": [7]}, [{"type": "unknown", "value": 7}]),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "UklG"}}]},
            [{"type": "document", "input_audio": {"data": "UklG"}}],
        ),
        (
            {"role": "assistant", "content": "180", "reasoning_content": "Hot.", "refusal": "No."},
            [
                {"type": "thinking", "thinking": "Hot."},
                {"type": "text", "text": "180"},
                {"type": "refusal", "refusal": "No."},
            ],
        ),
        (
            {"role": "assistant", "function_call": {"name": "oven", "arguments": "{torn"}},
            [{"type": "tool_use", "name": "oven", "input": "{torn"}],
        ),
        (
            {"role": "assistant", "tool_calls": ["odd", {"type": "custom", "custom": {"id": 1}}]},
            [{"type": "unknown", "value": "odd"}, {"type": "tool_use", "custom": {"id": 1}}],
        ),
        (
            {"role": "function", "name": "oven", "content": [{"type": "text", "text": "180"}]},
            [{"type": "tool_result", "content": [{"type": "text", "text": "180"}]}],
        ),
    ],
)
def test_what_is_said_becomes_content(message: Row, content: list[Block]) -> None:
    assert said(OPENAI, message).content == content


def test_what_else_is_known_of_a_message_is_kept() -> None:
    message = HELLO | {"name": "Ada", "timestamp": 1772445600, "weight": 0, "tool_call_id": "t"}

    parsed = said(OPENAI, message)

    assert parsed.sent_at == datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert parsed.metadata == {"name": "Ada", "timestamp": 1772445600, "tool_call_id": "t"}


# --- ShareGPT ------------------------------------------------------------------------------------


def test_speakers_of_a_data_set_have_their_roles() -> None:
    records = [record for record in read(SHAREGPT, sharegpt_export()) if record.message]

    assert [record.header.key for record in records if record.header] == ["tarts_0"] * 4 + [
        "bread_0"
    ]
    assert [record.message.role for record in records if record.message] == [
        Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL, Role.USER
    ]  # fmt: skip
    assert records[3].message is not None
    assert records[3].message.content == [{"type": "tool_result", "content": "The oven is hot."}]


@pytest.mark.parametrize(
    "message", [{"from": "oven", "value": "Ping"}, {"from": "gpt"}, {"from": "gpt", "value": 7}]
)
def test_a_damaged_turn_is_unreadable(message: Row) -> None:
    raw = as_json({"conversations": [message, {"from": "gpt", "value": "180", "weight": 1}]})

    (parsed,) = messages_of(SHAREGPT, raw)

    assert [record.unreadable for record in read(SHAREGPT, raw)] == [False, True, False, False]
    assert parsed.metadata == {"weight": 1}


# --- LangChain -----------------------------------------------------------------------------------


def test_an_answer_is_read_with_its_model_and_use() -> None:
    answer = messages_of(LANGCHAIN, langchain_export())[2]

    assert (answer.role, answer.api_id) == (Role.ASSISTANT, "run-7d0b1f52")
    assert answer.content == [
        {"type": "tool_use", "id": "call_1", "name": "oven", "input": {"degrees": 180}}
    ]
    assert answer.metadata["model"] == "gpt-4o"
    assert answer.metadata["usage"]["total_tokens"] == 17
    assert "id" not in answer.metadata


def test_a_tool_answers_a_call() -> None:
    result = messages_of(LANGCHAIN, langchain_export())[3]

    assert (result.role, result.metadata, result.api_id) == (Role.TOOL, {"id": "r1"}, "")
    assert result.content == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "180 degrees"}
    ]


def test_the_id_of_the_response_goes_before_that_of_the_message() -> None:
    message = langchain("ai", content="180", id="run-1", response_metadata={"id": "msg_1"})

    assert (message.api_id, message.metadata["id"]) == ("msg_1", "run-1")


def test_a_call_that_stands_in_the_content_is_not_told_twice() -> None:
    used = {"type": "tool_use", "id": "call_1", "name": "oven", "input": {}}
    calls = [
        {"name": "oven", "args": {}, "id": "call_1"},
        {"name": "mixer", "args": {}, "id": "c2"},
    ]

    assert langchain("ai", content=[used], tool_calls=calls).content == [
        used,
        {"type": "tool_use", "id": "c2", "name": "mixer", "input": {}},
    ]


def test_calls_of_older_versions_are_found() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "oven", "arguments": "{}"}}

    assert langchain("ai", content="", additional_kwargs={"tool_calls": [call]}).content == [
        {"type": "tool_use", "id": "call_1", "name": "oven", "input": {}}
    ]


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("HumanMessage", Role.USER),
        ("AIMessage", Role.ASSISTANT),
        ("AIMessageChunk", Role.ASSISTANT),
        ("SystemMessage", Role.SYSTEM),
        ("ToolMessage", Role.TOOL),
        ("FunctionMessage", Role.TOOL),
    ],
)
def test_serialised_objects_are_read(name: str, role: Role) -> None:
    raw = as_json([langchain_constructor(name, content="Hello")])

    assert [
        (message.role, text_of(message.content)) for message in messages_of(LANGCHAIN, raw)
    ] == [(role, "Hello")]


@pytest.mark.parametrize(
    ("message", "role"),
    [
        ({"type": "AIMessageChunk", "data": {"content": "Hi"}}, Role.ASSISTANT),
        ({"type": "chat", "data": {"role": "assistant", "content": "Hi"}}, Role.ASSISTANT),
        (langchain_constructor("ChatMessage", role="user", content="Hi"), Role.USER),
    ],
)
def test_other_kinds_of_messages_are_read(message: Row, role: Role) -> None:
    assert said(LANGCHAIN, message).role == role


@pytest.mark.parametrize(
    "message",
    [
        {"type": "remove", "data": {"content": "", "id": "m1"}},
        {"type": "chat", "data": {"content": "Hi"}},
        {"type": "human", "data": {"content": 7}},
        {"lc": 1, "type": "constructor", "id": [], "kwargs": {"content": "Hi"}},
        {"lc": 1, "type": "constructor", "id": ["langchain", "OpenAI"], "kwargs": {}},
    ],
)
def test_what_is_no_message_is_unreadable(message: Row) -> None:
    raw = as_json([{"type": "human", "data": {"content": "Hi"}}, message])

    assert [record.unreadable for record in read(LANGCHAIN, raw)] == [False, False, True]


# --- Anything ------------------------------------------------------------------------------------


def check(raw: bytes) -> None:
    for form in FORMATS:
        records = read(form, raw)
        assert b"".join(record.raw for record in records) == raw
        assert all(record.header for record in records if record.message)
        for message in (record.message for record in records if record.message):
            assert len(content_hash(message.role, message.content)) == 32
            assert "\x00" not in text_of(storable(message.content))
            storable(message.metadata)


@given(st.binary(max_size=80), st.integers(0, 30))
def test_any_bytes_are_kept(noise: bytes, place: int) -> None:
    check(noise)
    for raw in (openai_export(), sharegpt_export(), langchain_export()):
        check(raw[: place * 40] + noise + raw[place * 40 :])


@given(st.lists(CONVERSATIONS | MESSAGES | JSON, max_size=4) | CONVERSATIONS | JSON)
def test_any_values_in_the_place_of_conversations_are_kept(value: Any) -> None:
    check(json.dumps(value).encode())
    check(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    check(as_lines([json.loads(json.dumps(value))] if _is_utf8(value) else []))


def _is_utf8(value: Any) -> bool:
    try:
        as_json(value)
    except UnicodeEncodeError:
        return False
    return True
