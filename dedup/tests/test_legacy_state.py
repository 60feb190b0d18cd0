import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.choices import Role
from dedup.formats.contract import Format, Header, ParsedMessage, ParsedRecord
from dedup.formats.legacy_check import check_state
from dedup.formats.legacy_state import (
    HASHES,
    LOG,
    WATERMARKS,
    LegacyHashes,
    LegacyLog,
    LegacyWatermarks,
)
from dedup.tests.exports_text import Row, json_lines, legacy_message, legacy_row, legacy_state

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COMMONPLACE_DATA", ROOT.parent / "shared" / "data"))
STATES = [DATA / "dedup" / "legacy_state", DATA / "dedup" / "legacy_state_earlier"]
needs_states = pytest.mark.skipif(
    not all(path.is_dir() for path in STATES),
    reason="There are no real states here. COMMONPLACE_DATA names the folder of test data.",
)

TALK = "2025-11-17-bakery"
CONVERSATIONS = {
    TALK: [
        legacy_message(0, "user", "I will look at the recipes."),
        legacy_message(1, "user", "Bash(grep -rn yeast)\n\n"),
        legacy_message(2, "assistant", "bread/rye.py:12"),
    ],
    "2025-11-18-mill": [legacy_message(0, "user", "Grüße vom Müller")],
}
SCALARS = st.none() | st.booleans() | st.integers(-3, 2**40) | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
LOG_ROWS = st.fixed_dictionaries(
    {},
    optional={
        "conversation_id": st.text(max_size=4) | SCALARS,
        "timestamp": st.datetimes().map(str) | SCALARS,
        "content_hash": SCALARS,
        "message": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                name: JSON | st.sampled_from(["user", "assistant", "prompt"])
                for name in ("index", "role", "type", "content", "message", "parts")
            },
        ),
    },
)


def read(form: Format, raw: bytes, name: str = "state") -> list[ParsedRecord]:
    return list(form.records(io.BytesIO(raw), name))


def log(*rows: Row) -> list[ParsedMessage]:
    records = read(LegacyLog(), json_lines(rows))
    return [record.message for record in records if record.message]


def only(message: Row, conversation: str = TALK) -> ParsedMessage:
    row = {"conversation_id": conversation, "content_hash": "", "message": message}
    (found,) = log(row)
    return found


def members(folder: Path) -> Callable[[str], IO[bytes] | None]:
    return lambda name: (
        io.BytesIO((folder / name).read_bytes()) if (folder / name).exists() else None
    )


# --- Recognition -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "name"),
    [(LegacyLog(), LOG), (LegacyWatermarks(), WATERMARKS), (LegacyHashes(), HASHES)],
)
def test_each_file_is_recognised_by_its_name(form: Format, name: str) -> None:
    others = {LOG, WATERMARKS, HASHES, "settings.json", "session.jsonl"} - {name}

    assert form.recognises(b"{torn", f"dedup_state/{name}")
    assert not any(form.recognises(b"{}", other) for other in others)


def test_a_log_of_another_name_is_recognised_by_its_rows() -> None:
    raw = b"{torn\n" + json_lines([legacy_row(TALK, legacy_message(0, "user", "Hello"))])

    assert LegacyLog().recognises(raw, "messages.jsonl")
    assert not LegacyLog().recognises(b'{"conversation_id": "a"}\n[]\n', "messages.jsonl")


# --- The log -----------------------------------------------------------------------------------


def test_the_roles_of_texts_are_set_right_and_the_old_ones_kept() -> None:
    reply, call, result = log(*(legacy_row(TALK, message) for message in CONVERSATIONS[TALK]))

    assert (reply.role, reply.content) == (
        Role.ASSISTANT, [{"type": "text", "text": "I will look at the recipes."}],
    )  # fmt: skip
    assert (call.role, call.content) == (
        Role.ASSISTANT, [{"type": "text", "text": "Bash(grep -rn yeast)\n\n"}],
    )  # fmt: skip
    assert (result.role, result.content) == (
        Role.TOOL, [{"type": "tool_result", "content": "bread/rye.py:12"}],
    )  # fmt: skip
    assert [message.metadata["legacy_role"] for message in (reply, call, result)] == [
        "user", "user", "assistant",
    ]  # fmt: skip
    assert not any(message.metadata["roles_trusted"] for message in (reply, call, result))


def test_a_call_of_a_tool_is_read_as_such() -> None:
    message = only(legacy_message(0, "user", "Update(bread/rye.py)"))

    assert message.content == [
        {"type": "tool_use", "name": "Update", "input": {"text": "bread/rye.py"}}
    ]


