"""JSON cut into pieces whose bytes, joined, are the file.

A long array is cut from its brackets alone, as it is read; one object in memory is cut where
its values end.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import IO, Any, NamedTuple

from dedup.formats.values import json_object, lines_of

CHUNK_BYTES = 1 << 20
# A longer element is kept in pieces, none of which parses.
LONGEST_PIECE = 128 << 20
# How much of a file is asked what it is: the pieces before may be damaged or say nothing.
FIRST_PIECES = 100

ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\[")
NO_ARRAY = re.compile(rb"(?!\xef\xbb?\Z)(?:\xef\xbb\xbf)?[ \t\r\n]*[^ \t\r\n\[]")
LONGEST_START = 1 << 16
SPACE = re.compile(rb"[ \t\r\n]*+")
# Up to the next bracket, outside of strings; among elements up to the next comma too. Both stop
# before a string of which the end is not there yet.
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
INSIDE = re.compile(rb'(?:[^"\[\]{}]++|' + STRING + rb")*+", re.DOTALL)
AMONG = re.compile(rb'(?:[^",\[\]{}]++|' + STRING + rb")*+", re.DOTALL)
QUOTED = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

GAP = re.compile(r"[ \t\r\n]*+")
SEPARATORS = re.compile(r"[ \t\r\n,\]]*+")
MARK = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},"]', re.DOTALL)
CLOSING = {"{": "}", "[": "]"}

DECODER = json.JSONDecoder()


def array_pieces(file: IO[bytes], chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """What opens the array, then each element with the separators behind it.

    The first piece is empty where the file is no array, and then the file is one element. An
    element is whatever has balanced brackets. What stands behind the array is the last piece.
    """
    cutter = _ArrayCutter()
    for chunk in iter(lambda: file.read(chunk_bytes), b""):
        yield from cutter.pieces(chunk)
    yield from cutter.rest()


class _ArrayCutter:
    """Follows the brackets of an array through the chunks of a file."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._at = 0
        self._depth = 0
        self._in_gap = False
        self._in_string = False
        self._next_cut: Callable[[], int | None] = self._start

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        self._bytes += chunk
        while (cut := self._next_cut()) is not None:
            yield self._taken(cut)
        if len(self._bytes) >= LONGEST_PIECE:
            yield self._taken(self._at)

    def rest(self) -> Iterator[bytes]:
        if self._next_cut == self._start:
            yield b""
        if self._bytes:
            yield bytes(self._bytes)

    def _taken(self, cut: int) -> bytes:
        piece = bytes(self._bytes[:cut])
        del self._bytes[:cut]
        self._at -= cut
        return piece

    def _start(self) -> int | None:
        """Nothing before an element is cut off, as long as it may be an array's beginning."""
        if array := ARRAY.match(self._bytes):
            self._at, self._depth, self._in_gap = array.end(), 1, True
            self._next_cut = self._within
            return self._within()
        if NO_ARRAY.match(self._bytes) or len(self._bytes) > LONGEST_START:
            self._next_cut = self._behind
            return 0
        return None

    def _behind(self) -> None:
        self._at = len(self._bytes)

    def _within(self) -> int | None:
        """Where the next element begins, if it is known yet."""
        while self._at < len(self._bytes):
            if self._in_gap:
                self._skip(SPACE)
                if self._at == len(self._bytes):
                    return None
                self._in_gap = False
                if self._depth == 0:
                    self._next_cut = self._behind
                if self._depth == 0 or self._bytes[self._at] != ord("]"):
                    return self._at
            elif self._in_string:
                self._skip(QUOTED)
                if not self._bytes.startswith(b'"', self._at):
                    return None
                self._in_string = False
                self._at += 1
            else:
                self._skip(INSIDE if self._depth > 1 else AMONG)
                self._pass_mark()
        return None

    def _skip(self, pattern: re.Pattern[bytes]) -> None:
        match = pattern.match(self._bytes, self._at)
        self._at = match.end() if match else self._at

    def _pass_mark(self) -> None:
        if self._at == len(self._bytes):
            return
        mark = chr(self._bytes[self._at])
        self._at += 1
        if mark == '"':
            self._in_string = True
        elif mark == ",":
            self._in_gap = True
        elif mark in CLOSING:
            self._depth += 1
        else:
            self._depth -= 1
            self._in_gap = self._depth == 0


class Entry(NamedTuple):
    """An element of a list, or a member of an object by its key, with what follows it."""

    raw: bytes
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class CutObject:
    """One object cut at the entries of one of its values.

    `members` are its other values. Without entries all its bytes are the head; `found` says
    whether there was such a value at all.
    """

    members: dict[str, Any]
    head: bytes
    entries: list[Entry]
    tail: bytes
    found: bool


