import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.choices import Role
from dedup.formats.codex import CodexRollout
from dedup.formats.contract import Header, ParsedMessage, ParsedRecord
from dedup.tests.exports_text import (
    SESSION,
    Row,
    called,
    codex_rollout,
    json_lines,
    returned,
    spoken,
    thought,
)

NAME = f"2026/03/01/rollout-2026-03-01T09-30-00-{SESSION}.jsonl"
OTHER_SESSION = "0199f0bb-1111-7222-8333-444455556666"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
KINDS = st.sampled_from(
    ["message", "reasoning", "function_call", "function_call_output", "web_search_call", "ghost"]
)
ITEMS = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        name: JSON | st.sampled_from(["user", "developer", "[1]"])
        for name in ("role", "content", "summary", "output", "arguments", "call_id", "id", "name")
    },
)
ROWS = st.fixed_dictionaries(
    {"type": st.sampled_from(["session_meta", "response_item", "turn_context"]) | JSON},
    optional={"payload": ITEMS | JSON, "timestamp": JSON, "id": JSON},
)


def read(raw: bytes, name: str = NAME) -> list[ParsedRecord]:
    return list(CodexRollout().records(io.BytesIO(raw), name))


def messages(*items: Row, **meta: Any) -> list[ParsedMessage]:
    return [record.message for record in read(codex_rollout(items, **meta)) if record.message]


def only(item: Row) -> ParsedMessage:
    (message,) = messages(item)
    return message


def header(raw: bytes, name: str = NAME) -> Header | None:
    return next(record.header for record in read(raw, name) if record.header)


# --- Recognition -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (codex_rollout([]), "whatever"),
        (b"{torn\n" + codex_rollout([spoken("user", "Hello")]), "whatever.jsonl"),
        (codex_rollout([], base_instructions="Be brief." * 1000)[:5000], "whatever.jsonl"),
        (b'{"id":"a","timestamp":"2025-08-01T10:00:00Z","instructions":null}\n', "old.jsonl"),
        (b'{"record_type":"state"}\n', "old.jsonl"),
        (json_lines([spoken("user", "Hello")]), NAME),
        (b"", NAME),
    ],
)
def test_a_rollout_is_recognised(raw: bytes, name: str) -> None:
    assert CodexRollout().recognises(raw, name)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"", "session.jsonl"),
        (json_lines([spoken("user", "Hello")]), "messages.jsonl"),
        (json_lines([{"type": "user", "uuid": "m0", "message": {"content": "Hello"}}]), "s.jsonl"),
        (json_lines([{"type": "event_msg", "payload": "none"}]), "s.jsonl"),
        (b'Text that names "type":"session_meta","payload":{\n', "notes.txt"),
    ],
)
def test_another_file_is_not_recognised(raw: bytes, name: str) -> None:
    assert not CodexRollout().recognises(raw, name)


# --- The conversation --------------------------------------------------------------------------


def test_the_session_names_itself() -> None:
    raw = codex_rollout([spoken("user", "Hello")], forked_from_id=OTHER_SESSION)

    assert header(raw, "renamed.jsonl") == Header(
        SESSION,
        project="/home/ada/bakery",
        metadata={
            "forked_from": OTHER_SESSION,
            "cli_version": "0.65.0",
            "git": {"branch": "main", "commit_hash": "4f2c"},
            "source": "cli",
            "originator": "codex_cli_rs",
            "model_provider": "openai",
        },
    )


def test_the_name_of_the_file_stands_in_for_a_damaged_first_row() -> None:
    raw = b"{torn\n" + json_lines([{"type": "response_item", "payload": spoken("user", "Hi")}])

    assert header(raw) == Header(SESSION)
    assert [record.message.native_key for record in read(raw) if record.message] == [f"{SESSION}/1"]


def test_without_any_id_the_session_is_uncertain_and_its_messages_have_no_keys() -> None:
    first, second = read(json_lines([spoken("user", "Hi"), spoken("assistant", "Hi")]), "a.jsonl")

    assert first.header == second.header == Header("a", certain=False)
    assert first.message
    assert second.message
    assert (first.message.native_key, second.message.parent_key) == ("", "")