def test_prompts_that_the_log_took_for_the_end_of_a_message_are_counted() -> None:
    content = "Baked.\n\n> and now the oats\n\n\u276f please\n  > quoted\n>no"

    message = only(legacy_message(0, "user", content))

    assert message.content == [{"type": "text", "text": content}]
    assert message.metadata["swallowed_prompts"] == 2


@pytest.mark.parametrize(
    ("message", "role", "content"),
    [
        (
            {"index": 0, "type": "prompt", "content": "Bake."},
            Role.USER, [{"type": "text", "text": "Bake."}],
        ),
        (
            {"index": 0, "type": "response", "parts": [{"type": "p", "data": "Baked."}]},
            Role.ASSISTANT, [{"type": "p", "data": "Baked."}],
        ),
        (
            {"role": "user", "content": "Bake."},
            Role.USER, [{"type": "text", "text": "Bake."}],
        ),
        (
            {"type": "assistant", "message": {"id": "m", "content": "a"}},
            Role.ASSISTANT, [{"type": "text", "text": "a"}],
        ),
        (
            {"role": "user", "content": [{"type": "tool_result", "content": "a"}]},
            Role.TOOL, [{"type": "tool_result", "content": "a"}],
        ),
        (
            {"type": "oven", "heat": 230},
            Role.SYSTEM, [{"type": "text", "text": '{"heat": 230, "type": "oven"}'}],
        ),
    ],
)  # fmt: skip
def test_messages_of_other_exports_keep_their_roles(
    message: Row, role: Role, content: list[Row]
) -> None:
    found = only(message)

    assert (found.role, found.content) == (role, content)


def test_what_is_not_content_stays_beside_it() -> None:
    message = {"index": 3, "type": "response", "content": "Baked.", "likes": 2}

    found = only(message)

    assert found.metadata == {
        "legacy_role": "response",
        "roles_trusted": False,
        "legacy_hash": "",
        "legacy_hash_verified": False,
        "legacy_message": {"index": 3, "type": "response", "likes": 2},
    }


def test_the_index_is_key_and_order() -> None:
    (message,) = log(legacy_row(TALK, legacy_message(7, "user", "Baked."), second=5))

    assert (message.native_key, message.index, message.order) == (f"{TALK}/7", 7, 7)
    assert message.sent_at == datetime(2025, 11, 17, 13, 31, 5, 642900, tzinfo=UTC)


def test_messages_without_index_are_told_apart_by_their_number() -> None:
    plain = {"role": "user", "content": "yes"}

    found = log(
        legacy_row("a", plain),
        legacy_row("b", plain),
        legacy_row("a", {**plain, "index": 4}),
        legacy_row("a", {**plain, "index": -1}),
        legacy_row("a", {**plain, "index": True}),
        legacy_row("a", {**plain, "index": 2**40}),
    )

    assert [message.native_key for message in found] == [
        "a/line-0", "b/line-0", "a/4", "a/line-1", "a/line-2", "a/line-3",
    ]  # fmt: skip
    assert [message.index for message in found] == [None, None, 4, None, None, None]
    orders = [message.order or 0 for message in found if message.native_key.startswith("a/")]
    assert orders == [2**30, 4, 2**30 + 1, 2**30 + 2, 2**30 + 3]


def test_conversations_of_odd_names_do_not_meet() -> None:
    message = legacy_message(0, "user", "Hello")
    names = ["a", "a/0", "a b", "a\x00b", "ab", "\ud800", "?", "x" * 300, "x" * 301, "sha256:a"]

    records = read(LegacyLog(), json_lines(legacy_row(name, message) for name in names))

    keys = {record.header.key for record in records if record.header}
    native = {record.message.native_key for record in records if record.message}
    assert len(keys) == len(native) == len(names)
    assert max(map(len, keys | native)) < 300
    assert {"a", "a/0", "a b", "sha256:a"} < keys
    assert {"a/0", "a/0/0"} < native


@pytest.mark.parametrize(
    "message",
    [
        {"index": 0, "role": "user", "type": "user", "content": "Grüße — “yes”"},
        {"role": "user", "content": "yes"},
        {"index": 2, "role": "assistant", "type": "response", "content": "by its type"},
    ],
)
def test_the_hash_of_the_log_is_verified(message: Row) -> None:
    row = legacy_row(TALK, message)

    right, wrong = log(row, {**row, "message": {**message, "content": "no"}})

    assert right.metadata["legacy_hash"] == row["content_hash"]
    assert right.metadata["legacy_hash_verified"] is True
    assert wrong.metadata["legacy_hash_verified"] is False


