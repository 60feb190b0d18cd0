"""File locks that the kernel frees when their holder dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.errors import EmbeddedServiceError


def open_lock(path: Path) -> int:
    """A descriptor of the lock file, which programs started from here do not inherit."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_exclusive(descriptor: int) -> bool:
    """Whether the descriptor holds the lock alone from here on."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def exclusive(path: Path, *, patience: float) -> Iterator[None]:
    """Hold the lock alone inside the block; raise when others keep it too long."""
    descriptor = open_lock(path)
    try:
        deadline = time.monotonic() + patience
        while not try_exclusive(descriptor):
            if time.monotonic() > deadline:
                message = (
                    f"Another process has been starting or stopping the services for more than"
                    f" {patience:.0f} seconds (it holds {path}); end that process and try again."
                )
                raise EmbeddedServiceError(message)
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


class Share:
    """One user's part in a lock that many hold together."""

    def __init__(self, path: Path) -> None:
        """Join; nobody may hold the lock alone for longer than a moment."""
        self._descriptor = open_lock(path)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """Give the part back and say whether it was the last one."""
        try:
            # Unlock first: a forked child may still hold the same open file.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            return try_exclusive(self._descriptor)
        finally:
            os.close(self._descriptor)
