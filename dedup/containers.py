"""Files that hold files: the members of a zip, read without believing what it says of itself."""

import copy
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import IO

from django.conf import settings

from dedup.artifacts import CHUNK_BYTES, Snapshot, snapshot_of_path
from dedup.errors import UnreadableFileError, UnsafeArchiveError
from dedup.secrets import masked

# The first header of a member, or the end of a zip that has none.
FIRST_BYTES = (b"PK\x03\x04", b"PK\x05\x06")
# Media, pages and archives in an archive are no exports.
READ_SUFFIXES = (".jsonl", ".json", ".txt")
# Of the others the reader unpacks as much at a time as the packed bytes like.
READ_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

LARGEST_NUMBER = 100_000
LARGEST_RATIO = 200
# Below it any ratio will do: a log of one line a million times packs well, too.
LARGEST_OF_ANY_RATIO = 50 * 1000 * 1000
# The directory is read into memory at once.
LARGEST_DIRECTORY_BYTES = 64 << 20
SPOOLED_BYTES = 1 << 20
# How much of a name or of the reader's words a sentence repeats.
LONGEST_SHOWN = 200

DIRECTORY_ENTRY = b"PK\x01\x02"
SHORTEST_HEADER_BYTES = 30
# Flags of a member: encrypted, strongly encrypted, hidden in an encrypted directory.
ENCRYPTED = 0x0001 | 0x0040 | 0x2000
NAMED_IN_UTF_8 = 0x0800

# What the reader of zips raises for damaged ones.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    ValueError,
)

Entry = tuple[str, zipfile.ZipInfo]