def cut_object(raw: bytes, key: str, bracket: str) -> CutObject | None:
    """The object cut at the entries of its value `key`, if that begins with the bracket.

    Separators may follow the object. None if it is damaged.
    """
    try:
        return _cut(raw.decode(), key, bracket)
    except (ValueError, RecursionError):
        return None


def _cut(text: str, key: str, bracket: str) -> CutObject:
    walk = _Walk(text)
    members: dict[str, Any] = {}
    found: list[tuple[int, str, Any]] = []
    end, has_value = len(text), False
    for _, name in walk.members():
        if name == key and walk.is_at(bracket):
            has_value = True
            for start, entry in walk.members() if bracket == "{" else walk.elements():
                found.append((start, entry, walk.value()))
                end = walk.after_gap()
        else:
            members[name] = walk.value()
    walk.end()
    starts = [start for start, _, _ in found] + [end]
    entries = [
        Entry(text[start:stop].encode(), entry, value)
        for (start, entry, value), stop in zip(found, starts[1:], strict=True)
    ]
    return CutObject(members, text[: starts[0]].encode(), entries, text[end:].encode(), has_value)


def object_in(raw: bytes) -> dict[str, Any] | None:
    """The object that a piece of an array holds, if it holds one and nothing else."""
    try:
        walk = _Walk(raw.decode())
        value = walk.value()
        walk.end()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class _Walk:
    """A position in a text of JSON that moves from value to value. Raises ValueError."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 1 if text.startswith("\ufeff") else 0

    def value(self) -> Any:
        value, self._at = DECODER.raw_decode(self._text, self.after_gap())
        return value

    def members(self) -> Iterator[tuple[int, str]]:
        """Where each member of an object begins, and its name; the caller reads the value."""
        return self._listed("{", self._name)

    def elements(self) -> Iterator[tuple[int, str]]:
        return self._listed("[", str)

    def is_at(self, mark: str) -> bool:
        return self._text.startswith(mark, self.after_gap())

    def after_gap(self) -> int:
        match = GAP.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at

    def end(self) -> None:
        if not SEPARATORS.fullmatch(self._text, self._at):
            raise ValueError("Something follows the value.")

    def _listed(self, bracket: str, name: Callable[[], str]) -> Iterator[tuple[int, str]]:
        self._pass(bracket)
        if self._passed(CLOSING[bracket]):
            return
        yield self.after_gap(), name()
        while self._passed(","):
            yield self.after_gap(), name()
        self._pass(CLOSING[bracket])

    def _name(self) -> str:
        name = self.value()
        if not isinstance(name, str):
            raise ValueError("A name is no string.")  # noqa: TRY004  one error for all damage
        self._pass(":")
        return name

    def _passed(self, mark: str) -> bool:
        at = self.is_at(mark)
        self._at += at
        return at

    def _pass(self, mark: str) -> None:
        if not self._passed(mark):
            raise ValueError(f"There is no {mark}.")


def first_objects(head: bytes) -> tuple[bool, Iterator[dict[str, Any]]]:
    """Whether a file that begins so is an array, and the objects among its first elements or lines.

    The last object may be there in part, as the head may end anywhere.
    """
    pieces = array_pieces(BytesIO(head))
    in_array = next(pieces) != b""
    if not in_array and not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return False, iter(())
    first = islice(pieces if in_array else _lines(head), FIRST_PIECES)
    return in_array, filter(None, map(_begun_object, first))


def is_lines(file: IO[bytes]) -> bool:
    """Whether objects stand on lines of their own, as pretty-printing does not set them."""
    rows = (row for row in lines_of(file) if row.lstrip(b"\xef\xbb\xbf").startswith(b"{"))
    return any(json_object(row) is not None for row in rows)


def _lines(head: bytes) -> Iterator[bytes]:
    if not is_lines(BytesIO(head)):
        return iter([head])
    return iter(head.splitlines(keepends=True))


def _begun_object(raw: bytes) -> dict[str, Any] | None:
    return object_in(raw) or json_object(_completed(raw.decode(errors="replace")).encode())


def _completed(text: str) -> str:
    """The beginning of a text of JSON up to its last whole value, with its brackets closed."""
    open_brackets: list[str] = []
    end = 0
    for mark in MARK.finditer(text):
        found = mark[0]
        if found == '"':
            break
        if found in CLOSING:
            open_brackets.append(found)
        elif found in CLOSING.values() and open_brackets:
            open_brackets.pop()
        elif found != ",":
            continue
        end = mark.start() if found == "," else mark.end()
    closing = "".join(CLOSING[bracket] for bracket in reversed(open_brackets))
    return text[:end].removeprefix("\ufeff") + closing
