"""Servers that a test starts for itself, and that end with it however it ends."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.account import ENVIRONMENT, Account
from embedded.places import SOCKET_ROOT, private_folder

# The server ends when the other end of its shell's input is gone, also by a kill.
_UNTIL_INPUT_ENDS = 'signal=$1; shift; "$@" </dev/null & read -r _; kill "-$signal" $!; wait'


def new_folder(prefix: str) -> Path:
    """A folder for a server's files, with a path that is short enough for a socket's."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=SOCKET_ROOT))


@contextmanager
def private(folder: Path, account: Account) -> Iterator[None]:
    """Within the block only the account, and root, may enter the folder; then it is gone."""
    try:
        private_folder(folder, account)
        yield
    finally:
        shutil.rmtree(folder)


def write(path: Path, text: str, account: Account) -> None:
    """The file holds the text, and only the account may read it."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    if account.switched:
        os.chown(path, account.uid, account.gid)


@contextmanager
def running(command: list[str], account: Account, *, log: Path, end: str) -> Iterator[None]:
    """Within the block the account runs the command, which ends by the signal `end`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _UNTIL_INPUT_ENDS, "sh", end, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd="/",
            env=ENVIRONMENT,
            umask=0o077,
            # Ctrl-C is for the tests, which still need the server while they end.
            start_new_session=True,
            user=account.uid if account.switched else None,
            group=account.gid if account.switched else None,
            extra_groups=[] if account.switched else None,
        )
    try:
        yield
    finally:
        # Its input ends.
        process.communicate()
