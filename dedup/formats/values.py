"""Values of foreign JSON, which may be anything, as what they should have been."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import PurePath
from typing import IO, Any

from dedup.formats.contract import NUMBER, Block, ParsedMessage

# A longer line is kept in pieces, none of which parses; no transcript comes near it.
LONGEST_LINE = 128 << 20
# An id must fit a key column of the database.
NATIVE_ID = re.compile(r"[\x21-\x7e]{1,200}")
# More than the column takes: it is cut when the secrets in it are masked.
LONGEST_TITLE = 2000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines with their ends."""
    return iter(lambda: file.readline(LONGEST_LINE), b"")


def json_object(raw: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(raw.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def native_id(value: Any) -> str:
    """The id, or nothing if it is none that can be stored."""
    return value if isinstance(value, str) and NATIVE_ID.fullmatch(value) else ""


def short_text(value: Any, longest: int) -> str:
    """A text for a column: without what PostgreSQL's text cannot hold."""
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", "").encode(errors="replace").decode()[:longest]


def moment(value: Any) -> datetime | None:
    """A time in UTC from ISO 8601 or from seconds since 1970; naive times are UTC."""
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value)
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def blocks_of(content: Any) -> list[Block] | None:
    """Content that is a text or a list of blocks, as blocks; None if it is neither."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list):
        return [
            block if isinstance(block, dict) else {"type": "unknown", "value": block}
            for block in content
        ]
    return None


def picked(source: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The named values under their other names, as far as they say something."""
    return {new: source[old] for old, new in names.items() if source.get(old) not in (None, False)}


def key_by_file(name: str, number: int) -> str:
    """The key of a conversation without one; the number tells those of one file apart."""
    stem = short_text(PurePath(name).stem, 180)
    return f"{stem}{NUMBER}{number}" if number else stem


def in_reading_order(
    messages: Sequence[ParsedMessage | None], parents: Sequence[int | None], ranked: Iterable[int]
) -> list[ParsedMessage | None]:
    """The messages of a tree with their parents and places, each branch behind its elder sibling.

    `parents` are positions among the messages; `ranked` are all positions, siblings in their
    order. The parent of a message is its nearest ancestor that is a message; one without an
    ancestor keeps the parent it has. A circle of parents is cut open where it is entered.
    """
    children: dict[int | None, list[int]] = defaultdict(list)
    for position in ranked:
        children[parents[position]].append(position)
    placed = list(messages)
    nearest: dict[int | None, str] = {}
    for order, position in enumerate(_walk(chain(children[None], range(len(messages))), children)):
        message, parent = messages[position], parents[position]
        nearest[position] = above = nearest.get(parent, "")
        if message is not None:
            parent_key = message.parent_key if parent is None else above
            placed[position] = replace(message, parent_key=parent_key, order=order)
            nearest[position] = message.native_key
    return placed


def _walk(starts: Iterable[int], children: Mapping[int | None, Sequence[int]]) -> Iterator[int]:
    """Depth first from each start, everything once."""
    reached: set[int] = set()
    for start in starts:
        stack = [start]
        while stack:
            position = stack.pop()
            if position not in reached:
                reached.add(position)
                yield position
                stack += reversed(children.get(position, ()))
