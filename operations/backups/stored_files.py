"""The stored files of a backup: taken out of Django's default storage, and put back into it.

Their bytes lie in a pool by their SHA-256, which all backups share. A file is read whole at
every backup, unless its name already says its content (`dedup.artifacts.keep_bytes` names
artifacts by their SHA-256) and the pool holds as many bytes under that sum. Neither time nor
size alone is believed. A stored artifact that has been damaged since its first backup is so
listed with the bytes it should have, and restoring mends it; `verify_archive` is what notices.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO

from django.core.files import File
from django.core.files.storage import default_storage

from accounts.exporting import FOLDER as EXPORTS
from common import storage
from common.storage import DRAFTS, names_below
from operations.backups.manifest import CHUNK_BYTES, ListedFile, Piece
from operations.backups.places import DRAFT
from operations.errors import DamagedBackupError, RestoreFailedError

# Exports of persons hold in plain words what is sealed elsewhere: a backup would keep them beyond
# the destruction of their keys. They are gone in a week, and built anew on demand.
NOT_TAKEN = (f"{EXPORTS}/", f"{DRAFTS}/{EXPORTS}-")
# The storage adds seven characters where a name was taken.
SHA256 = re.compile(r"[0-9a-f]{64}")
NAMED_BY_CONTENT = re.compile(r"artifacts/[^/]+/[0-9a-f]{2}/([0-9a-f]{64})(_\w{7})?")


class Pool:
    """Bytes by their SHA-256, each kept once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path_of(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def holds(self, sha256: str, size: int) -> bool:
        path = self.path_of(sha256)
        return path.is_file() and path.stat().st_size == size

    def keep(self, source: IO[bytes]) -> tuple[Piece, bool]:
        """Afterwards the pool holds the bytes durably; True if it did not before."""
        descriptor, name = tempfile.mkstemp(prefix=DRAFT, dir=self.folder)
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as copy:
                piece = _copied(source, copy)
            if self.holds(piece.sha256, piece.size):
                return piece, False
            path = self.path_of(piece.sha256)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            storage.make_path_durable(draft)
            draft.replace(path)
            return piece, True
        finally:
            draft.unlink(missing_ok=True)

    def all_sums(self) -> Iterator[str]:
        for folder in self.folder.iterdir():
            if folder.is_dir():
                # What somebody else left here is none of ours.
                names = (path.name for path in folder.iterdir())
                yield from (name for name in names if SHA256.fullmatch(name))

    def make_names_durable(self) -> None:
        for folder in self.folder.iterdir():
            if folder.is_dir():
                storage.make_path_durable(folder)
        storage.make_path_durable(self.folder)


@dataclass
class Taken:
    """What taking the stored files found; `damaged` are those whose name says other bytes."""

    files: int = 0
    size: int = 0
    added: int = 0
    vanished: int = 0
    damaged: list[str] = field(default_factory=list)


def take_files(pool: Pool, output: IO[bytes], *, dumped_at: datetime) -> Taken:
    """Afterwards the pool holds every stored file but exports, and the output lists them."""
    taken = Taken()
    for name in names_below(""):
        if name.startswith(NOT_TAKEN):
            continue
        try:
            listed = _take(name, pool, taken, dumped_at)
        except FileNotFoundError:
            # Removed since its folder was listed.
            taken.vanished += 1
            continue
        if listed:
            output.write(listed.as_line())
            taken.files += 1
            taken.size += listed.size
    pool.make_names_durable()
    return taken


def _take(name: str, pool: Pool, taken: Taken, dumped_at: datetime) -> ListedFile | None:
    match = NAMED_BY_CONTENT.fullmatch(name)
    if match and pool.holds(match[1], size := default_storage.size(name)):
        return ListedFile(name, match[1], size)
    with default_storage.open(name, "rb") as file:
        piece, added = pool.keep(file)
    taken.added += added
    if match and match[1] != piece.sha256:
        if default_storage.get_modified_time(name) >= dumped_at:
            # It is being written: the dump was made before its row, and does not need it.
            return None
        taken.damaged.append(name)
    return ListedFile(name, piece.sha256, piece.size)


@dataclass
class PutBack:
    """What putting files back did."""

    missing: int = 0
    different: int = 0
    whole: int = 0


def put_back(pool: Pool, listed: Iterator[ListedFile], aside: Path) -> PutBack:
    """Afterwards the storage holds every listed file with its bytes.

    What it has whole is not touched, nor what is not listed. Bytes that differ are kept in the
    folder `aside` before they are replaced; a kill leaves the one or the other.
    """
    counts = PutBack()
    for file in listed:
        if not default_storage.exists(file.name):
            counts.missing += 1
            _put(pool, file, _save)
        elif _is_whole(file):
            counts.whole += 1
        else:
            counts.different += 1
            _keep_aside(file.name, aside)
            _put(pool, file, storage.place)
    return counts


def _is_whole(file: ListedFile) -> bool:
    """Whether the storage has the listed bytes, or those that the name says."""
    piece = _stored_piece(file.name)
    match = NAMED_BY_CONTENT.fullmatch(file.name)
    return piece == Piece(file.sha256, file.size) or bool(match and match[1] == piece.sha256)


def _put(pool: Pool, file: ListedFile, write: Callable[[str, IO[bytes]], bool]) -> None:
    with pool.path_of(file.sha256).open("rb") as source:
        if not write(file.name, source):
            raise RestoreFailedError(
                f"{file.name} could not be put back: another process has just stored a file there."
            )
    piece = _stored_piece(file.name)
    if piece != Piece(file.sha256, file.size):
        raise DamagedBackupError(f"{file.name} was put back and is not as it was backed up.")
    storage.make_durable(file.name)


def _save(name: str, source: IO[bytes]) -> bool:
    """False, and nothing is kept, where there is a file of the name already."""
    kept = default_storage.save(name, File(source))
    if kept != name:
        default_storage.delete(kept)
    return kept == name


def _stored_piece(name: str) -> Piece:
    with default_storage.open(name, "rb") as file:
        return _copied(file, None)


def _keep_aside(name: str, aside: Path) -> None:
    path = aside / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        default_storage.open(name, "rb") as source,
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy,
    ):
        _copied(source, copy)
    storage.make_path_durable(path)


def _copied(source: IO[bytes], copy: IO[bytes] | None) -> Piece:
    """What was read, and written to the copy if there is one."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if copy:
            copy.write(chunk)
    return Piece(digest.hexdigest(), size)
