import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.choices import Role
from dedup.errors import UnknownFormatError
from dedup.formats import detect
from dedup.formats.claude_code import ClaudeCodeAgentNote, ClaudeCodeTranscript
from dedup.formats.contract import Header, ParsedMessage, ParsedRecord
from dedup.records import stored_record
from dedup.tests.factories import OTHER_SESSION, SESSION, Row, lines, prompt, reply, sample_files

ROW_TYPES = ["user", "assistant", "system", "attachment", "progress", "summary", "oven-timer"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
NAMES = ["type", "uuid", "parentUuid", "logicalParentUuid", "message", "timestamp", "content"]
ROWS = st.fixed_dictionaries(
    {}, optional={name: JSON | st.sampled_from(ROW_TYPES) for name in NAMES}
) | st.fixed_dictionaries(
    {"type": st.sampled_from(ROW_TYPES), "uuid": st.text(max_size=3) | JSON},
    optional={
        "message": st.fixed_dictionaries({"content": JSON}, optional={"id": JSON, "usage": JSON}),
        "parentUuid": JSON,
        "timestamp": st.datetimes().map(str) | JSON,
    },
)


def parse(*rows: Row | bytes) -> list[ParsedRecord]:
    """The records of a session's file without what they say of the session."""
    file = io.BytesIO(lines(rows))
    return [
        replace(record, header=None)
        for record in ClaudeCodeTranscript().records(file, f"{SESSION}.jsonl")
    ]


def message_of(row: Row | bytes) -> ParsedMessage:
    (record,) = parse(row)
    assert record.message is not None
    return record.message


def header_of(name: str, *rows: Row | bytes) -> Header | None:
    """The conversation of a message that follows the rows and says nothing of it."""
    last = {"type": "user", "uuid": "last", "message": {"content": "Well?"}}
    *_, record = ClaudeCodeTranscript().records(io.BytesIO(lines([*rows, last])), name)
    return record.header


def note_of(text: bytes, name: str) -> ParsedRecord:
    (record,) = ClaudeCodeAgentNote().records(io.BytesIO(text), name)
    return record


# --- Recognition -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.name)
def test_every_sample_is_recognised(path: Any) -> None:
    note = path.name.endswith(".meta.json")

    found = detect(path.read_bytes(), str(path))

    assert isinstance(found, ClaudeCodeAgentNote if note else ClaudeCodeTranscript)


@pytest.mark.parametrize(
    "head",
    [
        lines([prompt("m0", "Hello")]),
        b"\xef\xbb\xbf" + lines([prompt("m0", "Hello")]),
        b"\n\n{torn\n" + lines([prompt("m0", "Hello")]),
        b'{"type":"summary","summary":"Pies","leafUuid":"m9"}\n',
        lines([prompt("m0", "Hello")])[:-20],
    ],
)
def test_a_transcript_is_recognised_by_any_of_its_rows(head: bytes) -> None:
    assert isinstance(detect(head, "whatever.txt"), ClaudeCodeTranscript)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "empty"),
        (b"\x7fELF\x00\x01\x02", "binary"),
        ("\ufeff{}".encode("utf-16"), "binary"),
        (b"Dear diary,\n", "Nothing in the file looks like"),
        (b'{"role": "user", "content": "Hello"}\n', "Nothing in the file looks like"),
        (b"[1, 2, 3]", "Nothing in the file looks like"),
    ],
)
def test_what_is_no_transcript_is_refused_with_a_sentence(head: bytes, words: str) -> None:
    with pytest.raises(UnknownFormatError, match=words):
        detect(head, "notes.txt")


def test_an_empty_file_counts_as_a_transcript_by_its_name() -> None:
    assert isinstance(detect(b"", f"{SESSION}.jsonl"), ClaudeCodeTranscript)


# --- Headers -----------------------------------------------------------------------------------


def test_the_conversation_is_named_by_the_file_where_that_is_a_session_id() -> None:
    row = prompt("m0", "Hello", cwd="/home/robin/pies")

    assert header_of(f"/x/{OTHER_SESSION}.jsonl", row) == Header(
        OTHER_SESSION, project="/home/robin/pies"
    )
    assert header_of("copy of a session.jsonl", row) == Header(SESSION, project="/home/robin/pies")


def test_the_folder_is_named_by_a_later_row_than_the_session() -> None:
    administers = {"type": "queue-operation", "sessionId": SESSION}
    speaks = prompt("m0", "Hello", cwd="/home/robin/pies")

    assert header_of("copy.jsonl", administers, speaks) == Header(
        SESSION, project="/home/robin/pies"
    )


def test_a_sub_agents_transcript_belongs_to_its_session() -> None:
    row = prompt("m0", "Look it up", agentId="a1b2", isSidechain=True)

    assert header_of("agent-a1b2.jsonl", b"\n", row) == Header(
        f"{SESSION}/agent-a1b2", parent_key=SESSION
    )