def test_a_fork_keeps_its_own_id_over_those_it_copied() -> None:
    raw = codex_rollout([spoken("user", "Hi")]) + codex_rollout([], session=OTHER_SESSION)

    assert header(raw) == header(codex_rollout([spoken("user", "Hi")]))


# --- Messages ----------------------------------------------------------------------------------


def test_the_events_that_say_an_item_again_are_no_messages() -> None:
    raw = codex_rollout(
        [spoken("user", "Bake."), thought("Rye."), spoken("assistant", "Baked.")]
    ) + json_lines(
        [{"type": "compacted", "payload": {"message": "They baked.", "type": "message"}}]
    )

    records = read(raw)

    assert [record.message.role for record in records if record.message] == [
        Role.USER, Role.ASSISTANT, Role.ASSISTANT,
    ]  # fmt: skip
    assert len(records) == 10
    assert not any(record.unreadable for record in records)


def test_a_message_has_its_line_as_key_and_follows_the_one_before() -> None:
    first, second = messages(spoken("user", "Bake."), spoken("assistant", "Baked."))

    assert (first.native_key, first.parent_key) == (f"{SESSION}/2", "")
    assert (second.native_key, second.parent_key) == (f"{SESSION}/5", f"{SESSION}/2")
    assert second.sent_at == datetime(2026, 3, 1, 9, 30, 5, tzinfo=UTC)
    assert (first.metadata, second.metadata) == ({}, {"model": "gpt-5.1-codex"})


def test_a_longer_copy_of_the_file_gives_the_same_keys() -> None:
    items = [spoken("user", "Bake."), spoken("assistant", "Baked."), spoken("user", "More.")]

    assert messages(*items)[:2] == messages(*items[:2])


@pytest.mark.parametrize(
    ("name", "role"),
    [("user", Role.USER), ("assistant", Role.ASSISTANT), ("developer", Role.SYSTEM)],
)
def test_each_role_has_its_counterpart(name: str, role: Role) -> None:
    message = only(spoken(name, "Bake."))

    assert (message.role, message.content) == (role, [{"type": "text", "text": "Bake."}])


@pytest.mark.parametrize(
    ("text", "injected"),
    [
        ("<environment_context>\n  <cwd>/home/ada</cwd>\n</environment_context>", True),
        ("<user_instructions>\n\nBe brief.\n\n</user_instructions>", True),
        ("<permissions instructions>Ask first.</permissions instructions>", True),
        ("# AGENTS.md instructions for /home/ada\n\n<INSTRUCTIONS>Rye.</INSTRUCTIONS>", True),
        ("<div>Why is this not centred?</div>", False),
        ("What is <environment_context>?", False),
    ],
)
def test_context_that_the_program_adds_is_marked(text: str, injected: bool) -> None:  # noqa: FBT001 - a case
    message = only(spoken("user", text))

    assert message.role == Role.USER
    assert message.metadata == ({"is_meta": True} if injected else {})


def test_a_call_and_its_result_belong_together() -> None:
    call, result = messages(
        called("call_1", "shell", command=["ls", "bread"]), returned("call_1", "rye.py\n")
    )

    assert call.role == Role.ASSISTANT
    assert call.content == [
        {"type": "tool_use", "id": "call_1", "name": "shell", "input": {"command": ["ls", "bread"]}}
    ]
    assert result.role == Role.TOOL
    assert result.content == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "rye.py\n"}
    ]


