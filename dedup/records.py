"""A record of a file in the form in which it is stored, the same for import and check."""

import hashlib
from dataclasses import dataclass
from typing import Any

from dedup.formats.contract import Block, Header, ParsedMessage, ParsedRecord
from dedup.hashing import LONGEST_TEXT, content_hash, storable, text_of
from dedup.secrets import Secret, cover, find_secrets, masked

LONGEST_CUT = 1000


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as its rows will hold it; in `text` the secrets are covered."""

    parsed: ParsedMessage
    content: list[dict[str, Any]]
    text: str
    secrets: list[Secret]
    content_hash: bytes
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredRecord:
    raw: bytes
    raw_sha256: bytes
    message: StoredMessage | None
    unreadable: bool
    header: Header | None


def stored_record(parsed: ParsedRecord) -> StoredRecord:
    """Whatever is wrong with the record, its bytes are kept."""
    try:
        message = stored_message(parsed.message) if parsed.message else None
        unreadable = parsed.unreadable
    except RecursionError:
        # Nested deeper than Python's stack: nothing a conversation holds.
        message, unreadable = None, True
    digest = hashlib.sha256(parsed.raw).digest()
    return StoredRecord(parsed.raw, digest, message, unreadable, parsed.header)


def stored_message(parsed: ParsedMessage) -> StoredMessage:
    text = searched_text(parsed.content)
    secrets = find_secrets(text)
    return StoredMessage(
        parsed=parsed,
        content=storable(parsed.content),
        text=(masked(cover(text, secrets)) if secrets else text)[:LONGEST_TEXT],
        secrets=secrets,
        content_hash=content_hash(parsed.role, parsed.compared or parsed.content),
        metadata=storable(parsed.metadata),
    )


def searched_text(content: list[Block]) -> str:
    """The words in which secrets are looked for: a little more than what is kept, since of a
    secret that is cut the beginning would be shown."""
    return text_of(content, LONGEST_TEXT + LONGEST_CUT)
