"""The content hash: equal for messages that say the same, whatever surrounds them.

Version 1: SHA-256 of `{"content": [blocks…], "role": role}` as JSON with sorted keys, no
spaces, nothing escaped that need not be, in UTF-8 (lone surrogates as such). Every string is
in Unicode NFC, and CRLF and CR are LF.
"""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from dedup.choices import Role
from dedup.formats.contract import Block

HASH_VERSION = 1

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# What stands for NUL and for a lone surrogate, which PostgreSQL's text and jsonb refuse.
SYMBOL_FOR_NULL = "\u2400"
REPLACEMENT = "\ufffd"
# to_tsvector refuses vectors over 1 MB. Words of few letters joined by hyphens cost the most:
# 7.5 bytes for a character of 4 bytes, as each word stands there whole and in parts.
LONGEST_TEXT = 130_000
# Python's stack ends at a depth that depends on the caller; reading must not.
DEEPEST = 200
EXACT_BELOW = 1e16

# What a person reads in blocks of a known type; of other blocks everything.
READABLE = {
    "text": ["text"],
    "thinking": ["thinking"],
    "tool_use": ["name", "input"],
    "tool_result": ["content"],
    "image": [],
    "document": [],
}


def content_hash(role: Role, content: list[Block]) -> bytes:
    canonical = json.dumps(
        {"content": _map_strings(content, _normalise), "role": str(role)},
        sort_keys=True,
        ensure_ascii=False,
        separators=(",", ":"),
    )
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).digest()


def storable(value: Any) -> Any:
    """The value as jsonb can hold it: no NUL, lone surrogate, NaN or infinity."""
    return _map_strings(value, _store_string, _store_float)


def storable_text(text: str) -> str:
    return _store_string(text)


def text_of(content: list[Block], longest: int = LONGEST_TEXT) -> str:
    """The words of a message for reading and search, at most so many characters."""
    pieces: list[str] = []
    room = longest
    for block in content:
        for piece in _words(block):
            pieces.append(piece[:room])
            room -= len(pieces[-1]) + 1
            if room <= 0:
                break
        if room <= 0:
            break
    return storable_text("\n".join(pieces))[:longest]


def _words(value: Any) -> Iterator[str]:
    """The strings of a block that a person would read, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)
    elif isinstance(value, dict):
        kind = value.get("type")
        known = READABLE.get(kind) if isinstance(kind, str) else None
        for name in known if known is not None else value:
            if name != "type":
                yield from _words(value.get(name))


def _map_strings(value: Any, change: Any, change_float: Any = None, depth: int = 0) -> Any:
    if isinstance(value, str):
        return change(value)
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        return {
            change(key): _map_strings(item, change, change_float, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_map_strings(item, change, change_float, depth + 1) for item in value]
    if change_float and isinstance(value, float):
        return change_float(value)
    return value


def _normalise(text: str) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _store_string(text: str) -> str:
    if not UNSTORABLE.search(text):
        return text
    return UNSTORABLE.sub(
        lambda found: SYMBOL_FOR_NULL if found[0] == "\x00" else REPLACEMENT, text
    )


def _store_float(number: float) -> float | int | str:
    if not math.isfinite(number):
        return repr(number)
    # jsonb gives 1e23 back as the integer 10²³, which is another number than the float.
    return int(number) if abs(number) >= EXACT_BELOW else number