@pytest.mark.parametrize(
    ("item", "name", "value"),
    [
        ({"type": "function_call", "name": "shell", "arguments": "{torn"}, "shell", "{torn"),
        (
            {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch"},
            "apply_patch",
            "*** Begin Patch",
        ),
        (
            {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls"]}},
            "local_shell",
            {"type": "exec", "command": ["ls"]},
        ),
        (
            {"type": "web_search_call", "action": {"type": "search", "query": "rye"}},
            "web_search",
            {"type": "search", "query": "rye"},
        ),
        ({"type": "image_generation_call", "prompt": "rye"}, "image_generation", {"prompt": "rye"}),
    ],
)
def test_every_kind_of_call_is_read(item: Row, name: str, value: Any) -> None:
    message = only({**item, "id": "item_1", "status": "completed"})

    assert message.content == [{"type": "tool_use", "id": "item_1", "name": name, "input": value}]
    assert message.api_id == "item_1"
    assert message.metadata == {"status": "completed", "model": "gpt-5.1-codex"}


@pytest.mark.parametrize(
    ("output", "block"),
    [
        ({"content": "No flour.", "success": False}, {"content": "No flour.", "is_error": True}),
        ({"content": "Baked.", "success": True}, {"content": "Baked."}),
        (
            [{"type": "input_text", "text": "Baked."}],
            {"content": [{"type": "text", "text": "Baked."}]},
        ),
        ({"loaves": 3}, {"content": {"loaves": 3}}),
    ],
)
def test_every_form_of_output_is_read(output: Any, block: Row) -> None:
    message = only({"type": "custom_tool_call_output", "call_id": "call_1", "output": output})

    assert message.content == [{"type": "tool_result", "tool_use_id": "call_1", **block}]


def test_reasoning_is_kept_with_its_encrypted_part() -> None:
    plain = only({**thought("Rye."), "content": [{"type": "reasoning_text", "text": "No oats."}]})
    encrypted = only({"type": "reasoning", "summary": [], "encrypted_content": "gAAAAABo"})

    assert plain.content == [
        {"type": "thinking", "thinking": "Rye."},
        {"type": "thinking", "thinking": "No oats.", "encrypted_content": "gAAAAABo"},
    ]
    assert encrypted.content == [
        {"type": "thinking", "thinking": "", "encrypted_content": "gAAAAABo"}
    ]


def test_pictures_stay_in_the_message() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    text = {"type": "input_text", "text": "<environment_context/>"}

    message = only({"type": "message", "role": "user", "content": [text, picture]})

    assert message.content == [
        {"type": "text", "text": "<environment_context/>"}, {**picture, "type": "image"},
    ]  # fmt: skip
    assert message.metadata == {}


def test_rows_of_old_rollouts_are_the_items_themselves() -> None:
    raw = json_lines(
        [
            {"id": SESSION, "timestamp": "2025-08-01T10:00:00Z", "instructions": None, "git": {}},
            {"record_type": "state"},
            spoken("user", "Bake."),
            {"record_type": "state"},
            called("call_1", "shell", command=["ls"]),
        ]
    )

    records = read(raw, "old.jsonl")

    assert [record.message and record.message.native_key for record in records] == [
        None, None, f"{SESSION}/2", None, f"{SESSION}/4",
    ]  # fmt: skip
    assert records[2].header == Header(SESSION, metadata={"git": {}})
    assert records[2].message
    assert records[2].message.sent_at is None


# --- Damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"{torn",
        b"[1]",
        b'{"type":"response_item","payload":3}',
        b'{"type":"response_item","payload":{"type":"message","role":"user"}}',
        b'{"type":"response_item","payload":{"type":"message","role":["user"],"content":"a"}}',
        b'{"a":' * 3000,
    ],
)
def test_a_damaged_row_is_unreadable_and_the_rest_is_read(line: bytes) -> None:
    *_, damaged, after = read(
        codex_rollout([]) + line + b"\n" + json_lines([spoken("user", "Hello")])
    )

    assert (damaged.raw, damaged.message, damaged.unreadable) == (line + b"\n", None, True)
    assert after.message
    assert after.message.native_key == f"{SESSION}/3"


@given(st.binary(max_size=200))
def test_no_bytes_are_lost(raw: bytes) -> None:
    assert b"".join(record.raw for record in read(raw)) == raw
    assert CodexRollout().recognises(raw, "a.jsonl") in (True, False)


@given(st.lists(ROWS | ITEMS, max_size=4))
def test_no_row_is_lost_whatever_it_holds(rows: list[Row]) -> None:
    raw = b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    records = read(raw, "a.jsonl")

    assert b"".join(record.raw for record in records) == raw
    assert all(record.header for record in records if record.message)
    assert CodexRollout().recognises(raw, "a.jsonl") in (True, False)