def test_the_hash_of_the_log_is_made_of_the_message_before_its_content() -> None:
    message = {"type": "assistant", "message": "Baked.", "content": "not this", "index": 1}
    hashed = '{"content": "Baked.", "index": 1, "role": "assistant"}'

    row = {**legacy_row(TALK, message), "content_hash": hashlib.sha256(hashed.encode()).hexdigest()}

    (found,) = log(row)
    assert found.metadata["legacy_hash_verified"] is True


@pytest.mark.parametrize(
    "line",
    [
        b"{torn",
        b'{"message": {"content": "a"}, "content_hash": ""}',
        b'{"conversation_id": "", "message": {"content": "a"}}',
        b'{"conversation_id": 7, "message": {"content": "a"}}',
        b'{"conversation_id": "a", "message": "a"}',
    ],
)
def test_a_damaged_row_is_unreadable_and_the_rest_is_read(line: bytes) -> None:
    after = json_lines([legacy_row(TALK, legacy_message(0, "user", "Hello"))])

    damaged, blank, rest = read(LegacyLog(), line + b"\n\n" + after)

    assert (damaged.raw, damaged.message, damaged.unreadable) == (line + b"\n", None, True)
    assert (blank.message, blank.unreadable) == (None, False)
    assert rest.message


# --- Watermarks and hashes ---------------------------------------------------------------------


@pytest.mark.parametrize("indent", [2, None])
def test_each_watermark_declares_its_conversation(indent: int | None) -> None:
    raw = json.dumps({'a, "b"': 4, "c\u00e9": -1, "": 3}, indent=indent).encode()  # fmt: skip

    records = read(LegacyWatermarks(), raw)

    assert b"".join(record.raw for record in records) == raw
    assert [record.header for record in records if record.header] == [
        Header('a, "b"', declared=True, metadata={"legacy_watermark": 4}),
        Header("c\u00e9", declared=True, metadata={"legacy_watermark": -1}),
    ]


def test_watermarks_stand_a_line_a_record() -> None:
    raw = b'\xef\xbb\xbf{\r\n  "a": 4,\r\n  "b": 5\r\n}\r\n'

    records = read(LegacyWatermarks(), raw)

    assert [record.raw for record in records] == raw.splitlines(keepends=True)


@pytest.mark.parametrize(
    "raw", [b'{"a": 4', b'{"a": 4.5}', b'{"a": true}', b"[4]", b"\xff", b'{"a": "4"}']
)
def test_damaged_watermarks_are_one_unreadable_record(raw: bytes) -> None:
    (record,) = read(LegacyWatermarks(), raw)

    assert (record.raw, record.unreadable, record.header) == (raw, True, None)


def test_hashes_are_kept_in_pieces() -> None:
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(256)]
    raw = json.dumps({str(number): digests for number in range(9)}, indent=2).encode()

    records = read(LegacyHashes(), raw)

    assert b"".join(record.raw for record in records) == raw
    assert [(record.message, record.unreadable) for record in records] == [(None, False)] * 3
    assert max(len(record.raw) for record in records) <= 65536


@pytest.mark.parametrize("raw", [b'{"a": ["ab', b'{"a": "ab"}', b'{"a": [1]}', b'{"a": ["zz"]}'])
def test_damaged_hashes_are_unreadable(raw: bytes) -> None:
    assert [record.unreadable for record in read(LegacyHashes(), raw)] == [True]


@given(st.binary(max_size=200), st.sampled_from([LegacyLog(), LegacyWatermarks(), LegacyHashes()]))
def test_no_bytes_are_lost(raw: bytes, form: Format) -> None:
    assert b"".join(record.raw for record in read(form, raw)) == raw
    assert form.recognises(raw, "a.txt") in (True, False)


@given(st.lists(LOG_ROWS, max_size=4))
def test_no_row_is_lost_whatever_it_holds(rows: list[Row]) -> None:
    raw = json_lines(rows)

    records = read(LegacyLog(), raw)

    assert b"".join(record.raw for record in records) == raw
    for record in records:
        assert record.unreadable or (record.message and record.header)
        assert record.message is None or 0 <= (record.message.order or 0) < 2**31


@given(st.dictionaries(st.text(max_size=6), st.integers(-1, 99)), st.sampled_from([None, 0, 1]))
def test_no_watermark_is_lost_whatever_its_name(values: dict[str, int], indent: int | None) -> None:
    raw = json.dumps(values, indent=indent).encode()

    records = read(LegacyWatermarks(), raw)

    found = [record.header.metadata["legacy_watermark"] for record in records if record.header]
    assert b"".join(record.raw for record in records) == raw
    assert found == [value for name, value in values.items() if name]


# --- The directory -----------------------------------------------------------------------------


