"""A backup becomes a database again: beside the old one, which it then replaces at once."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db.migrations.loader import MigrationLoader
from psycopg import sql

from accounts.erasure_ledger import FOLDER as LEDGER
from common.bootstrap import bootstrap_database, database_name, drop_database, led_to
from operations import erasures, stream
from operations.backups.keys import load_keys, require_keys
from operations.backups.logins import Connection, beside, connected, superuser_login
from operations.backups.manifest import Manifest, listed_files
from operations.backups.places import Backup, all_backups, pool, reading, root
from operations.backups.programs import find_program, run
from operations.backups.stored_files import Pool, PutBack, put_back
from operations.backups.swapping import rename, swap
from operations.backups.tables import (
    applied_migrations,
    count_rows,
    is_in_stream,
    number_of_line,
    value_of,
)
from operations.backups.verifying import require_whole
from operations.errors import (
    BackupBusyError,
    DamagedBackupError,
    NewerBackupError,
    RestoreFailedError,
    RestoreRefusedError,
)

LONGEST_NAME = 63
MOST_NAMED = 5


# Each is called while every alias leads to the restored database and the storage has the
# files of the backup, before the database takes the place of the old one. What one raises ends
# the restore, and the old database goes on serving.
AFTER_RESTORE: list[Callable[[], object]] = [
    stream.go_on,
    # Once what it does is told to the stream.
    erasures.replay,
]


@dataclass(frozen=True)
class Restored:
    """What a restore did. `previous` is the name under which the old database is kept."""

    database: str
    previous: str | None
    manifest: Manifest
    files: PutBack | None
    pending_migrations: list[str]
    seconds: float
    keys: int


def restore(backup: Backup, *, beside_as: str = "") -> Restored:
    """Afterwards the backup's database serves in place of the old one, which is kept.

    The storage holds every file of the backup; others stay. With `beside_as` the database has
    that name instead, and neither another one nor the storage is touched.

    Raises DamagedBackupError, NewerBackupError, RestoreRefusedError, BackupBusyError,
    MissingLoginError, MissingProgramError, ProgramFailedError, RestoreFailedError and
    StreamBrokenError, and the old database then serves as before.
    """
    begun, target = time.monotonic(), database_name()
    _refuse_name(beside_as, target)
    with reading(), restored_copy(backup, require_whole(backup), target) as copy:
        files = None
        if not beside_as:
            files = complete_copy(copy)
            _require_noted_lines(copy)
        previous = _give_name(copy, target, beside_as)
    return Restored(
        database=beside_as or target,
        previous=previous,
        manifest=copy.manifest,
        files=files,
        pending_migrations=copy.pending_migrations,
        seconds=time.monotonic() - begun,
        keys=copy.keys,
    )


@dataclass(frozen=True)
class Copy:
    """The database of a backup under a name of its own, with all its rows."""

    name: str
    backup: Backup
    manifest: Manifest
    pending_migrations: list[str]
    server: Connection
    keys: int


@contextmanager
def restored_copy(backup: Backup, manifest: Manifest, target: str) -> Iterator[Copy]:
    """A new database with the backup's rows; dropped at the end if it still has its own name.

    No other restore of the target runs within the block.
    """
    pending = pending_migrations(manifest)
    with beside(target) as server, _alone(server, target):
        _refuse_older_server(server, manifest)
        _drop_leftovers(server, target)
        name = _free_name(server, target, "restored")
        try:
            keys = _fill(name, backup, manifest)
            yield Copy(name, backup, manifest, pending, server, keys)
        finally:
            drop_database(settings.DATABASE_SUPERUSER_URL, name)


def complete_copy(copy: Copy) -> PutBack:
    """Afterwards the storage has the backup's files, and every step after a restore is done."""
    aside = root() / "replaced" / copy.name
    files = put_back(Pool(pool()), listed_files(copy.backup.file_list), aside)
    _put_back_ledger(aside)
    with led_to(copy.name):
        for step in AFTER_RESTORE:
            step()
    return files


def _put_back_ledger(aside: Path) -> None:
    """Afterwards the storage knows of everybody who was erased until the newest backup.

    It may be empty, on another machine, and the backup older than the erasure.
    """
    for newer in all_backups():
        with suppress(DamagedBackupError, OSError):
            ledger = (
                file
                for file in listed_files(newer.file_list)
                if file.name.startswith(f"{LEDGER}/") and not default_storage.exists(file.name)
            )
            put_back(Pool(pool()), ledger, aside)


def _require_noted_lines(copy: Copy) -> None:
    """Raises RestoreRefusedError if the last files of the change stream are missing.

    Nothing else would tell: the database that knew of them is the one that is replaced.
    """
    noted = []
    for backup in all_backups():
        with suppress(DamagedBackupError):
            noted.append(backup.manifest())
    longest = max(noted, key=lambda manifest: number_of_line(manifest.stream))
    with connected(superuser_login(copy.name)) as connection:
        known = not longest.stream or is_in_stream(connection, longest.stream)
    if not known:
        raise RestoreRefusedError(
            f"When the backup {longest.name} was made, the change stream ended with"
            f" {longest.stream}, and its files do not have this line. Restore that backup, or"
            " bring the last files back; if they are lost for good, move that backup away."
        )


