import io
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.choices import Role
from dedup.formats.claude_code_text import ClaudeCodeText
from dedup.formats.contract import Header, ParsedMessage, ParsedRecord
from dedup.hashing import content_hash
from dedup.tests.exports_text import export_text

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COMMONPLACE_DATA", ROOT.parent / "shared" / "data"))
EXPORTS = DATA / "dedup" / "export_text"
needs_exports = pytest.mark.skipif(
    not EXPORTS.is_dir(),
    reason="There are no real exports here. COMMONPLACE_DATA names the folder of test data.",
)

TURNS = [
    ("prompt", "Which of the loaves in bread/rye.py is the one that never rises?"),
    ("thinking", "The recipe has no yeast, so it must be the one called pumpernickel."),
    ("reply", "I will look at the recipes first, and then at what the oven says of them."),
    ("call", "Bash(grep -rn yeast bread/ --include='*.py' | sort | head -20)"),
    ("result", "bread/rye.py:12: yeast = None  # the sour dough does the work\nbread/oat.py:9"),
    ("result", "Found 2 lines"),
    ("prompt", "Thanks."),
]
# Lines that begin messages, and lines that only look like it.
LINES = [
    "> a prompt", "\u276f a prompt", "> ", ">", "⏺ a reply", "● Bash(ls)", "⏺", "  ⎿  out",
    "  ⎿ out", "    ⎿  quoted", "  ⏺ quoted", "═══ Conversation compacted ═══", "● Compact summary",
    "✻ Thinking…", "∴ Thinking", "  more", "", "   ", "\ufeff> a prompt", "a\x00b",
    "a\x0bb\x85c\u2028d", "\r", "╭──╮",
]  # fmt: skip


def read(text: str | bytes, name: str = "export.txt") -> list[ParsedRecord]:
    raw = text.encode() if isinstance(text, str) else text
    return list(ClaudeCodeText().records(io.BytesIO(raw), name))


def messages(text: str | bytes) -> list[ParsedMessage]:
    return [record.message for record in read(text) if record.message]


def said(message: ParsedMessage) -> Any:
    (block,) = message.content
    return block["content" if message.role == Role.TOOL else "text"]


def hashes(text: str | bytes) -> list[bytes]:
    return [content_hash(message.role, message.compared or []) for message in messages(text)]


def header(text: str | bytes, name: str = "export.txt") -> Header | None:
    return next(record.header for record in read(text, name) if record.header)


def recognised(text: str | bytes, name: str = "export.txt") -> bool:
    raw = text.encode() if isinstance(text, str) else text
    return ClaudeCodeText().recognises(raw, name)


# --- Recognition -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["export.txt", "conversation", "notes.md"])
def test_an_export_is_recognised_by_its_banner(name: str) -> None:
    assert recognised(export_text(TURNS), name)


@pytest.mark.parametrize(
    "text",
    [
        "╭─────────────────────────────╮\n│ ✻ Welcome to Claude Code!   │\n",
        "╭─── Claude Code v2.0.42 ─────╮\n\n> Hello\n",
        "═══ Conversation compacted · ctrl+o for history ═══\n  ⎿  Read a.py (3 lines)\n",
        "> Hello\n\n⏺ Hello, what is it?\n",
        "● Read(a.py)\n  ⎿  Read 3 lines\n",
        "\ufeff> Hello\r\n\r\n● Read(a.py)\r\n  ⎿  Read 3 lines\r\n",
    ],
)
def test_an_export_is_recognised_by_two_kinds_of_lines(text: str) -> None:
    assert recognised(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "export.txt"),
        ("Hello.\n", "export.txt"),
        ("> a quotation\n\n> another\n", "notes.txt"),
        ("Bread\n\n● rye\n● oat\n\n> a quotation\n", "list.txt"),
        ("# Claude Code v2\n\nHow to export:\n\n⏺ Read(a)\n  ⎿  Read 3 lines\n", "README.md"),
        ('{"type":"user","message":{"content":"> Hello\\n⏺ Bash(ls)\\n  ⎿  a"}}\n', "s.jsonl"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "picture.txt"),
    ],
)
def test_another_text_is_not_recognised(text: str | bytes, name: str) -> None:
    assert not recognised(text, name)


