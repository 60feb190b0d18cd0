"""Claude Code: the text that `/export` writes, a picture of the terminal.

It has no ids, no times, and lines broken at the width of the window. A message begins with a
sign at the start of its line: `>` (or U+276F) a prompt, `⏺` or `●` what the assistant says or
the tool it calls, `⎿` after exactly two blanks what a tool returned, `✻` or `∴` thoughts. The
same signs further in are quoted.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import IO, Any

from dedup.choices import Role, Source
from dedup.formats.contract import Block, Header, ParsedMessage, ParsedRecord
from dedup.formats.values import BYTE_ORDER_MARK, lines_of, short_text

# A longer message is cut: only its first part is read.
LONGEST_BLOCK = 64 << 20
# The banner tells the version and the folder; no banner is longer, and no marker wider.
LINES_OF_BANNER = 60
LINES_BEFORE_BANNER = 4
WIDEST_MARKER = 1000

BLANKS = " \xa0"
MARKERS = {
    "compaction": re.compile(
        r"[═─]+ [^═─\n]*Conversation compacted|✻ Conversation compacted|[⏺●] Compact summary",
        re.IGNORECASE,
    ),
    "thinking": re.compile(r"[✻∴] Thinking(?:…|\.\.\.)?"),
    "prompt": re.compile(rf"[>\u276f](?:[{BLANKS}]|$)"),
    "reply": re.compile(rf"[⏺●](?:[{BLANKS}]|$)"),
    "result": re.compile(rf"  ⎿[{BLANKS}]{{0,2}}"),
}
ROLES = {
    "thinking": Role.ASSISTANT,
    "prompt": Role.USER,
    "reply": Role.ASSISTANT,
    "result": Role.TOOL,
}
BANNER = re.compile(r"(?m)^\s*[╭│▗▐✻][^\n]*?(?:Welcome to Claude Code|Claude Code v\d)")
VERSION = re.compile(r"Claude Code v?(\d[\w.-]*)")
DAY = re.compile(r"^\d{4}-\d{2}-\d{2}[-_ ]?")
FOLDER = re.compile(
    r"(?m)^[│▗▖▘▝▐▛▜▌█\s]*(?:cwd:\s*)?(?P<folder>(?:~|/|[A-Za-z]:\\)(?![^│\n]*\s/)[^│\n]*?)\s*(?:│|$)"
)
TOOL_CALL = re.compile(
    r"(?P<name>[A-Za-z][\w.:-]*|Web\sSearch|[\w.:-]+\s-\s[\w.:-]+\s\(MCP\))\((?P<arguments>.*)\)",
    re.DOTALL,
)


class ClaudeCodeText:
    source = Source.CLAUDE_CODE_TEXT
    parser_version = 1

    def recognises(self, head: bytes, name: str) -> bool:
        """By the program's banner, or by two kinds of messages.

        Quotations and lists look like messages, so one of the two is of a kind that only this
        program writes, and where the file is not named as a text, a message begins it.
        """
        lines = _decoded(head).split("\n")
        beginning = list(islice(filter(str.strip, lines), LINES_BEFORE_BANNER))
        if BANNER.search(_before_marker(beginning)):
            return True
        kinds = {kind for line in lines if (kind := _marker(line))}
        typical = kinds & {"result", "thinking", "compaction"} or "\n⏺ " in f"\n{_decoded(head)}"
        named = PurePath(name).suffix in ("", ".txt")
        return len(kinds) > 1 and bool(typical) and (named or bool(_marker(beginning[0])))

    def records(self, file: IO[bytes], name: str) -> Iterator[ParsedRecord]:
        header = _header(file, name)
        file.seek(0)
        return (_record(block, header) for block in _blocks(lines_of(file)))


@dataclass(frozen=True, slots=True)
class _TextBlock:
    """The lines of one message; of none if it has no kind."""

    raw: bytes
    kind: str


def _decoded(raw: bytes) -> str:
    return raw.removeprefix(BYTE_ORDER_MARK).decode(errors="replace")


def _marker(line: str) -> str:
    """What kind of message begins with this line, or nothing."""
    line = line.rstrip("\r\n")
    return next((kind for kind, pattern in MARKERS.items() if pattern.match(line)), "")


def _before_marker(lines: list[str]) -> str:
    found = next((number for number, line in enumerate(lines) if _marker(line)), len(lines))
    return "\n".join(line.rstrip("\r\n") for line in lines[:found])


def _header(file: IO[bytes], name: str) -> Header:
    """By the file's name without the day, the word EXPORT- and its ending, in small letters and
    with hyphens for blanks: a guess, since a name is easily changed.
    """
    stem = PurePath(name).stem
    key = re.sub(r"[\s_]", "-", DAY.sub("", stem).replace("EXPORT-", "")).lower() or stem.lower()
    first = [_decoded(line[:WIDEST_MARKER]) for line in islice(lines_of(file), LINES_OF_BANNER)]
    banner = _before_marker(first)
    folder, version = FOLDER.search(banner), VERSION.search(banner)
    metadata: dict[str, Any] = {"version": version[1]} if version else {}
    return Header(
        short_text(key, 200) or "export",
        project=short_text(folder["folder"], 1000) if folder else "",
        metadata=metadata,
        certain=False,
    )


def _blocks(lines: Iterable[bytes]) -> Iterator[_TextBlock]:
    block: list[bytes] = []
    kind, size, after_blank = "", 0, True
    for line in lines:
        begins = _marker(_decoded(line[:WIDEST_MARKER]))
        # A prompt goes on at the margin, where signs of its own may begin a line: a quotation,
        # a list. What follows the prompt stands after a blank line.
        if kind == "prompt" and begins in ("prompt", "reply") and not after_blank:
            begins = ""
        if block and (begins or size + len(line) > LONGEST_BLOCK):
            yield _TextBlock(b"".join(block), kind)
            block, kind, size = [], "", 0
        kind = begins or kind
        block.append(line)
        size += len(line)
        after_blank = not line.strip()
    if block:
        yield _TextBlock(b"".join(block), kind)


def _record(block: _TextBlock, header: Header) -> ParsedRecord:
    text = _unwrapped(block) if block.kind in ROLES else ""
    # Most files end with an empty prompt: nobody said anything.
    if not text:
        return ParsedRecord(block.raw)
    said = _said(block.kind, text)
    compared = {"type": said["type"], "text": "".join(text.split())}
    message = ParsedMessage(
        native_key="", role=ROLES[block.kind], content=[said], compared=[compared]
    )
    return ParsedRecord(block.raw, message, header=header)


def _said(kind: str, text: str) -> Block:
    if kind == "result":
        return {"type": "tool_result", "content": text}
    if kind == "thinking":
        return {"type": "thinking", "thinking": text}
    call = tool_call(text) if kind == "reply" else None
    return call or {"type": "text", "text": text}


def tool_call(text: str) -> Block | None:
    """The call of a tool as the terminal shows it, `Name(arguments)`, or None if it is none."""
    match = TOOL_CALL.fullmatch(text)
    if match is None:
        return None
    name = " ".join(match["name"].split())
    return {"type": "tool_use", "name": name, "input": {"text": match["arguments"]}}


def _unwrapped(block: _TextBlock) -> str:
    """What was said, without the marker, the indentation that goes with it, and blanks around."""
    first, *rest = (line.rstrip("\r") for line in _decoded(block.raw).split("\n"))
    marker = MARKERS[block.kind].match(first)
    width = marker.end() if marker else 0
    if block.kind == "thinking":
        width = 2
    margins = [len(line) - len(line.lstrip(BLANKS)) for line in rest if line.strip()]
    margin = min([*margins, width])
    lines = [first[marker.end() if marker else 0 :], *(line[margin:] for line in rest)]
    return "\n".join(line.rstrip() for line in lines).strip("\n")
