"""The folder of the backups: what lies where, and who may change it.

BACKUP_DIR/20261121-030000-412/   one whole backup: manifest, dump, list of files
BACKUP_DIR/files/ab/<sha256>      the bytes of stored files, shared by all backups
BACKUP_DIR/keys/…                 wrapped data keys, apart from all that they seal
BACKUP_DIR/.draft-…               what was begun and is not whole
BACKUP_DIR/drills.jsonl           the results of drills
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

from common.storage import make_path_durable
from embedded.locks import open_lock, try_exclusive
from operations.backups.manifest import Manifest, read_manifest
from operations.errors import BackupBusyError, DamagedBackupError, UnknownBackupError

NAME = re.compile(r"\d{8}-\d{6}-\d{3}")
DRAFT = ".draft-"
LATEST = "latest"


@dataclass(frozen=True)
class Verification:
    """What the last verification of a backup found."""

    verified_at: datetime
    problems: list[str]

    @property
    def passed(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class Backup:
    """The folder of one backup."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def made_at(self) -> datetime:
        return moment_in(self.name)

    @property
    def dump(self) -> Path:
        return self.folder / "database.dump"

    @property
    def file_list(self) -> Path:
        return self.folder / "files.jsonl"

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    def manifest(self) -> Manifest:
        """What it says of itself. Raises DamagedBackupError."""
        manifest = read_manifest(self.manifest_path)
        if manifest.name != self.name:
            raise DamagedBackupError(
                f"{self.manifest_path} is the manifest of the backup {manifest.name}."
            )
        return manifest

    def verification(self) -> Verification | None:
        """The last one, if there was one that can be read."""
        try:
            said = json.loads(self._verification_path.read_text(encoding="utf-8"))
            return Verification(datetime.fromisoformat(said["verified_at"]), said["problems"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, verification: Verification) -> None:
        said = asdict(verification) | {"verified_at": verification.verified_at.isoformat()}
        write_durably(self._verification_path, json.dumps(said, indent=2) + "\n")

    @property
    def _verification_path(self) -> Path:
        return self.folder / "verification.json"


def moment_in(name: str) -> datetime:
    """When a backup, or a dump of keys, of this name was begun."""
    return datetime.strptime(f"{name}000", "%Y%m%d-%H%M%S-%f").replace(tzinfo=UTC)


def root() -> Path:
    """The folder of all backups, which exists; what is in it is closed to other users."""
    folder = Path(settings.BACKUP_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def pool() -> Path:
    """Where the bytes of stored files lie."""
    return root() / "files"


def all_backups() -> list[Backup]:
    """The backups, oldest first, damaged ones too; drafts are none."""
    folder = Path(settings.BACKUP_DIR)
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [Backup(folder / name) for name in names if NAME.fullmatch(name)]


def find_backup(name: str) -> Backup:
    """The backup of that name, or the latest one. Raises UnknownBackupError."""
    backups = all_backups()
    if name == LATEST and backups:
        return backups[-1]
    for backup in backups:
        if backup.name == name:
            return backup
    if not backups:
        raise UnknownBackupError(f"There is no backup in {settings.BACKUP_DIR} yet.")
    raise UnknownBackupError(
        f"There is no backup {name} in {settings.BACKUP_DIR}; `manage.py backups` lists them."
    )


def last_backup() -> Manifest | None:
    """The newest backup whose manifest is whole, if this process may look for it."""
    with suppress(OSError):
        for backup in reversed(all_backups()):
            with suppress(DamagedBackupError):
                return backup.manifest()
    return None


@contextmanager
def writing() -> Iterator[None]:
    """Nobody else makes or removes backups within the block. Raises BackupBusyError."""
    descriptor = open_lock(root() / "lock")
    try:
        if not try_exclusive(descriptor):
            raise BackupBusyError("Another backup is being made: try again when it is done.")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def reading() -> Iterator[None]:
    """No bytes of stored files are removed within the block."""
    descriptor = open_lock(root() / "readers")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def unread() -> Iterator[bool]:
    """Whether nobody reads backups; then nobody begins to within the block."""
    descriptor = open_lock(root() / "readers")
    try:
        yield try_exclusive(descriptor)
    finally:
        os.close(descriptor)


def remove_drafts() -> None:
    """Afterwards nothing is left of backups that were killed. Needs `writing`."""
    for draft in root().glob(f"{DRAFT}*"):
        shutil.rmtree(draft)
    for draft in pool().glob(f"{DRAFT}*"):
        draft.unlink()


def write_durably(path: Path, text: str) -> None:
    """The file holds the text, or what it held before, also after a power cut."""
    draft = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    make_path_durable(path.parent)
