"""Processes of our own servers: known by what they are, never by a number in a file.

A pid file can outlive its server and name a stranger's process. A server instead is
recognised by its program name and by its working directory, which is its data folder:
a folder that nobody else may enter.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from embedded.account import ENVIRONMENT, Account

# The shell leaves its background job to init, so that the server is nobody's child: it
# leaves no zombie in a starter that lives on. Its error stream only carries the number.
_DETACH = '"$@" 2>&1 & echo $! >&2'


def is_alive(process: psutil.Process) -> bool:
    """Whether this very process runs: not a zombie, not another one with its number."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_in(folder: Path, name: str) -> list[psutil.Process]:
    """The live processes of that program whose working directory is the folder, oldest first."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == name and process.cwd() == str(folder) and is_alive(process):
                found.append(process)
    return sorted(found, key=lambda process: (process.create_time(), process.pid))


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Signal those of the processes that still exist."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def all_gone(processes: Sequence[psutil.Process], *, patience: float) -> bool:
    """Whether all the processes have ended, waiting for them up to the limit."""
    deadline = time.monotonic() + patience
    while any(is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def start_detached(
    command: list[str], *, folder: Path, log: Path, account: Account
) -> psutil.Process | None:
    """Start a server that no terminal and no parent can take down; None if it ended at once."""
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)) as output:
        shell = subprocess.run(
            ["/bin/sh", "-c", _DETACH, "sh", *command],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=ENVIRONMENT,
            umask=0o077,
            start_new_session=True,
            user=account.uid if account.switched else None,
            group=account.gid if account.switched else None,
            extra_groups=[] if account.switched else None,
        )
    try:
        return psutil.Process(int(shell.stderr))
    except psutil.NoSuchProcess:
        return None