@dataclass(frozen=True)
class Member:
    """One file in a file, of so many bytes. `content` is None for what is not looked into."""

    name: str
    size: int
    crc: int
    content: IO[bytes] | None

    def manifest(self, *, read: bool) -> bytes:
        """A line that stands for the member in the archive: before its bytes if they are read,
        else instead of them."""
        shown = {"name": self.name, "size": self.size, "crc": f"{self.crc:08x}", "read": read}
        line = json.dumps(shown, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return line.encode() + b"\n"


@dataclass(frozen=True)
class Manifest:
    """What a manifest line says."""

    name: str
    size: int
    read: bool


def read_manifest(line: bytes) -> Manifest:
    value = json.loads(line)
    return Manifest(value["name"], value["size"], value["read"])


def is_zip(head: bytes) -> bool:
    return head.startswith(FIRST_BYTES)


def members_of(file: IO[bytes], name: str) -> Generator[Member, None, None]:
    """The members of a zip in the order of their names; of any other file the file itself.

    A member's content is open until the next member is asked for. Raises UnsafeArchiveError:
    for all that the directory shows, before the first member; for damage in a member's bytes,
    instead of that member.
    """
    file.seek(0)
    if not is_zip(file.read(4)):
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        yield Member(name, size, 0, file)
        return
    # It stands in what is refused, and refusals are shown.
    name = masked(name)
    try:
        archive = zipfile.ZipFile(_Source(file, name))
    except DAMAGE as error:
        raise _damaged(name, error) from error
    with archive:
        yield from _members(archive, name)


@contextmanager
def pack_folder(folder: Path, names: Sequence[str]) -> Iterator[Snapshot]:
    """A zip of those of the named files that the folder has, the same for the same contents.

    Raises UnreadableFileError if it has none of them or one cannot be read, FileChangedError if
    one changes meanwhile.
    """
    present = sorted(name for name in set(names) if _exists(folder / name))
    if not present:
        raise UnreadableFileError(f"{folder} holds none of {', '.join(names)}.")
    with tempfile.TemporaryFile() as packed:
        with zipfile.ZipFile(packed, "w") as archive:
            for name in present:
                _pack(archive, folder, name)
        size = packed.seek(0, os.SEEK_END)
        packed.seek(0)
        sha256 = hashlib.file_digest(packed, "sha256").digest()
        packed.seek(0)
        yield Snapshot(packed, sha256, size)


class _Source:
    """A file for the reader of zips, which would build a directory of any size in memory."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.file = file
        self.name = name

    def read(self, size: int = -1) -> bytes:
        if size > LARGEST_DIRECTORY_BYTES:
            raise UnsafeArchiveError(
                f"{self.name} has a directory of more than {LARGEST_DIRECTORY_BYTES} bytes:"
                " split it into several."
            )
        data = self.file.read(size)
        # The number that the zip states is not the number that would be built.
        if data.count(DIRECTORY_ENTRY) > LARGEST_NUMBER:
            raise UnsafeArchiveError(
                f"{self.name} has more than {LARGEST_NUMBER} members: split it into several."
            )
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True


def _members(archive: zipfile.ZipFile, name: str) -> Iterator[Member]:
    entries = sorted(((_name_of(info), info) for info in archive.infolist()), key=itemgetter(0))
    _refuse_bad_entries(entries, name)
    _refuse_overlaps(entries, archive.start_dir, name)
    _refuse_bombs([info for member, info in entries if _is_read(member, info)], name)
    for member, info in entries:
        if member.endswith("/"):
            continue
        if not _is_read(member, info):
            yield Member(member, info.file_size, info.CRC, None)
            continue
        with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as content:
            try:
                _unpack(archive, info, content)
            except DAMAGE as error:
                raise _damaged(name, error) from error
            content.seek(0)
            yield Member(member, info.file_size, info.CRC, content)


def _name_of(info: zipfile.ZipInfo) -> str:
    """The name as text. Programs of macOS write UTF-8 and do not say so."""
    if info.flag_bits & NAMED_IN_UTF_8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode()
    except UnicodeDecodeError:
        return info.orig_filename


def _parts(member: str) -> list[str]:
    return re.split(r"[/\\]", member)


def _is_read(member: str, info: zipfile.ZipInfo) -> bool:
    parts = _parts(member)
    return (
        member.endswith(READ_SUFFIXES)
        and not parts[-1].startswith(".")
        and "__MACOSX" not in parts
        # Neither a link nor a device; some programs give no kind at all.
        and stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
    )


def _refuse_bad_entries(entries: list[Entry], name: str) -> None:
    """Names are never written by, but others may; what is encrypted cannot be read."""
    times = Counter(member for member, _ in entries)
    for member, info in entries:
        if "\0" in member or ".." in _parts(member) or re.match(r"[/\\]|[A-Za-z]:", member):
            raise UnsafeArchiveError(
                f"{name} has a member with an unsafe name, {_shown(member)}:"
                " pack it again with names below one folder."
            )
        if info.flag_bits & ENCRYPTED:
            raise UnsafeArchiveError(
                f"{name} has an encrypted member, {_shown(member)}:"
                " pack it again without a password."
            )
        if times[member] > 1:
            raise UnsafeArchiveError(
                f"{name} has two members of the name {_shown(member)}:"
                " pack it again with one of them."
            )
        if _is_read(member, info) and info.compress_type not in READ_METHODS:
            raise UnsafeArchiveError(
                f"{name} has a member packed by method {info.compress_type}, {_shown(member)}:"
                " pack it again with deflate, which is the usual one."
            )


def _refuse_overlaps(entries: list[Entry], end: int, name: str) -> None:
    """Members that share their packed bytes are small and unpack to anything."""
    infos = sorted((info for _, info in entries), key=lambda info: info.header_offset)
    starts = [*(info.header_offset for info in infos), end]
    for info, (start, following) in zip(infos, pairwise(starts), strict=True):
        if start < 0 or start + SHORTEST_HEADER_BYTES + info.compress_size > following:
            raise _damaged(name, f"{_shown(_name_of(info))} reaches into what follows it")


def _refuse_bombs(infos: list[zipfile.ZipInfo], name: str) -> None:
    """By the sizes that the directory states; unpacking holds each member to its own."""
    for info in infos:
        largest = max(LARGEST_OF_ANY_RATIO, LARGEST_RATIO * info.compress_size)
        if info.file_size > largest:
            raise UnsafeArchiveError(
                f"{name} has a member that unpacks to more than {LARGEST_RATIO} times its packed"
                f" size, {_shown(_name_of(info))}: unpack it and import the file by itself."
            )
    if sum(info.file_size for info in infos) > settings.LARGEST_UNPACKED_BYTES:
        raise UnsafeArchiveError(
            f"{name} unpacks to more than {settings.LARGEST_UNPACKED_BYTES} bytes"
            " (LARGEST_UNPACKED_BYTES): split it into several."
        )


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, content: IO[bytes]) -> None:
    """Write the member's bytes, of which there must be as many as the directory says."""
    # The reader would cut the bytes at the stated size, and check the CRC of what is left.
    endless = copy.copy(info)
    endless.file_size = sys.maxsize
    size = 0
    with archive.open(endless) as packed:
        while chunk := packed.read(CHUNK_BYTES):
            size += len(chunk)
            if size > info.file_size:
                break
            content.write(chunk)
    if size != info.file_size:
        raise zipfile.BadZipFile(f"{_shown(_name_of(info))} is not of the size that is stated")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror}.") from error


def _pack(archive: zipfile.ZipFile, folder: Path, name: str) -> None:
    # What is not the content is the same everywhere and always.
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | 0o600) << 16
    with snapshot_of_path(folder / name) as snapshot:
        # Known beforehand, it decides whether the header has room for a large size.
        info.file_size = snapshot.size
        with archive.open(info, "w") as packed:
            shutil.copyfileobj(snapshot.file, packed, CHUNK_BYTES)


def _damaged(name: str, what: Exception | str) -> UnsafeArchiveError:
    words = str(what) or "it ends too early"
    return UnsafeArchiveError(
        f"{name} cannot be read as a zip ({words[:LONGEST_SHOWN]}): export or pack it again."
    )


def _shown(member: str) -> str:
    """A name that anybody may have chosen, for a sentence."""
    return repr(member if len(member) <= LONGEST_SHOWN else f"{member[:LONGEST_SHOWN]}…")
