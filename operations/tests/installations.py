"""What the tests of backups look at: databases and files, whole, before and after."""

import hashlib
import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from psycopg import sql

from accounts.models import User
from accounts.tests.factories import make_user
from common.tests.connections import connect_as_superuser
from dedup.services import import_path
from dedup.tests.processes import kill, start
from operations.backups.manifest import Manifest
from operations.backups.places import Backup, find_backup
from operations.backups.tables import TABLES
from tests.population import write_transcript

PATIENCE_SECONDS = 60


def archive_of(folder: Path, username: str) -> User:
    """A person with one imported file, and nothing else in the storage."""
    user = make_user(username)
    words = ("How are you", f"I am {username}")
    import_path(user_id=user.pk, path=write_transcript(folder, *words))
    return user


def databases(prefix: str) -> list[str]:
    """The names of the databases that begin like this, in order."""
    with connect_as_superuser("postgres") as server:
        rows = server.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
    return [str(name) for (name,) in rows if str(name).startswith(prefix)]


def rows_of(name: str = "") -> dict[str, str]:
    """A sum of all rows of each table, but for the events of backups themselves."""
    found = {}
    with connect_as_superuser(name) as connection:
        for schema, table, _ in connection.execute(TABLES).fetchall():
            statement = sql.SQL(
                "SELECT coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text)), '') FROM {} t"
                " WHERE coalesce(to_jsonb(t) ->> 'kind', '')"
                " NOT IN ('backup_made', 'backup_restored', 'drill_run')"
            ).format(sql.Identifier(str(schema), str(table)))
            row = connection.execute(statement).fetchone()
            found[f"{schema}.{table}"] = str(row and row[0])
    return found


def stored() -> dict[str, str]:
    """The SHA-256 of every stored file."""
    root = Path(settings.MEDIA_ROOT)
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def pooled() -> set[Path]:
    """The files of the pool."""
    return {path for path in (settings.BACKUP_DIR / "files").rglob("*") if path.is_file()}


def latest() -> Backup:
    return find_backup("latest")


def reseal(backup: Backup, **changes: Any) -> None:
    """As if the backup had been made with these in its manifest."""
    manifest = backup.manifest()
    changed = Manifest(**manifest.__dict__ | changes)
    backup.manifest_path.write_text(changed.as_text())


def command(name: str, *arguments: str) -> tuple[int, str, str]:
    """The exit code of a command, and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(name, *arguments, stdout=out, stderr=err)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def answer(name: str, *arguments: str) -> Any:
    """What a command that succeeds prints as JSON."""
    code, out, err = command(name, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


@contextmanager
def process(code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A process of the application on this database and these folders, killed at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKUP_DIR", str(settings.BACKUP_DIR))
        started = start(code, *arguments)
    try:
        yield started
    finally:
        kill(started)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def sessions_of(database: str, application: str) -> int:
    """How many sessions a program has in a database whose name begins like this."""
    with connect_as_superuser("postgres") as server:
        row = server.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE starts_with(datname, %s) AND application_name = %s",
            [database, application],
        ).fetchone()
    return int(str(row and row[0]))


def mode_of(path: Path) -> int:
    return os.stat(path).st_mode & 0o777  # noqa: PTH116 - the same
