"""Checkouts to try the services in, and processes that use them."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from embedded import Services
from embedded.places import STATE_ROOT

# Where this interpreter finds its modules, others do too.
PYTHON_ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
}

USER = """
import sys
with services.in_use():
    print("in", flush=True)
    sys.stdin.readline()
print("out", flush=True)
"""


@contextmanager
def temporary_checkout(name: str = "checkout", *, mode: int = 0o755) -> Iterator[Path]:
    """The `.local` of a checkout below a folder with that mode; all it left is gone afterwards."""
    parent = Path(tempfile.mkdtemp(prefix="embedded-"))
    parent.chmod(mode)
    (parent / name).mkdir()
    local = parent / name / ".local"
    try:
        yield local
    finally:
        remove(local)
        shutil.rmtree(parent)


def remove(local: Path) -> None:
    """The services of the checkout are stopped and nothing of theirs is left outside of it."""
    services = Services(local, durable=False)
    services.stop()
    shutil.rmtree(services.postgres.host, ignore_errors=True)
    link = local / "data"
    if link.is_symlink() and link.readlink().parent == STATE_ROOT:
        shutil.rmtree(link.readlink(), ignore_errors=True)


def connect(services: Services, password: str | None = None) -> psycopg.Connection[tuple[object]]:
    return psycopg.connect(
        host=services.postgres.host,
        port=services.postgres.port,
        user="postgres",
        dbname="postgres",
        password=services.password("postgres") if password is None else password,
        autocommit=True,
    )


def value(services: Services, query: str) -> object:
    """The first value that the query gives."""
    with connect(services) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def execute(services: Services, statement: str) -> None:
    with connect(services) as connection:
        connection.execute(statement.encode())


def postmaster(services: Services) -> psutil.Process:
    process = services.postgres.process()
    assert process is not None
    return process


def redis_process(services: Services) -> psutil.Process:
    process = services.redis.process()
    assert process is not None
    return process


class Script:
    """A Python process with `services` of one checkout at hand, as the given system user."""

    def __init__(self, code: str, local: Path, *, uid: int | None = None) -> None:
        # Everything is imported first: the interpreter may lie where the user cannot reach.
        lines = ["import os, sys, psutil", "from pathlib import Path"]
        lines += ["from embedded import EmbeddedServiceError, Services"]
        lines += [f"os.setgroups([]); os.setgid({uid}); os.setuid({uid})"] if uid else []
        lines += [f"services = Services(Path({str(local)!r}), durable=False)"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", "\n".join([*lines, code])],
            env=PYTHON_ENVIRONMENT,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def finish(self) -> str:
        """Let it go on to its end, and give the rest of its output."""
        output, _ = self.process.communicate("go\n", timeout=60)
        return output.strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def script(code: str, local: Path, *, uid: int | None = None) -> Iterator[Script]:
    """A script that does not outlive the block."""
    running = Script(code, local, uid=uid)
    try:
        yield running
    finally:
        with suppress(ValueError):
            running.kill()


@contextmanager
def unrelated_process(*, uid: int | None = None) -> Iterator[psutil.Process]:
    """A process that has nothing to do with any checkout."""
    process = subprocess.Popen(["/bin/sleep", "300"], user=uid)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()
