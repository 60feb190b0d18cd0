"""The bytes of imported files: a snapshot while they are read, then kept by their content."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import UUID

from django.core.files import File
from django.core.files.storage import default_storage

from common.storage import make_durable
from dedup.errors import (
    DamagedArtifactError,
    FileChangedError,
    MissingArtifactError,
    UnreadableFileError,
)
from dedup.models import Artifact

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Snapshot:
    """An unchanging copy of a file's bytes, open for reading."""

    file: IO[bytes]
    sha256: bytes
    size: int


@contextmanager
def snapshot_of_path(path: Path) -> Iterator[Snapshot]:
    """A copy of the file as it was when it was opened.

    A transcript that is being written may grow meanwhile: the copy ends where the file ended.
    Raises FileChangedError if it shrank or was rewritten, UnreadableFileError if it cannot be
    read.
    """
    with ExitStack() as opened:
        # Not around the yield: what fails there is not the file's fault.
        try:
            # Opening a pipe would wait for its writer.
            if not stat.S_ISREG(path.stat().st_mode):
                raise UnreadableFileError(f"{path} is not a file.")
            source = opened.enter_context(path.open("rb"))
            before = os.fstat(source.fileno())
            snapshot = opened.enter_context(snapshot_of_stream(source, before.st_size))
            after = os.fstat(source.fileno())
        except OSError as error:
            raise UnreadableFileError(f"{path} cannot be read: {error.strerror}.") from error
        rewritten = after.st_size == before.st_size and after.st_mtime_ns != before.st_mtime_ns
        if snapshot.size < before.st_size or after.st_size < before.st_size or rewritten:
            raise FileChangedError(f"{path} changed while it was read: import it again.")
        yield snapshot


@contextmanager
def snapshot_of_stream(source: IO[bytes], limit: int | None = None) -> Iterator[Snapshot]:
    """A copy of the stream's bytes, of at most `limit` of them."""
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as copy:
        while chunk := source.read(
            CHUNK_BYTES if limit is None else min(CHUNK_BYTES, limit - size)
        ):
            digest.update(chunk)
            size += len(chunk)
            copy.write(chunk)
        copy.seek(0)
        yield Snapshot(copy, digest.digest(), size)


def keep_bytes(user_id: UUID, snapshot: Snapshot) -> str:
    """Afterwards the bytes lie in the file storage, under the name that is returned.

    The name says the content, so that keeping the same bytes twice, or in parallel, is harmless.
    """
    name = f"artifacts/{user_id}/{snapshot.sha256.hex()[:2]}/{snapshot.sha256.hex()}"
    if not _holds(name, snapshot):
        snapshot.file.seek(0)
        # What has the name is damaged, or another process keeps the same bytes at this moment:
        # the storage then chooses another name for ours.
        name = default_storage.save(name, File(snapshot.file))
        make_durable(name)
    snapshot.file.seek(0)
    return name


@contextmanager
def snapshot_of_artifact(artifact: Artifact) -> Iterator[Snapshot]:
    """A copy of the kept bytes. Raises MissingArtifactError and DamagedArtifactError."""
    with open_bytes(artifact) as kept, snapshot_of_stream(kept) as snapshot:
        if snapshot.sha256 != bytes(artifact.sha256):
            raise DamagedArtifactError(
                f"The stored bytes {artifact.stored_as} are damaged; import the file again."
            )
        yield snapshot


def open_bytes(artifact: Artifact) -> IO[bytes]:
    """The kept bytes of an artifact. Raises MissingArtifactError."""
    try:
        return default_storage.open(artifact.stored_as, "rb")
    except FileNotFoundError as error:
        raise MissingArtifactError(
            f"The stored bytes {artifact.stored_as} are gone; import the file again."
        ) from error


def _holds(name: str, snapshot: Snapshot) -> bool:
    if not default_storage.exists(name) or default_storage.size(name) != snapshot.size:
        return False
    with default_storage.open(name, "rb") as kept:
        return hashlib.file_digest(kept, "sha256").digest() == snapshot.sha256
