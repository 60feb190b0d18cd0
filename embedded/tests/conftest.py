import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded import Services
from embedded.tests.checkouts import temporary_checkout


@pytest.fixture
def local() -> Iterator[Path]:
    """The `.local` of a checkout that every user can reach, with a space in its path."""
    with temporary_checkout("my checkout") as local:
        yield local


@pytest.fixture
def services(local: Path) -> Services:
    """Services that do not run and have no data."""
    return Services(local, durable=False)


@pytest.fixture
def stranger() -> Iterator[int]:
    """The id of an ordinary system user, made for one test."""
    if os.geteuid() != 0:
        pytest.skip("only root can make another user")
    name = f"embedded-{os.getpid()}"
    subprocess.run(["/usr/sbin/useradd", "--no-create-home", name], check=True)
    try:
        yield pwd.getpwnam(name).pw_uid
    finally:
        subprocess.run(["/usr/sbin/userdel", name], check=True, capture_output=True)