# --- The conversation --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("2025-11-17-EXPORT-MASTER.txt", "master"),
        ("exports/2025-11-17-EXPORT-ROLLOUT_MASTER 2.txt", "rollout-master-2"),
        ("bakery.txt", "bakery"),
        ("EXPORT-.txt", "export-"),
    ],
)
def test_the_conversation_is_called_as_its_file(name: str, key: str) -> None:
    assert header(export_text(TURNS), name) == Header(
        key, project="/home/ada/bakery", metadata={"version": "2.0.42"}, certain=False
    )


def test_the_folder_stands_in_older_banners_too() -> None:
    boxed = (
        "╭────────────────────────────────────╮\n"
        "│ ✻ Welcome to Claude Code!          │\n"
        "│   /help for help, /status for more │\n"
        "│   cwd: /home/ada/the bakery        │\n"
        "╰────────────────────────────────────╯\n\n> Hello\n"
    )
    two_columns = "╭─── Claude Code v2.0.42 ──╮\n│   /…/bakery   │ Run /init  │\n\n> Hello\n"

    older, newer = header(boxed), header(two_columns)

    assert older
    assert (older.project, older.metadata) == ("/home/ada/the bakery", {})
    assert newer
    assert (newer.project, newer.metadata) == ("/…/bakery", {"version": "2.0.42"})


def test_a_folder_named_in_a_message_is_not_the_project() -> None:
    found = header("> Look at\n/etc/passwd\n\n⏺ No.\n")

    assert found == Header("export", certain=False)


# --- Messages ----------------------------------------------------------------------------------


def test_each_kind_of_turn_becomes_its_message() -> None:
    found = messages(export_text(TURNS, width=200))

    assert [(message.role, message.content) for message in found] == [
        (Role.USER, [{"type": "text", "text": TURNS[0][1]}]),
        (Role.ASSISTANT, [{"type": "thinking", "thinking": TURNS[1][1]}]),
        (Role.ASSISTANT, [{"type": "text", "text": TURNS[2][1]}]),
        (
            Role.ASSISTANT,
            [{"type": "tool_use", "name": "Bash", "input": {"text": TURNS[3][1][5:-1]}}],
        ),
        (Role.TOOL, [{"type": "tool_result", "content": TURNS[4][1]}]),
        (Role.TOOL, [{"type": "tool_result", "content": "Found 2 lines"}]),
        (Role.USER, [{"type": "text", "text": "Thanks."}]),
    ]
    assert {message.native_key for message in found} == {""}


def test_the_margin_is_no_part_of_what_was_said() -> None:
    text = (
        "⏺ The recipe:\n\n  def bake():\n      rise()   \n\n"
        "  ⎿       839 rye.py     \n         1085 oat.py\n     … +3 lines (ctrl+o to expand)\n\n"
        "  ⎿ \xa0Read \n     bread/rye.py\n  ⎿ first\n    second\n"
        "> wrapped at\n the margin\n"
    )

    assert [said(message) for message in messages(text)] == [
        "The recipe:\n\ndef bake():\n    rise()",
        "     839 rye.py\n    1085 oat.py\n… +3 lines (ctrl+o to expand)",
        "Read\nbread/rye.py",
        "first\nsecond",
        "wrapped at\nthe margin",
    ]


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("Read(bread/rye.py)", "Read", "bread/rye.py"),
        ('Web Search("sour dough")', "Web Search", '"sour dough"'),
        ("oven - heat (MCP)(degrees: 230)", "oven - heat (MCP)", "degrees: 230"),
        ("sub-agent(Ask the baker)", "sub-agent", "Ask the baker"),
        ("Bash(git add a &&\n  git commit…)", "Bash", "git add a &&\ngit commit…"),
    ],
)
def test_the_call_of_a_tool_is_told_from_text(line: str, name: str, arguments: str) -> None:
    (message,) = messages(f"⏺ {line}\n")

    assert message.content == [{"type": "tool_use", "name": name, "input": {"text": arguments}}]


