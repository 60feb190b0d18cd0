"""The system user that runs the servers."""

import os
import pwd
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import EmbeddedServiceError

SERVICE_USER = "commonplace"

# Making a database takes a second; on a slow disk much longer.
_COMMAND_PATIENCE = 300.0

# A server must not take settings (PGDATA, PGOPTIONS, a supervisor's marker) from the
# environment of whoever happens to start it first.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True)
class Account:
    """A system user; `switched` when it is not the one who runs this process."""

    uid: int
    gid: int
    name: str
    switched: bool

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a short command to its end as this user."""
        try:
            return subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                cwd="/",
                env=ENVIRONMENT,
                umask=0o077,
                timeout=_COMMAND_PATIENCE,
                user=self.uid if self.switched else None,
                group=self.gid if self.switched else None,
                extra_groups=[] if self.switched else None,
            )
        except subprocess.TimeoutExpired as error:
            message = (
                f"{command[0]} did not end within {_COMMAND_PATIENCE:.0f} seconds; see what keeps"
                f" the machine busy and try again."
            )
            raise EmbeddedServiceError(message) from error

    def can_enter(self, folder: Path) -> bool:
        """Whether this user may walk through the folder and all its parents."""
        return self.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]).returncode == 0

    def can_run(self, program: Path) -> bool:
        """Whether this user may execute the program, its libraries included."""
        try:
            return self.run([str(program), "--version"]).returncode == 0
        except OSError:
            return False


def service_account() -> Account:
    """The caller, or for root an unprivileged system user, made when it is missing."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), f"uid {os.geteuid()}", switched=False)
    entry = _service_entry() or _created_service_entry()
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name, switched=True)


def _service_entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None


def _created_service_entry() -> pwd.struct_passwd:
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    reason = "there is no useradd"
    # Several checkouts may do this at once: whoever loses finds the account a moment later.
    for _ in range(20 if program else 0):
        command = [str(program), "--system", "--user-group", "--no-create-home"]
        command += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SERVICE_USER]
        reason = subprocess.run(command, check=False, capture_output=True, text=True).stderr.strip()
        if entry := _service_entry():
            return entry
        time.sleep(0.25)
    message = (
        f"PostgreSQL refuses to run as root and the system user {SERVICE_USER!r} could not be"
        f" created ({reason}); create it, or run this as an ordinary user."
    )
    raise EmbeddedServiceError(message)
