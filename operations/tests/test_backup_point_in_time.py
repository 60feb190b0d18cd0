"""The recipe for recovery to a moment (docs/operations.md), on a server of its own."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from embedded.account import Account, service_account
from embedded.programs import postgres_folder

PATIENCE_SECONDS = 60
ENCODING = ("--no-sync", "--encoding=UTF8", "--locale=C")
DOCUMENT = settings.BASE_DIR / "docs" / "operations.md"


class Server:
    """PostgreSQL in a folder of its own, reached through a socket there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account: Account = service_account()
        self.programs = postgres_folder(self.account)
        self.wal = folder / "wal"
        self.wal.mkdir(mode=0o700)
        if self.account.switched:
            for path in (folder, self.wal):
                os.chown(path, self.account.uid, self.account.gid)

    def run(self, program: str, *arguments: str) -> None:
        result = self.account.run([str(self.programs / program), *arguments])
        assert result.returncode == 0, result.stdout + result.stderr

    def write(self, path: Path, text: str) -> None:
        with path.open("a") as file:
            file.write(text)
        if self.account.switched:
            os.chown(path, self.account.uid, self.account.gid)

    @contextmanager
    def running(self, cluster: Path) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        log = str(self.folder / f"{cluster.name}.log")
        options = f"-k {self.folder} -c listen_addresses=''"
        self.run("pg_ctl", "start", "--wait", "-D", str(cluster), "-l", log, "-o", options)
        try:
            with psycopg.connect(
                host=str(self.folder), user="postgres", dbname="postgres", autocommit=True
            ) as connection:
                yield connection
        finally:
            self.run("pg_ctl", "stop", "--wait", "--mode=fast", "-D", str(cluster))


@pytest.fixture
def server() -> Iterator[Server]:
    # Short, for the socket's name.
    folder = Path(tempfile.mkdtemp(prefix="pitr-", dir="/tmp"))
    try:
        yield Server(folder)
    finally:
        shutil.rmtree(folder)


def recipe(setting: str, wal: Path) -> str:
    """The line of the document with that setting, for this folder."""
    text = DOCUMENT.read_text(encoding="utf-8")
    match = re.search(rf"^{setting} = .*$", text, re.MULTILINE)
    assert match is not None
    return match[0].replace("/srv/wal", str(wal)) + "\n"


def value(connection: psycopg.Connection[tuple[object, ...]], query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def wait_for_value(connection: psycopg.Connection[tuple[object, ...]], query: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not value(connection, query):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_database_comes_back_as_it_was_at_a_moment(server: Server) -> None:
    first, second = server.folder / "first", server.folder / "second"
    server.run("initdb", "-D", str(first), "--username=postgres", "--auth=trust", *ENCODING)
    for setting in ("wal_level", "archive_mode", "archive_command", "archive_timeout"):
        server.write(first / "postgresql.conf", recipe(setting, server.wal))

    with server.running(first) as connection:
        connection.execute("CREATE TABLE kept (name text)")
        server.run(
            *("pg_basebackup", "--checkpoint=fast", "--username=postgres"),
            *(f"--host={server.folder}", f"--pgdata={second}"),
        )
        connection.execute("INSERT INTO kept VALUES ('before')")
        moment = str(value(connection, "SELECT clock_timestamp()"))
        time.sleep(0.1)
        connection.execute("INSERT INTO kept VALUES ('after')")
        last = value(connection, "SELECT pg_walfile_name(pg_switch_wal())")
        wait_for_value(connection, f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver")

    server.write(second / "postgresql.conf", recipe("restore_command", server.wal))
    server.write(second / "postgresql.conf", recipe("recovery_target_action", server.wal))
    server.write(second / "postgresql.conf", f"recovery_target_time = '{moment}'\n")
    server.write(second / "recovery.signal", "")
    with server.running(second) as connection:
        wait_for_value(connection, "SELECT NOT pg_is_in_recovery()")
        rows = connection.execute("SELECT name FROM kept").fetchall()

    assert rows == [("before",)]