def test_a_file_without_a_session_is_named_by_itself() -> None:
    summary = {"type": "summary", "summary": "Pies", "leafUuid": "m9"}

    assert header_of("old\x00 pies.jsonl", summary) == Header("old pies")
    assert header_of("x" * 300 + ".jsonl", summary) == Header("x" * 200)


def test_session_ids_that_do_not_fit_are_passed_over() -> None:
    bad: list[Any] = ["", "x" * 201, "näh", "a b", "a\x00", 7, None, ["x"]]
    rows = [prompt("m0", "Hello", sessionId=value) for value in bad]

    assert header_of("pies.jsonl", *rows) == Header("pies")


def test_a_note_on_a_sub_agent_gives_its_conversation_a_title() -> None:
    text = b'{"agentType": "Explore", "description": "Look up\\u0000 densities"}'

    found = note_of(text, f"/p/{SESSION}/subagents/agent-a1.meta.json")
    lost = note_of(text, "/p/agent-a1.meta.json")

    assert found.header == Header(
        f"{SESSION}/agent-a1", parent_key=SESSION, title="Look up densities", declared=True
    )
    assert lost == ParsedRecord(text)


def test_a_note_is_one_record_without_a_message() -> None:
    name = "/p/agent-a1.meta.json"

    assert note_of(b'{"agentType": 1}', name) == ParsedRecord(b'{"agentType": 1}')
    assert note_of(b"{", name) == ParsedRecord(b"{", unreadable=True)


# --- Messages ----------------------------------------------------------------------------------


def test_a_prompt_is_read_with_all_that_identifies_it() -> None:
    row = prompt("m1", "Hello", "m0", 5, version="2.1.9", gitBranch="main", isSidechain=False)

    assert message_of(row) == ParsedMessage(
        native_key="m1",
        parent_key="m0",
        role=Role.USER,
        content=[{"type": "text", "text": "Hello"}],
        sent_at=datetime(2026, 3, 2, 10, 0, 5, tzinfo=UTC),
        metadata={"version": "2.1.9", "git_branch": "main"},
    )


def test_a_reply_has_the_responses_id_and_what_it_cost() -> None:
    row = reply("m1", "Hello", "m0", 5)
    row["message"] |= {"model": "claude-sonnet-4-5", "usage": {"output_tokens": 3}}

    message = message_of(row)

    assert (message.role, message.api_id) == (Role.ASSISTANT, "msg_5")
    assert message.metadata == {"model": "claude-sonnet-4-5", "usage": {"output_tokens": 3}}


def test_a_tools_result_is_of_the_role_tool() -> None:
    blocks = [
        {"type": "text", "text": "and mind the fractions"},
        {"type": "tool_result", "tool_use_id": "t1", "content": "flour 120"},
    ]

    assert message_of(prompt("m1", blocks)).role == Role.TOOL
    assert message_of(prompt("m1", blocks[:1])).role == Role.USER


def test_system_rows_say_their_content_or_what_is_their_own() -> None:
    row = {"type": "system", "uuid": "s1", "parentUuid": None, "sessionId": SESSION}

    said = message_of(row | {"content": "Compacted", "subtype": "compact_boundary"})
    shown = message_of(row | {"subtype": "turn_duration", "durationMs": 12, "level": "info"})
    attached = message_of(row | {"type": "attachment", "attachment": {"type": "todo_reminder"}})

    assert said.content == [{"type": "text", "text": "Compacted"}]
    assert shown.content == [{"type": "system", "subtype": "turn_duration", "durationMs": 12}]
    assert attached.content == [{"type": "attachment", "attachment": {"type": "todo_reminder"}}]
    assert {said.role, shown.role, attached.role} == {Role.SYSTEM}


def test_parents_lead_through_progress_rows_to_messages() -> None:
    def progress(key: str, parent: str | None) -> Row:
        return {"type": "progress", "uuid": key, "parentUuid": parent, "sessionId": SESSION}

    *_, child, orphan = parse(
        prompt("m0", "Hello"),
        progress("p1", "m0"),
        progress("p2", "p1"),
        progress("p3", None),
        reply("m1", "Hello", "p2"),
        reply("m2", "Hello", "p3"),
    )

    assert child.message is not None
    assert orphan.message is not None
    assert (child.message.parent_key, orphan.message.parent_key) == ("m0", "")


def test_after_a_compact_boundary_the_logical_parent_counts() -> None:
    row = prompt("m5", "Go on", logicalParentUuid="m4")

    assert message_of(row).parent_key == "m4"


