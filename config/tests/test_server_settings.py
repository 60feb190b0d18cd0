"""The recommended settings of the server, tried with a server that is started with them."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from common.bootstrap import bootstrap_database
from common.tests.connections import Connection
from embedded.account import service_account
from embedded.programs import postgres_folder
from tests.throwaway import new_folder, private, running, write

RECOMMENDED = settings.BASE_DIR / "docs" / "postgresql.conf"
PASSWORD = "hunter2-of-the-test"
PATIENCE_SECONDS = 60


@dataclass
class TriedServer:
    address: str
    log: Path

    def connect(self) -> Connection:
        return psycopg.connect(self.address, autocommit=True)

    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=["included", "alone"])
def server(request: pytest.FixtureRequest) -> Iterator[TriedServer]:
    """A server with the settings beside its own, or instead of them as in docker-compose.yml."""
    account = service_account()
    folder = new_folder("tried-")
    data, given = folder / "data", folder / "commonplace.conf"
    with private(folder, account):
        programs = postgres_folder(account)
        write(folder / "password", PASSWORD, account)
        write(given, RECOMMENDED.read_text(), account)
        command = [str(programs / "initdb"), "-D", str(data), "--no-sync", "--auth=scram-sha-256"]
        command += ["--encoding=UTF8", "--locale=C", "--username=postgres"]
        command += [f"--pwfile={folder / 'password'}"]
        made = account.run(command)
        assert made.returncode == 0, made.stderr
        command = [str(programs / "postgres"), "-D", str(data), "-c", "listen_addresses="]
        command += ["-c", f"unix_socket_directories={folder}"]
        if request.param == "included":
            with (data / "postgresql.conf").open("a") as own:
                own.write(f"include = '{given}'\n")
        else:
            command += ["-c", f"config_file={given}"]
        address = f"host={folder} user=postgres password={PASSWORD} dbname=postgres"
        server = TriedServer(address, folder / "log")
        with running(command, account, log=server.log, end="INT"):
            wait_until_ready(server)
            yield server


def wait_until_ready(server: TriedServer) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                pytest.fail(server.logged())
            time.sleep(0.05)
        else:
            return


def recommended() -> dict[str, str]:
    return dict(re.findall(r"^(\w+) = '?(.*?)'?$", RECOMMENDED.read_text(), re.MULTILINE))


def test_every_line_sets_something_once() -> None:
    lines = [line for line in RECOMMENDED.read_text().splitlines() if re.match(r"[^#\s]", line)]

    assert len(lines) == len(recommended())


def test_the_server_takes_every_setting_from_the_file(server: TriedServer) -> None:
    with server.connect() as connection:
        errors = connection.execute("SELECT * FROM pg_file_settings WHERE error IS NOT NULL")
        found = connection.execute(
            "SELECT name, current_setting(name), source, sourcefile FROM pg_settings"
            " WHERE sourcefile LIKE '%/commonplace.conf'"
        ).fetchall()
        unfinished = errors.fetchall()

    assert unfinished == []
    assert {name: value for name, value, *_ in found} == recommended()
    assert {source for _, _, source, _ in found} == {"configuration file"}


def test_the_log_names_what_changes_data_and_what_takes_long(server: TriedServer) -> None:
    with server.connect() as connection:
        connection.execute("CREATE TABLE note (words text)")
        connection.execute("INSERT INTO note VALUES ('written')")
        connection.execute("SELECT 'slow', pg_sleep(1.1)")
        connection.execute("SELECT 'quick' FROM note")

    logged = server.logged()
    assert re.search(
        r"postgres@postgres/\S+ LOG:  statement: INSERT INTO note VALUES \('written'\)", logged
    )
    assert re.search(r"LOG:  duration: 1\d{3}\.\d+ ms  statement: SELECT 'slow'", logged)
    assert "quick" not in logged


def test_the_log_holds_nothing_of_what_is_copied_or_sent_apart(server: TriedServer) -> None:
    with server.connect() as connection:
        connection.execute("CREATE TABLE import (words text NOT NULL)")
        with connection.cursor().copy("COPY import FROM STDIN") as copy:
            copy.write_row(["copied"])
        connection.execute("INSERT INTO import VALUES (%s)", ["apart"])
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("INSERT INTO import VALUES (%s::text), (('a'::text)::int)", ["fail"])

    logged = server.logged()
    assert "COPY import FROM STDIN" in logged
    assert "INSERT INTO import VALUES ($1)" in logged
    assert not re.search("copied|apart|fail", logged)


def test_the_log_holds_no_password_of_a_role(server: TriedServer) -> None:
    bootstrap_database(server.address, "commonplace", {"app": "hunter3-of-the-test"})

    assert 'ALTER ROLE "app" PASSWORD \'SCRAM-SHA-256$' in server.logged()
    assert "hunter3" not in server.logged()
    login = server.address.replace("user=postgres", "user=app").replace("hunter2", "hunter3")
    with psycopg.connect(login, dbname="commonplace") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("app",)
