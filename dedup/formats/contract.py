"""What a format module gives: how a file is recognised, cut into records, and read.

A new format is one module with one object of this shape, listed in `dedup.formats`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Protocol

from dedup.choices import Role, Source

# What is looked at to recognise a format, in bytes.
HEAD_BYTES = 1 << 20

Block = dict[str, Any]

# Between a file's name and the number of a conversation in it.
NUMBER = "#"


@dataclass(frozen=True, slots=True)
class Header:
    """A conversation as its source names it.

    `certain` says that the source itself gave out the key. Where it is only a file's name, the
    conversation is found by what it says. `declared` conversations are made even where the file
    holds no message of them.
    """

    key: str
    parent_key: str = ""
    title: str = ""
    project: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    certain: bool = True
    declared: bool = False

    @property
    def numbered(self) -> bool:
        """Whether the key is a place in a file, which the next file may give to another one."""
        return not self.certain and NUMBER in self.key


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """One message as its source has it.

    `native_key` is unique within the source; empty where the source gives out none, and then
    messages are told apart by what stands around them. `index` is the source's own number of the
    message in its conversation. `order` is its place in the reading order of the conversation,
    where that is not the order of the file: all messages of a conversation have one, or none.
    `compared` stands for the content in the content hash, where the content itself says more
    than the message did: how it was wrapped, for example.
    """

    native_key: str
    role: Role
    content: list[Block]
    parent_key: str = ""
    sent_at: datetime | None = None
    api_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    index: int | None = None
    order: int | None = None
    compared: list[Block] | None = None


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """One record of a file: its bytes, its conversation, and the message in it if there is one.

    `unreadable` records are damaged; the rest without a message are of kinds that carry none.
    """

    raw: bytes
    message: ParsedMessage | None = None
    unreadable: bool = False
    header: Header | None = None


class Format(Protocol):
    """One export format."""

    source: Source
    parser_version: int

    def recognises(self, head: bytes, name: str) -> bool:
        """Whether a file beginning with `head` (at most HEAD_BYTES) is in this format."""

    def records(self, file: IO[bytes], name: str) -> Iterator[ParsedRecord]:
        """The file's records in order: their bytes, joined, are the file.

        A record with a message has a header. Memory holds one conversation at most. Whatever
        is wrong with the file, nothing is raised: what cannot be read is unreadable.
        """
