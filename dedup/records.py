"""A record of a file in the form in which it is stored, the same for import and check."""

import hashlib
from dataclasses import dataclass
from typing import Any

from dedup.formats.contract import ParsedMessage, ParsedRecord, Parser
from dedup.hashing import content_hash, storable, text_of


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as its rows will hold it."""

    parsed: ParsedMessage
    content: list[dict[str, Any]]
    text: str
    content_hash: bytes
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredRecord:
    raw: bytes
    raw_sha256: bytes
    message: StoredMessage | None
    unreadable: bool


def stored_record(parse: Parser, raw: bytes) -> StoredRecord:
    """Read one record; whatever is wrong with it, its bytes are kept."""
    try:
        parsed = parse(raw)
        message = stored_message(parsed.message) if parsed.message else None
    except RecursionError:
        # Nested deeper than Python's stack: nothing a conversation holds.
        parsed, message = ParsedRecord(raw, unreadable=True), None
    return StoredRecord(raw, hashlib.sha256(raw).digest(), message, parsed.unreadable)


def stored_message(parsed: ParsedMessage) -> StoredMessage:
    return StoredMessage(
        parsed=parsed,
        content=storable(parsed.content),
        text=text_of(parsed.content),
        content_hash=content_hash(parsed.role, parsed.content),
        metadata=storable(parsed.metadata),
    )
