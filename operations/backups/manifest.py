"""What a backup says of itself: enough to find any piece that is not as it was made."""

import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from operations.errors import DamagedBackupError

FORMAT = 1
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Piece:
    """A file of a backup, by its content."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """One backup; `tables` holds the rows of every table, of partitions and of their parents.

    Those of the tables in `apart` are in a dump of their own, and count as none in the others.
    `stream` is what the files of the change stream ended with, as `audit_verify` says it.
    """

    name: str
    label: str
    created_at: datetime
    database: str
    dump: Piece
    file_list: Piece
    tables: dict[str, int]
    rows: int
    migrations: list[tuple[str, str]]
    files: int
    file_bytes: int
    server_version: str
    pg_dump_version: str
    vector_version: str
    product_version: str
    lsn: str
    apart: dict[str, int] = field(default_factory=dict)
    stream: str = ""

    @property
    def size(self) -> int:
        """Bytes of the dump and of all files; files that several backups share count in each."""
        return self.dump.size + self.file_list.size + self.file_bytes

    def as_text(self) -> str:
        said = asdict(self) | {"format": FORMAT, "created_at": self.created_at.isoformat()}
        return json.dumps(said | {"seal": seal_of(said)}, indent=2) + "\n"


def read_manifest(path: Path) -> Manifest:
    """The manifest as it was written. Raises DamagedBackupError."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        seal = said.pop("seal")
    except FileNotFoundError as error:
        raise DamagedBackupError(f"{path} is missing.") from error
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamagedBackupError(f"{path} cannot be read.") from error
    if said.get("format") != FORMAT:
        raise DamagedBackupError(
            f"{path} is of the format {said.get('format')!r}, and this version reads {FORMAT}."
        )
    if seal_of(said) != seal:
        raise DamagedBackupError(f"{path} is not as it was written.")
    return _from_json(said)


def _from_json(said: dict[str, Any]) -> Manifest:
    del said["format"]
    said["created_at"] = datetime.fromisoformat(said["created_at"])
    said["dump"], said["file_list"] = Piece(**said["dump"]), Piece(**said["file_list"])
    said["migrations"] = [(app, name) for app, name in said["migrations"]]
    return Manifest(**said)


def seal_of(said: dict[str, Any]) -> str:
    """The SHA-256 of everything else in the manifest."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def piece_of(path: Path) -> Piece:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Piece(digest, file.tell())


@dataclass(frozen=True)
class ListedFile:
    """One stored file of a backup: its name in the storage, and its content."""

    name: str
    sha256: str
    size: int

    def as_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def listed_files(path: Path) -> Iterator[ListedFile]:
    """The files of a list, one at a time. Raises DamagedBackupError."""
    try:
        with path.open("rb") as file:
            for line in file:
                yield ListedFile(**json.loads(line))
    except (OSError, ValueError, TypeError) as error:
        raise DamagedBackupError(f"{path} cannot be read.") from error


def product_version() -> str:
    """As pyproject.toml has it; an image comes without that file, and then it is empty."""
    try:
        text = (settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return ""
    return str(tomllib.loads(text)["project"]["version"])