@pytest.mark.parametrize("line", ["Update Todos", "See main (in rye.py)", "f(x) is wrong"])
def test_text_with_brackets_is_no_call(line: str) -> None:
    (message,) = messages(f"● {line}\n")

    assert message.content == [{"type": "text", "text": line}]


def test_signs_further_in_are_quoted() -> None:
    text = (
        "⏺ Exports look like this:\n  ● Read(a.py)\n    ⎿  Read 3 lines\n  > a prompt\n"
        "  ⎿  Rejected: ⏺ Bash(ls)\n       ⎿  Error: Exit code 2\n"
        "> why?\n  ⏺ Bash(ls)\n     ⎿  Error\n"
    )

    found = messages(text)

    assert [message.role for message in found] == [Role.ASSISTANT, Role.TOOL, Role.USER]


def test_a_prompt_ends_only_at_a_blank_line() -> None:
    text = "> is 3\n> 2, and are these right:\n● rye\n● oat\n\n> the next one\n\n● Yes.\n"

    assert [said(message) for message in messages(text)] == [
        "is 3\n> 2, and are these right:\n● rye\n● oat",
        "the next one",
        "Yes.",
    ]


@pytest.mark.parametrize(
    "raw",
    [
        "═════ Conversation compacted · ctrl+o for history ═════\n",
        "● Compact summary (ctrl+r to see it)\n",
        "> \n\n",
        ">\n",
        ">\r\n\r\n",
        "⏺ \n",
        "✻ Thinking…\n",
        "  ⎿  \n",
    ],
)
def test_where_nothing_is_said_there_is_no_message(raw: str) -> None:
    before, silent, after = read(f"⏺ Before\n\n{raw}\n⏺ After\n")

    assert (silent.message, silent.unreadable) == (None, False)
    assert before.message
    assert after.message


def test_what_stands_before_the_first_message_is_none() -> None:
    banner, *_ = read(export_text(TURNS))

    assert (banner.message, banner.unreadable) == (None, False)
    assert banner.raw.count(b"\n") == 5


# --- What makes two messages the same ----------------------------------------------------------


@pytest.mark.parametrize("width", [40, 75, 80, 139, 143])
def test_a_message_is_the_same_at_every_width(width: int) -> None:
    assert hashes(export_text(TURNS, width=width)) == hashes(export_text(TURNS, width=300))


WORD = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=9)
SPOKEN = st.lists(WORD.filter(lambda word: word[0] not in "✻∴═─⎿"), min_size=1, max_size=12)


@given(st.lists(st.tuples(st.sampled_from(["prompt", "reply", "result"]), SPOKEN.map(" ".join))))
def test_any_conversation_is_the_same_at_two_widths(turns: list[tuple[str, str]]) -> None:
    narrow, wide = (messages(export_text(turns, width=width)) for width in (30, 90))

    assert [message.compared for message in narrow] == [message.compared for message in wide]
    assert len(wide) == len(turns)


def test_a_message_is_the_same_with_the_sign_of_another_machine() -> None:
    raw = export_text(TURNS)

    assert hashes(raw.replace("⏺".encode(), "●".encode())) == hashes(raw)
    assert hashes(raw.replace(b"\n", b"\r\n")) == hashes(raw)
    assert hashes(raw.replace(b"> T", "\u276f\xa0T".encode())) == hashes(raw)


