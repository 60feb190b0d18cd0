"""Old backups go, and with them the bytes that no other backup needs."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from operations.backups.manifest import listed_files, piece_of
from operations.backups.places import DRAFT, Backup, all_backups, pool, root, unread
from operations.backups.stored_files import Pool
from operations.errors import DamagedBackupError


@dataclass(frozen=True)
class Pruned:
    """What was removed; `postponed` says why nothing, or no bytes of files, could be."""

    backups: list[str]
    files: int
    postponed: str = ""


def prune(*, keep_days: int) -> Pruned:
    """Afterwards no backup is older than that, but for the newest whole one, which stays.

    Needs `writing`.
    """
    with unread() as free:
        if not free:
            return Pruned([], 0, "a backup is being read: the next time will do it")
        removed = [backup.name for backup in _older_than(keep_days)]
        for name in removed:
            _remove(name)
        try:
            needed = _needed_sums()
        except DamagedBackupError as error:
            return Pruned(removed, 0, f"no files were removed, because {error.detail}")
        return Pruned(removed, _remove_others(needed))


def _older_than(days: int) -> list[Backup]:
    limit = timezone.now() - timedelta(days=days)
    backups = all_backups()
    newest = next((backup for backup in reversed(backups) if _is_whole(backup)), None)
    return [backup for backup in backups if backup.made_at < limit and backup != newest]


def _is_whole(backup: Backup) -> bool:
    with suppress(DamagedBackupError):
        manifest = backup.manifest()
        return backup.dump.is_file() and backup.dump.stat().st_size == manifest.dump.size
    return False


def _remove(name: str) -> None:
    # Under another name first: killed in between, it must not be listed.
    draft = root() / f"{DRAFT}{name}"
    (root() / name).rename(draft)
    shutil.rmtree(draft)


def _needed_sums() -> set[bytes]:
    """Of every backup that is left, 32 bytes for each different file.

    Raises DamagedBackupError for a list that is not the one of its manifest: it may name fewer.
    """
    needed: set[bytes] = set()
    for backup in all_backups():
        written = backup.manifest().file_list
        if not backup.file_list.is_file() or piece_of(backup.file_list) != written:
            raise DamagedBackupError(f"the list of files of {backup.name} is damaged.")
        needed |= {bytes.fromhex(file.sha256) for file in listed_files(backup.file_list)}
    return needed


def _remove_others(needed: set[bytes]) -> int:
    removed, kept = 0, Pool(pool())
    for sha256 in list(kept.all_sums()):
        if bytes.fromhex(sha256) not in needed:
            kept.path_of(sha256).unlink()
            removed += 1
    return removed
