"""Is a backup as it was made? Every byte of it is read again."""

import re
from collections.abc import Iterator
from pathlib import Path

from django.utils import timezone

from operations.backups.keys import all_keys, newest_keys
from operations.backups.manifest import Manifest, Piece, listed_files, piece_of
from operations.backups.places import Backup, Verification, pool, reading
from operations.backups.programs import find_program, run
from operations.backups.stored_files import Pool
from operations.errors import DamagedBackupError, ProgramFailedError

# "345; 1259 16501 TABLE public accounts_user owner"
TABLE = re.compile(r"^\d+; \d+ \d+ TABLE (?!DATA |ATTACH )(\S+) (\S+) ", re.MULTILINE)


def verify_backup(backup: Backup) -> Verification:
    """What is damaged, missing or swapped, each named; noted beside the backup.

    Raises MissingProgramError.
    """
    with reading():
        try:
            problems = list(_problems(backup, backup.manifest()))
        except DamagedBackupError as error:
            problems = [error.detail]
        verification = Verification(timezone.now(), problems)
        backup.note(verification)
    return verification


def require_whole(backup: Backup) -> Manifest:
    """The manifest of a backup that has just been verified. Raises DamagedBackupError."""
    verification = verify_backup(backup)
    if verification.problems:
        raise DamagedBackupError(
            f"The backup {backup.name} is damaged, and nothing was changed:"
            f" {' '.join(verification.problems)}"
        )
    return backup.manifest()


def _problems(backup: Backup, manifest: Manifest) -> Iterator[str]:
    dump = list(_compare(backup.dump, manifest.dump))
    yield from dump
    if not dump:
        yield from _missing_tables(backup, manifest)
    yield from _missing_keys(manifest)
    files = list(_compare(backup.file_list, manifest.file_list))
    yield from files or _damaged_files(backup, manifest)


def _missing_keys(manifest: Manifest) -> Iterator[str]:
    """A restore takes the newest dump of keys, of whichever backup."""
    if not manifest.apart:
        return
    if newest_keys() is None:
        yield "There is no whole dump of keys: nothing that is sealed could be opened."
    for dump in all_keys():
        if dump.name == manifest.name and (problem := dump.problem()):
            yield problem


def _compare(path: Path, expected: Piece) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is missing."
        return
    size = path.stat().st_size
    if size != expected.size:
        yield f"{path} has {size} bytes, not {expected.size}."
    elif piece_of(path) != expected:
        yield f"{path} has other bytes than when it was made."


def _missing_tables(backup: Backup, manifest: Manifest) -> Iterator[str]:
    major = int(re.match(r"\d+", manifest.pg_dump_version)[0])  # type: ignore[index]  # as pg_dump says it
    try:
        listing = run(find_program("pg_restore", at_least=major), "--list", str(backup.dump))
    except ProgramFailedError as error:
        yield f"{backup.dump} cannot be read: {error.detail}"
        return
    found = {f"{schema}.{table}" for schema, table in TABLE.findall(listing)}
    for table in sorted(found ^ set(manifest.tables)):
        side = "is not in" if table in manifest.tables else "is not in the manifest, but in"
        yield f"The table {table} {side} {backup.dump}."


def _damaged_files(backup: Backup, manifest: Manifest) -> Iterator[str]:
    kept, files, size = Pool(pool()), 0, 0
    for file in listed_files(backup.file_list):
        files += 1
        size += file.size
        for problem in _compare(kept.path_of(file.sha256), Piece(file.sha256, file.size)):
            yield f"The stored file {file.name}: {problem}"
    if (files, size) != (manifest.files, manifest.file_bytes):
        yield f"{backup.file_list} lists {files} files, not {manifest.files}."
