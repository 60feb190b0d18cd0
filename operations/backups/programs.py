"""PostgreSQL's own programs for dumps: which of them are used, and how they are run."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from django.conf import settings
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from embedded import EmbeddedServiceError
from embedded.programs import postgres_folder
from operations.errors import MissingLoginError, MissingProgramError, ProgramFailedError

LONGEST_COMPLAINT = 500


def find_program(name: str, *, at_least: int) -> Path:
    """The program of that name, of this major version or a later one.

    Raises MissingProgramError, which names those that are too old.
    """
    too_old = []
    for path in _candidates(name):
        major = _major_version(path)
        if major >= at_least:
            return path
        too_old.append(f"{path} is of version {major}")
    found = f": {', '.join(too_old)}" if too_old else ""
    raise MissingProgramError(
        f"{name} {at_least} or later is needed and was not found{found}. Install PostgreSQL's"
        f" client programs of version {at_least}, or set POSTGRES_PROGRAMS_DIR to their folder."
    )


def version_of(program: Path) -> str:
    """What the program says of itself, such as "18.1"; empty if it does not run."""
    try:
        result = subprocess.run(
            [str(program), "--version"], check=False, capture_output=True, text=True
        )
    except OSError:
        return ""
    match = re.search(r"\(PostgreSQL\) (\S+)", result.stdout)
    return match[1] if match else ""


def run(program: Path, *arguments: str, login: Mapping[str, str] | None = None) -> str:
    """What the program printed. Raises ProgramFailedError with its complaint.

    Everything it is told of the login stands in its environment, where other users of the
    machine do not see it, and what it writes only this user may read.
    """
    environment, rest = _environment(login or {})
    command = [str(program), *arguments]
    if login:
        command += ["--no-password", f"--dbname={rest}"]
    result = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        env=environment,
        umask=0o077,
    )
    if result.returncode:
        raise ProgramFailedError(f"{program.name} failed: {_complaint(result.stderr)}")
    return result.stdout


def _candidates(name: str) -> Iterator[Path]:
    if settings.POSTGRES_PROGRAMS_DIR:
        yield Path(settings.POSTGRES_PROGRAMS_DIR) / name
        return
    on_path = shutil.which(name)
    found = [Path(on_path)] if on_path else []
    try:
        ours = [postgres_folder() / name]
    except EmbeddedServiceError:
        ours = []
    # Ours speak no TLS, which a server of one's own may ask for.
    yield from [*ours, *found] if settings.EMBEDDED else [*found, *ours]


def _major_version(program: Path) -> int:
    match = re.match(r"\d+", version_of(program))
    return int(match[0]) if match else 0


def _environment(login: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The variables that say the login, and an address of what no variable says."""
    variables = {
        option.keyword.decode(): option.envvar.decode()
        for option in Conninfo.get_defaults()
        if option.envvar
    }
    if "sslpassword" in login:
        raise MissingLoginError(
            "pg_dump cannot be given an sslpassword in a safe way: use a key without one."
        )
    usual = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    said = {variables[key]: value for key, value in login.items() if key in variables}
    rest = {key: value for key, value in login.items() if key not in variables}
    # pg_restore writes into a database only when it is named here.
    return usual | {"LC_ALL": "C"} | said, make_conninfo(dbname=login.get("dbname"), **rest)


def _complaint(text: str) -> str:
    """The lines that say what is wrong, without those that quote rows."""
    lines = [line for line in text.splitlines() if "error:" in line or "FATAL" in line]
    return " ".join(lines)[:LONGEST_COMPLAINT] or "it gave no reason"
