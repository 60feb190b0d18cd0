"""A backup: the database in one snapshot, then the stored files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from django.utils import timezone
from psycopg import sql

from audit.choices import SecurityKind
from audit.recording import record
from common.storage import make_path_durable
from operations.backups.keys import dump_keys, options_of_dump, prune_keys, remove_drafts_of_keys
from operations.backups.logins import Connection, Login, backup_login, connected
from operations.backups.manifest import Manifest, piece_of, product_version
from operations.backups.places import (
    DRAFT,
    Backup,
    pool,
    remove_drafts,
    root,
    unread,
    write_durably,
    writing,
)
from operations.backups.programs import find_program, run, version_of
from operations.backups.pruning import Pruned, prune
from operations.backups.stored_files import Pool, Taken, take_files
from operations.backups.tables import applied_migrations, count_rows, end_of_stream, value_of

# A standby has no position of its own to write at.
POSITION = """
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
           ELSE pg_current_wal_lsn() END::text
"""


@dataclass(frozen=True)
class Made:
    """A backup that has just been made, and what was seen meanwhile."""

    manifest: Manifest
    taken: Taken
    pruned: Pruned | None


def make_backup(*, label: str = "", keep_days: int | None = None) -> Made:
    """Afterwards there is one more whole backup, and of old ones those to keep.

    The dump holds exactly the rows that the manifest counts, whatever is imported meanwhile.
    Raises MissingLoginError, MissingProgramError, ProgramFailedError and BackupBusyError.
    """
    login = backup_login()
    with writing():
        remove_drafts()
        remove_drafts_of_keys()
        manifest, taken = _make(login, label)
        record(
            SecurityKind.BACKUP_MADE,
            details={"backup": manifest.name, "rows": manifest.rows, "files": manifest.files},
        )
        with unread() as free:
            if free:
                prune_keys()
        pruned = None if keep_days is None else prune(keep_days=keep_days)
    return Made(manifest, taken, pruned)


def _make(login: Login, label: str) -> tuple[Manifest, Taken]:
    begun_at = timezone.now()
    name = f"{begun_at:%Y%m%d-%H%M%S}-{begun_at.microsecond // 1000:03}"
    draft = Backup(root() / f"{DRAFT}{name}")
    draft.folder.mkdir(mode=0o700)
    try:
        manifest, taken = _fill(draft, name, label, login, begun_at)
    except BaseException:
        # A disk that is full must not stay full of this.
        shutil.rmtree(draft.folder)
        raise
    draft.folder.rename(root() / name)
    make_path_durable(root())
    return manifest, taken


def _fill(
    draft: Backup, name: str, label: str, login: Login, begun_at: datetime
) -> tuple[Manifest, Taken]:
    """Afterwards the draft holds everything that a backup has."""
    database = _dump(login, draft.dump, name)
    # After the dump: files are stored before their rows, so it names none that is not there.
    with _private(draft.file_list) as output:
        taken = take_files(Pool(pool()), output, dumped_at=begun_at)
    manifest = _manifest(name, label, begun_at, draft, database, taken)
    write_durably(draft.manifest_path, manifest.as_text())
    return manifest, taken


@dataclass(frozen=True)
class _Dumped:
    """What is known of the database at the moment of its dump."""

    name: str
    tables: dict[str, int]
    rows: int
    migrations: list[tuple[str, str]]
    server_version: str
    vector_version: str
    pg_dump_version: str
    lsn: str
    apart: dict[str, int]
    stream: str


def _dump(login: Login, path: Path, name: str) -> _Dumped:
    """Afterwards the path holds the dump of a snapshot, whose rows were counted in it; what is
    kept apart has a dump of its own, of the same snapshot."""
    with connected(login) as connection:
        pg_dump = find_program("pg_dump", at_least=connection.info.server_version // 10_000)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        snapshot = _ask(connection, "SELECT pg_export_snapshot()")
        lsn = _ask(connection, POSITION)
        tables, rows = count_rows(connection)
        keys = dump_keys(connection, name)
        apart = {f"public.{table}": count for table, count in keys.rows.items()}
        dumped = _Dumped(
            name=connection.info.dbname,
            tables=tables | dict.fromkeys(apart, 0),
            rows=rows - sum(apart.values()),
            migrations=applied_migrations(connection),
            server_version=_ask(connection, "SHOW server_version"),
            vector_version=_ask(
                connection, "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
            ),
            pg_dump_version=version_of(pg_dump),
            lsn=lsn,
            apart=apart,
            stream=end_of_stream(connection),
        )
        # Nothing of ours is a large object, and one of another owner could not be read.
        options = ["--format=custom", "--no-large-objects", f"--snapshot={snapshot}"]
        # Twice as fast as the usual 6 for a seventh more: the snapshot holds back the clean-up.
        options += ["--compress=gzip:3", *options_of_dump()]
        run(pg_dump, *options, f"--file={path}", login=login)
        connection.execute("COMMIT")
    make_path_durable(path)
    return dumped


def _ask(connection: Connection, statement: str) -> str:
    return str(value_of(connection, sql.SQL(statement)) or "")


@contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _manifest(
    name: str, label: str, begun_at: datetime, draft: Backup, dumped: _Dumped, taken: Taken
) -> Manifest:
    return Manifest(
        name=name,
        label=label,
        created_at=begun_at,
        database=dumped.name,
        dump=piece_of(draft.dump),
        file_list=piece_of(draft.file_list),
        tables=dumped.tables,
        rows=dumped.rows,
        migrations=dumped.migrations,
        files=taken.files,
        file_bytes=taken.size,
        server_version=dumped.server_version,
        pg_dump_version=dumped.pg_dump_version,
        vector_version=dumped.vector_version,
        product_version=product_version(),
        lsn=dumped.lsn,
        apart=dumped.apart,
        stream=dumped.stream,
    )