def test_a_call_and_a_text_are_never_the_same() -> None:
    call, text, result = messages("⏺ Read(a)\n\n> Read(a)\n  ⎿  Read(a)\n")

    assert [message.compared for message in (call, text, result)] == [
        [{"type": "tool_use", "text": "Read(a)"}],
        [{"type": "text", "text": "Read(a)"}],
        [{"type": "tool_result", "text": "Read(a)"}],
    ]


# --- Bytes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        export_text(TURNS).replace(b"\n", b"\r\n"),
        export_text(TURNS).rstrip(b"\n"),
        b"\xef\xbb\xbf" + export_text(TURNS),
        export_text(TURNS).replace(b"yeast", b"\xff\xfe\x00"),
    ],
)
def test_the_records_joined_are_the_file(raw: bytes) -> None:
    assert b"".join(record.raw for record in read(raw)) == raw


def test_damaged_bytes_do_not_hide_the_message() -> None:
    (message,) = messages(b"\xef\xbb\xbf> caf\xe9 \x00\n")

    assert message.content == [{"type": "text", "text": "caf\ufffd \x00"}]


@given(st.binary(max_size=300))
def test_no_bytes_are_lost(raw: bytes) -> None:
    assert b"".join(record.raw for record in read(raw)) == raw
    assert ClaudeCodeText().recognises(raw, "export.txt") in (True, False)


@given(st.lists(st.sampled_from(LINES)), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_no_lines_are_lost(lines: list[str], end: str, ended: bool) -> None:  # noqa: FBT001 - a drawn value
    raw = (end.join(lines) + end * ended).encode()

    records = read(raw)

    assert b"".join(record.raw for record in records) == raw
    assert all(record.header for record in records if record.message)
    assert recognised(raw) in (True, False)


def test_a_message_too_long_for_memory_is_cut(monkeypatch: Any) -> None:
    monkeypatch.setattr("dedup.formats.claude_code_text.LONGEST_BLOCK", 30)
    raw = b"  \xe2\x8e\xbf  " + b"     0123456789\n" * 5

    records = read(raw)

    assert b"".join(record.raw for record in records) == raw
    assert [record.message is not None for record in records] == [True] + [False] * 4


# --- Real exports ------------------------------------------------------------------------------


@needs_exports
def test_real_exports_are_read_whole() -> None:
    counts = {}
    for path in sorted(EXPORTS.glob("*.txt")):
        raw = path.read_bytes()
        assert ClaudeCodeText().recognises(raw, path.name)
        records = read(raw, path.name)
        assert b"".join(record.raw for record in records) == raw
        counts[records[-1].header.key if records[-1].header else ""] = len(messages(raw))

    assert counts["master"] == 155
    assert counts["memory-context-refactor"] == 247


@needs_exports
@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["11-17-EXPORT-MASTER.txt", "11-17-EXPORT-MASTER2.txt"], [155, 173]),
        (
            [
                "11-17-EXPORT-ROLLOUT-MASTER.txt",
                "11-17-EXPORT-MEMORY-CONTEXT-REFACTOR.txt",
            ],
            [56, 247],
        ),
        (
            [
                "11-19-EXPORT-CODITECT-ONE-CLICK-INSTALLER.txt",
                "11-19-EXPORT-CODITECT-INSTALLER-EDITS-1.txt",
            ],
            [95, 240],
        ),
        (
            [
                "11-18-EXPORT-coditect-rollout-master-coditect-cloud-backend.txt",
                "11-18-EXPORT-coditect-rollout-master-coditect-cloud-backend-project-plan-created.txt",
            ],
            [75, 97],
        ),
    ],
)
def test_a_real_export_begins_with_the_one_before_it(names: list[str], numbers: list[int]) -> None:
    found = [hashes((EXPORTS / f"2025-{name}").read_bytes()) for name in names]

    assert [len(one) for one in found] == numbers
    for earlier, later in pairwise(found):
        assert later[: len(earlier)] == earlier
