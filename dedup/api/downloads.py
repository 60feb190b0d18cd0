"""Answers that are files."""

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import PurePath
from typing import IO

from django.http import FileResponse
from django.utils.text import get_valid_filename

from dedup.artifacts import CHUNK_BYTES, open_bytes
from dedup.errors import DamagedArtifactError
from dedup.models import Artifact

IN_MEMORY_BYTES = 1 << 20
LONGEST_NAME = 150
NAMELESS = "export"


def written(pieces: Iterable[str]) -> IO[bytes]:
    """A file of all the pieces, made before it is answered: a response runs after its request's
    transaction has ended."""
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - the response closes it
    for piece in pieces:
        file.write(piece.encode(errors="replace"))
    file.seek(0)
    return file


def opened(artifact: Artifact) -> IO[bytes]:
    """The bytes of an imported file. Raises MissingArtifactError and DamagedArtifactError."""
    file = open_bytes(artifact)
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    if digest.digest() != bytes(artifact.sha256):
        file.close()
        raise DamagedArtifactError(
            f"The stored bytes {artifact.stored_as} are damaged; import the file again."
        )
    file.seek(0)
    return file


def download(file: IO[bytes], *, name: str, content_type: str) -> FileResponse:
    """The file to be saved, never shown: a browser must not take it for a page of ours."""
    response = FileResponse(
        file, as_attachment=True, filename=safe_name(name), content_type=content_type
    )
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["Cache-Control"] = "no-store"
    return response


def safe_name(name: str) -> str:
    """The last part of a path, of letters, digits, dashes and points only."""
    last = PurePath(name.replace("\\", "/")).name[-LONGEST_NAME:].strip(". ")
    return get_valid_filename(last if any(map(str.isalnum, last)) else NAMELESS)
