"""The stream as lines: each says one event and holds the hash of the line before it.

A line is a JSON object. Its `hash` is the SHA-256 of the same object without `hash`, written
with sorted keys and without blanks, as UTF-8; `previous` is the hash of the line before, and `n`
numbers the lines of the whole stream from 1.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

BEGINNING = bytes(32)


def canonical(line: Mapping[str, Any]) -> bytes:
    """The bytes that are hashed."""
    return json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def hash_of(line: Mapping[str, Any]) -> bytes:
    """The hash that belongs to a line, whatever hash it says it has."""
    return hashlib.sha256(
        canonical({key: value for key, value in line.items() if key != "hash"})
    ).digest()


def is_unchanged(line: Mapping[str, Any]) -> bool:
    """Whether the line has the hash that it says."""
    try:
        return bool(hash_of(line).hex() == line["hash"])
    except (ValueError, RecursionError):
        # What no text in UTF-8 holds, or what nests too deep, was never hashed.
        return False


def parsed(text: bytes) -> dict[str, Any] | None:
    """The line, if it has what every line has."""
    try:
        line = json.loads(text)
        bytes.fromhex(line["hash"] + line["previous"])
        numbers = (line["n"], line["xid"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return line if all(type(number) is int for number in numbers) else None


def chained(
    events: Iterable[Mapping[str, Any]], *, first_line: int, previous: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """For each event its line, with a line feed, and the line's hash."""
    for number, event in enumerate(events, first_line):
        line = {**event, "n": number, "previous": previous.hex()}
        previous = hash_of(line)
        yield canonical({**line, "hash": previous.hex()}) + b"\n", previous