def test_rows_of_other_kinds_are_kept_as_bytes() -> None:
    rows: list[Row] = [
        {"type": "summary", "summary": "Pies", "leafUuid": "m9"},
        {"type": "file-history-snapshot", "messageId": "m1", "snapshot": {}},
        {"type": "queue-operation", "operation": "enqueue", "sessionId": SESSION},
        {"type": "oven-timer", "uuid": "x1", "minutes": 12},
        {"type": ["user"], "uuid": "x2"},
        {"type": None},
        {},
    ]

    records = parse(*rows, b"\n", b"   \r\n", b"\xef\xbb\xbf\n")

    assert [record.message for record in records] == [None] * 10
    assert [record.unreadable for record in records] == [False] * 9 + [True]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"type": "user", "uuid": "m1", "message": {"content": "Hel\n',
        b'["user", "m1"]\n',
        b'"user"\n',
        b"17\n",
        b'{"type": "user"}{"type": "user"}\n',
        b"\x00\x01\x02\n",
        b'{"type": "user", "uuid": "m1", "message": {"content": "\xff\xfe"}}\n',
        b'{"type": "user", "uuid": "m1"}\n',
        b'{"type": "user", "uuid": "m1", "message": null}\n',
        b'{"type": "user", "uuid": "m1", "message": {"content": 17}}\n',
        b'{"type": "user", "uuid": "m1", "message": {}}\n',
        b'{"type": "user", "uuid": 17, "message": {"content": "Hello"}}\n',
        b'{"type": "user", "uuid": "", "message": {"content": "Hello"}}\n',
        b'{"type": "user", "uuid": "a b", "message": {"content": "Hello"}}\n',
        b'{"type": "user", "uuid": "a\\u0000", "message": {"content": "Hello"}}\n',
        b'{"type": "user", "uuid": "' + b"x" * 201 + b'", "message": {"content": "Hello"}}\n',
        b'{"type": "user", "n": ' + b"1" * 5000 + b"}\n",
        b"[" * 100_000 + b"\n",
        b'{"a":' * 100_000 + b"\n",
    ],
    ids=lambda raw: raw[:40],
)
def test_damaged_rows_are_kept_and_said_to_be_unreadable(raw: bytes) -> None:
    assert parse(raw) == [ParsedRecord(raw, None, unreadable=True)]


def test_a_row_that_begins_with_a_mark_of_order_is_read() -> None:
    assert message_of(b"\xef\xbb\xbf" + lines([prompt("m0", "Hello")])).native_key == "m0"


@pytest.mark.parametrize(
    "when", ["yesterday", "", 17, None, "0001-01-01T00:00:00+14:00", "2026-13-01T00:00:00Z"]
)
def test_a_time_that_is_none_is_left_out(when: Any) -> None:
    assert message_of(prompt("m0", "Hello", timestamp=when)).sent_at is None


def test_a_time_without_a_zone_is_utc() -> None:
    row = prompt("m0", "Hello", timestamp="2026-03-02T10:00:00.125")

    assert message_of(row).sent_at == datetime(2026, 3, 2, 10, 0, 0, 125000, tzinfo=UTC)


def test_parents_and_response_ids_that_do_not_fit_are_left_out() -> None:
    row = reply("m1", "Hello") | {"parentUuid": "x" * 201}
    row["message"]["id"] = "näh"

    message = message_of(row)

    assert (message.parent_key, message.api_id) == ("", "")


def test_blocks_that_are_no_objects_are_kept_as_values() -> None:
    assert message_of(prompt("m0", ["bare", None, {"type": "text", "text": "x"}])).content == [
        {"type": "unknown", "value": "bare"},
        {"type": "unknown", "value": None},
        {"type": "text", "text": "x"},
    ]


def test_the_depth_that_can_be_read_does_not_depend_on_the_stack() -> None:
    def nested(depth: int) -> bytes:
        deep = b'{"type":"x","in":' * depth + b"0" + b"}" * depth
        return b'{"type":"user","uuid":"m0","message":{"content":[' + deep + b"]}}\n"

    def read(raw: bytes, frames: int) -> bool:
        if frames:
            return read(raw, frames - 1)
        return stored_record(parse(raw)[0]).unreadable

    assert [read(nested(depth), frames) for depth in (150, 400) for frames in (0, 200)] == [
        False,
        False,
        True,
        True,
    ]


# --- Whatever comes ----------------------------------------------------------------------------


@given(st.binary(max_size=400) | st.lists(st.binary(max_size=40)).map(b"\n".join))
def test_the_records_joined_are_the_file(data: bytes) -> None:
    raws = [record.raw for record in parse(data)]

    assert b"".join(raws) == data
    assert all(raws)


@given(st.binary(max_size=200))
def test_reading_any_bytes_never_raises(raw: bytes) -> None:
    records = parse(raw)

    assert b"".join(record.raw for record in records) == raw
    assert not any(record.message for record in records)


@settings(max_examples=300)
@given(st.lists(ROWS, min_size=1, max_size=4))
def test_reading_any_rows_never_raises(rows: list[Row]) -> None:
    raws = [json.dumps(row).encode() + b"\n" for row in rows]

    records = [stored_record(record) for record in parse(*raws)]

    assert [record.raw for record in records] == raws


@given(st.binary(max_size=60), st.text(max_size=20))
def test_detection_answers_or_refuses(head: bytes, name: str) -> None:
    try:
        found = detect(head, name)
    except UnknownFormatError:
        return

    assert b"".join(record.raw for record in found.records(io.BytesIO(head), name)) == head
