"""Processes of the application, as real as in production, on the test's database and files."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from common.bootstrap import database_name

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60

# No setting names the embedded services' database, since there is one for each checkout.
ON_TEST_DATABASE = """
import os, runpy, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.pooled_settings"
from django.conf import settings
for entry in settings.DATABASES.values():
    entry["NAME"] = os.environ["TEST_DATABASE"]
"""
MANAGE = f"{ON_TEST_DATABASE}\nrunpy.run_path('manage.py', run_name='__main__')"
CELERY = f"{ON_TEST_DATABASE}\nrunpy.run_module('celery', run_name='__main__', alter_sys=True)"


def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """A Python process in a group of its own, so that a signal reaches its children too."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "TEST_DATABASE": database_name(),
            "FILES_DIR": str(settings.MEDIA_ROOT),
            "COLUMNS": "200",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def manage(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """manage.py with these arguments, when it has ended."""
    process = start(MANAGE, *arguments)
    out, error = process.communicate(timeout=PATIENCE_SECONDS)
    return subprocess.CompletedProcess(arguments, process.returncode, out, error)


@contextmanager
def worker() -> Iterator["subprocess.Popen[str]"]:
    """A Celery worker with one child, which is killed at the end if it still runs."""
    options = ["--pool", "prefork", "--concurrency", "1", "--loglevel", "WARNING"]
    # Without these it waits for news of other workers before it begins.
    options += ["--without-gossip", "--without-mingle"]
    process = start(CELERY, "-A", "config", "worker", *options)
    try:
        yield process
    finally:
        kill(process)


def kill(process: "subprocess.Popen[str]") -> None:
    """kill -9 to the process and its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE_SECONDS)