def test_a_whole_state_has_no_findings(tmp_path: Path) -> None:
    folder = legacy_state(tmp_path, CONVERSATIONS)

    assert check_state(members(folder)) == {
        "hashes": {"checked": 4, "verified": 4, "mismatched": []},
        "conversations": 2,
        "messages": 4,
        "watermarks": 2,
        "watermark_mismatches": [],
        "hash_file": {"missing_in_log": 0, "missing_in_file": 0},
        "unreadable_lines": 0,
        "missing_files": [],
        "damaged_files": [],
    }


def test_what_the_files_say_differently_is_found(tmp_path: Path) -> None:
    folder = legacy_state(tmp_path, CONVERSATIONS)
    changed = (folder / LOG).read_bytes().replace(b"rye.py:12", b"rye.py:13") + b"{torn\n"
    (folder / LOG).write_bytes(changed)
    (folder / WATERMARKS).write_text(json.dumps({TALK: 9, "2025-11-19-oven": 3}))
    (folder / HASHES).write_text(json.dumps({TALK: ["ab" * 32]}))

    found = check_state(members(folder))

    assert found["hashes"] == {
        "checked": 4, "verified": 3, "mismatched": [{"conversation": TALK, "line": 3}],
    }  # fmt: skip
    assert found["watermark_mismatches"] == [
        {"conversation": TALK, "watermark": 9, "highest_index": 2},
        {"conversation": "2025-11-18-mill", "watermark": None, "highest_index": 0},
        {"conversation": "2025-11-19-oven", "watermark": 3, "highest_index": None},
    ]
    assert found["hash_file"] == {"missing_in_log": 1, "missing_in_file": 4}
    assert (found["unreadable_lines"], found["damaged_files"]) == (1, [LOG])


def test_missing_and_damaged_files_are_findings(tmp_path: Path) -> None:
    folder = legacy_state(tmp_path, CONVERSATIONS)
    (folder / WATERMARKS).write_bytes(b"{torn")
    (folder / HASHES).unlink()

    found = check_state(members(folder))

    assert (found["missing_files"], found["damaged_files"]) == ([HASHES], [WATERMARKS])
    assert (found["messages"], found["watermark_mismatches"]) == (4, [])
    assert check_state(members(tmp_path / "none"))["missing_files"] == [LOG, WATERMARKS, HASHES]


def test_a_member_that_cannot_be_read_is_a_finding() -> None:
    def torn(name: str) -> IO[bytes]:
        raise EOFError

    assert check_state(torn)["damaged_files"] == [LOG, WATERMARKS, HASHES]


def test_at_most_a_hundred_mismatches_are_listed(tmp_path: Path) -> None:
    messages = [legacy_message(number, "user", "yes") for number in range(150)]
    folder = legacy_state(tmp_path, {TALK: messages})
    (folder / LOG).write_bytes((folder / LOG).read_bytes().replace(b'"yes"', b'"no"'))

    hashes = check_state(members(folder))["hashes"]

    assert (hashes["checked"], hashes["verified"], len(hashes["mismatched"])) == (150, 0, 100)


# --- Real states -------------------------------------------------------------------------------


@needs_states
@pytest.mark.parametrize(
    ("folder", "messages", "prompts", "results"),
    [(STATES[0], 1510, 83, 643), (STATES[1], 1342, 79, 555)],
)
def test_a_real_state_is_read_whole(
    folder: Path, messages: int, prompts: int, results: int
) -> None:
    forms: dict[str, Any] = {
        LOG: LegacyLog(),
        WATERMARKS: LegacyWatermarks(),
        HASHES: LegacyHashes(),
    }
    records = {name: read(form, (folder / name).read_bytes()) for name, form in forms.items()}

    for name, found in records.items():
        assert b"".join(record.raw for record in found) == (folder / name).read_bytes()
        assert not any(record.unreadable for record in found)
    said = [record.message for record in records[LOG] if record.message]
    assert len({message.native_key for message in said}) == len(said) == messages
    assert Counter(message.role for message in said) == {
        Role.TOOL: results, Role.ASSISTANT: messages - results,
    }  # fmt: skip
    assert sum(message.metadata.get("swallowed_prompts", 0) for message in said) == prompts
    assert all(message.metadata["legacy_hash_verified"] for message in said)


@needs_states
def test_a_real_state_has_no_findings() -> None:
    found = check_state(members(STATES[0]))

    assert found["hashes"] == {"checked": 1510, "verified": 1510, "mismatched": []}
    assert (found["conversations"], found["watermarks"]) == (6, 6)
    assert found["watermark_mismatches"] == found["missing_files"] == found["damaged_files"] == []
    assert found["hash_file"] == {"missing_in_log": 0, "missing_in_file": 0}
