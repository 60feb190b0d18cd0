"""What a format module gives: how a file is recognised, cut into records, and read.

A new format is one module with one object of this shape, listed in `dedup.formats`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Protocol

from dedup.choices import Role, Source

# What is looked at to recognise a format, in bytes.
HEAD_BYTES = 1 << 20

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Header:
    """The conversation that a file belongs to, as its source names it."""

    key: str
    parent_key: str = ""
    title: str = ""
    project: str = ""


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """One message as its source has it; `native_key` is unique within the source."""

    native_key: str
    role: Role
    content: list[Block]
    parent_key: str = ""
    sent_at: datetime | None = None
    api_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """One record of a file: its bytes, and the message in it if there is one.

    `unreadable` records are damaged; the rest without a message are of kinds that carry none.
    """

    raw: bytes
    message: ParsedMessage | None = None
    unreadable: bool = False


Parser = Callable[[bytes], ParsedRecord]


class Format(Protocol):
    """One export format. The records of a file, joined, are the file."""

    source: Source
    parser_version: int

    def recognises(self, head: bytes, name: str) -> bool:
        """Whether a file beginning with `head` (at most HEAD_BYTES) is in this format."""

    def header(self, file: IO[bytes], name: str) -> Header | None:
        """The conversation of the file; None where the file does not say."""

    def split(self, file: IO[bytes]) -> Iterator[bytes]:
        """The file's records in order, with their separators."""

    def parser(self) -> Parser:
        """A function that reads the records of one file, called in their order."""
