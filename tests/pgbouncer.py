"""PgBouncer in transaction mode before the tests' PostgreSQL, as it may stand in production."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from embedded.account import service_account
from tests.throwaway import private, running, write

MISSING = (
    "PgBouncer is missing: install it (Debian and Ubuntu: apt-get install pgbouncer; it need not"
    " run as a service)."
)

# The environment's name for the folder of the PgBouncer that a whole run goes through.
FOLDER_VARIABLE = "COMMONPLACE_TEST_PGBOUNCER"

# For tests of what becomes of sessions, which PgBouncer keeps from its clients.
not_through_pgbouncer = pytest.mark.skipif(
    FOLDER_VARIABLE in os.environ, reason="PgBouncer hides the server's sessions"
)

# It only names the socket.
PORT = 6432
_PATIENCE_SECONDS = 15

_SETTINGS = """\
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr =
listen_port = {own_port}
unix_socket_dir = {folder}
unix_socket_mode = 0700
auth_type = scram-sha-256
auth_file = {folder}/userlist.txt
stats_users = metrics
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 500
server_reset_query =
server_idle_timeout = 10
ignore_startup_parameters =
log_connections = 0
log_disconnections = 0
"""


def program() -> Path | None:
    """PgBouncer's program, which Debian puts where only root's PATH looks."""
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    found = shutil.which("pgbouncer", path=path)
    return Path(found) if found else None


@contextmanager
def pgbouncer(
    folder: Path, *, host: str, port: int, logins: Mapping[str, str], pool_size: int
) -> Iterator[None]:
    """Within the block PgBouncer listens in the folder, which is gone afterwards.

    It leads every database name to the server whose socket lies in the folder `host`, and lets
    the logins in by their passwords.
    """
    found = program()
    if found is None:
        raise FileNotFoundError(MISSING)
    account = service_account()
    settings = _SETTINGS.format(
        host=host, port=port, own_port=PORT, folder=folder, pool_size=pool_size
    )
    if _version(found) >= (1, 21):
        # It would hide that something was prepared for a session.
        settings += "max_prepared_statements = 0\n"
    users = "".join(f'"{name}" "{password}"\n' for name, password in logins.items())
    with private(folder, account):
        write(folder / "pgbouncer.ini", settings, account)
        write(folder / "userlist.txt", users, account)
        command = [str(found), str(folder / "pgbouncer.ini")]
        # It has nothing to put in order, and its gentler signals wait for its clients.
        with running(command, account, log=folder / "log", end="KILL"):
            _wait_until_ready(folder)
            yield


def _version(found: Path) -> tuple[int, int]:
    shown = subprocess.run([found, "--version"], check=True, capture_output=True, text=True).stdout
    major, minor = re.findall(r"\d+", shown)[:2]
    return int(major), int(minor)


def _wait_until_ready(folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / f".s.PGSQL.{PORT}"))
            return
        time.sleep(0.02)
    raise TimeoutError("PgBouncer did not start:\n" + (folder / "log").read_text(errors="replace"))
