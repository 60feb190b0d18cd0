"""A file as the parts that are read one after the other: itself, or the members of a zip."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePath
from typing import IO

from dedup.choices import Source
from dedup.containers import Member, is_zip, members_of
from dedup.errors import UnknownFormatError
from dedup.formats import FORMATS, detect, formats_of
from dedup.formats.contract import HEAD_BYTES, Format, ParsedRecord


@dataclass(frozen=True)
class Part:
    """A part of a file in one format, None where nothing but names of members is in it.

    The records of the parts, joined, are the file; of a zip they are for each member a line
    that names it, and after that its bytes if they are read.
    """

    kind: Format | None
    records: Callable[[], Iterator[ParsedRecord]]


@dataclass
class _Unread:
    """Names of members whose bytes are not read, until a part takes them along."""

    records: list[ParsedRecord] = field(default_factory=list)

    def taken(self) -> list[ParsedRecord]:
        taken, self.records = self.records, []
        return taken


def is_zipped(file: IO[bytes]) -> bool:
    file.seek(0)
    head = file.read(4)
    file.seek(0)
    return is_zip(head)


def parts_of(file: IO[bytes], name: str, wanted: str = "") -> Iterator[Part]:
    """Each part must be read before the next one is asked for.

    `wanted` is the source that the file is said to come from. Raises UnknownFormatError if
    nothing in it can be read, UnsafeArchiveError for a zip that is damaged or a trap.
    """
    if is_zipped(file):
        yield from _parts_of_zip(file, name, wanted)
        return
    kind = format_of(file, name, wanted)
    yield Part(kind, lambda: kind.records(file, name))


def format_of(file: IO[bytes], name: str, wanted: str = "") -> Format:
    """Raises UnknownFormatError. The file is at its beginning afterwards."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not wanted:
        return detect(head, name)
    candidates = formats_of(Source(wanted))
    return next((kind for kind in candidates if kind.recognises(head, name)), candidates[0])


def _parts_of_zip(file: IO[bytes], name: str, wanted: str) -> Iterator[Part]:
    unread = _Unread()
    found = False
    for member in members_of(file, name):
        kind = _format_of_member(member, wanted)
        if kind is None or member.content is None:
            unread.records.append(ParsedRecord(member.manifest(read=False)))
            continue
        found = True
        unread.records.append(ParsedRecord(member.manifest(read=True)))
        yield _part(kind, unread.taken(), member.content, member.name)
    if not found:
        raise UnknownFormatError("Nothing in the zip is a conversation export known here.")
    if unread.records:
        yield Part(None, lambda: iter(unread.taken()))


def _part(kind: Format, before: list[ParsedRecord], content: IO[bytes], name: str) -> Part:
    return Part(kind, lambda: chain(before, kind.records(content, name)))


def _format_of_member(member: Member, wanted: str) -> Format | None:
    if member.content is None:
        return None
    head = member.content.read(HEAD_BYTES)
    member.content.seek(0)
    return next((kind for kind in _candidates(wanted) if kind.recognises(head, member.name)), None)


def _candidates(wanted: str) -> list[Format]:
    return formats_of(Source(wanted)) if wanted else FORMATS


@contextmanager
def member_opener(file: IO[bytes], name: str) -> Iterator[Callable[[str], IO[bytes] | None]]:
    """A function that opens a member of the file by its name; a plain file is its own member.

    What it opened is closed at the end.
    """
    with ExitStack() as opened:

        def open_member(wanted: str) -> IO[bytes] | None:
            members = opened.enter_context(closing(members_of(file, name)))
            return next((m.content for m in members if PurePath(m.name).name == wanted), None)

        yield open_member