def pending_migrations(manifest: Manifest) -> list[str]:
    """What `migrate` has to do after a restore. Raises NewerBackupError."""
    loader = MigrationLoader(None)
    applied = set(manifest.migrations)
    known = set(loader.disk_migrations)
    for migration in loader.disk_migrations.values():
        known |= set(migration.replaces)
    if newer := sorted(applied - known):
        raise NewerBackupError(
            f"The backup {manifest.name} has migrations that this version does not know, such as"
            f" {'.'.join(newer[0])}: restore it with the version that made it, or a later one."
        )
    return [
        f"{app}.{name}"
        for app, name in sorted(set(loader.graph.nodes) - applied)
        # One that replaces others is applied where they are.
        if not (replaced := loader.disk_migrations[app, name].replaces)
        or not applied.issuperset(replaced)
    ]


def _refuse_name(name: str, target: str) -> None:
    # Also where there is none: that a login is missing is said before the backup is read.
    superuser_login()
    if not name:
        return
    if name == target or _leftover_pattern(target).fullmatch(name):
        raise RestoreRefusedError(f"{name} is taken: choose another name.")
    if len(name.encode()) > LONGEST_NAME:
        raise RestoreRefusedError(f"{name} is longer than {LONGEST_NAME} bytes.")
    with beside(target) as server:
        if _exists(server, name):
            raise RestoreRefusedError(f"There is a database {name} already: choose another name.")


@contextmanager
def _alone(server: Connection, target: str) -> Iterator[None]:
    """Nobody else restores this database; the lock ends with the connection."""
    key = sql.Literal(f"restore:{target}")
    lock = sql.SQL("SELECT pg_try_advisory_lock(hashtextextended({}, 0))").format(key)
    if not value_of(server, lock):
        raise BackupBusyError(f"Another restore of {target} is running: wait until it is done.")
    try:
        yield
    finally:
        if not server.closed:
            server.execute(
                sql.SQL("SELECT pg_advisory_unlock(hashtextextended({}, 0))").format(key)
            )


def _refuse_older_server(server: Connection, manifest: Manifest) -> None:
    major = server.info.server_version // 10_000
    if major < int(manifest.server_version.split(".")[0]):
        raise NewerBackupError(
            f"The backup {manifest.name} is of PostgreSQL {manifest.server_version}, and the"
            f" server is of version {major}."
        )


def _drop_leftovers(server: Connection, target: str) -> None:
    """What killed restores left: no other one lives, since we are alone."""
    names = server.execute("SELECT datname FROM pg_database").fetchall()
    for (name,) in names:
        if _leftover_pattern(target).fullmatch(str(name)):
            drop_database(settings.DATABASE_SUPERUSER_URL, str(name))


def _leftover_pattern(target: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(target)}_restored_\d{{8}}_\d{{6}}")


def _free_name(server: Connection, target: str, word: str) -> str:
    """A name that no database has, with the time in it."""
    while True:
        name = f"{target}_{word}_{datetime.now(UTC):%Y%m%d_%H%M%S}"
        if len(name.encode()) > LONGEST_NAME:
            raise RestoreRefusedError(f"The name {target} is too long for a restore beside it.")
        if not _exists(server, name):
            return name
        time.sleep(0.2)


def _exists(server: Connection, name: str) -> bool:
    query = sql.SQL("SELECT 1 FROM pg_database WHERE datname = {}").format(sql.Literal(name))
    return value_of(server, query) is not None


def _fill(name: str, backup: Backup, manifest: Manifest) -> int:
    """Afterwards the database exists and is the one of the manifest, with the newest keys.

    Returns how many keys that are.
    """
    bootstrap_database(settings.DATABASE_SUPERUSER_URL, name, {})
    login = superuser_login(name)
    with connected(login) as connection:
        major = connection.info.server_version // 10_000
        # As superuser: owners are given back their tables, and no policy hides a row. Triggers
        # and policies come after the rows. The extension is there, which the dump tolerates.
        pg_restore = find_program("pg_restore", at_least=major)
        run(pg_restore, "--exit-on-error", "--single-transaction", str(backup.dump), login=login)
        _compare(connection, manifest)
        keys = load_keys(connection, require_keys()) if manifest.apart else {}
        connection.execute("ANALYZE")
    return sum(keys.values())


def _compare(connection: Connection, manifest: Manifest) -> None:
    tables, _ = count_rows(connection)
    wrong = [
        f"{table} has {tables.get(table, 'no')} rows, not {manifest.tables.get(table, 'any')}"
        for table in sorted(set(tables) | set(manifest.tables))
        if tables.get(table) != manifest.tables.get(table)
    ]
    if applied_migrations(connection) != manifest.migrations:
        wrong.append("the migrations differ")
    if wrong:
        raise RestoreFailedError(
            f"The restored database is not the one of the backup: {'; '.join(wrong[:MOST_NAMED])}."
        )


def _give_name(copy: Copy, target: str, beside_as: str) -> str | None:
    """The name of the old database, if there was one."""
    if beside_as or not _exists(copy.server, target):
        rename(copy.server, copy.name, beside_as or target)
        return None
    previous = _free_name(copy.server, target, "before")
    swap(old=target, kept_as=previous, new=copy.name)
    return previous
