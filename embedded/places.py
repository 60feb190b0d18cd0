"""Where the services of one checkout keep their things."""

import hashlib
import os
import re
import secrets
import stat
import tempfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from embedded.account import Account
from embedded.errors import EmbeddedServiceError

# Data of checkouts that the service user cannot reach, and copies of programs likewise.
STATE_ROOT = Path("/var/lib/commonplace")

# Not tempfile.gettempdir(): every process of a checkout must find the same folder whatever
# its TMPDIR says, and a socket's whole path may not be longer than about 100 bytes.
SOCKET_ROOT = Path("/tmp")  # noqa: S108 - the folder in it has an unguessable name and is checked


class Places:
    """The folders and secrets of one checkout; nothing is made before it is asked for."""

    def __init__(self, local: Path) -> None:
        self.local = local.resolve()

    def create(self) -> None:
        """The checkout's own folder exists and belongs to whoever runs this."""
        try:
            self.local.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            self._check_owner()
            return
        except OSError as error:
            message = (
                f"{self.local} could not be created ({error.strerror}); make its parent writable."
            )
            raise EmbeddedServiceError(message) from error
        if os.geteuid() == 0:
            # The servers run as another user, who passes through here to their data.
            self.local.chmod(0o711)

    def _check_owner(self) -> None:
        owner = self.local.stat().st_uid
        if owner != os.geteuid():
            message = (
                f"{self.local} belongs to the user with id {owner}, not to you (id {os.geteuid()});"
                f" run this as its owner, or remove the folder to start with empty data."
            )
            raise EmbeddedServiceError(message)

    def secret(self, name: str) -> str:
        """The secret of that name: the same for everyone who asks, made at the first call."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            message = (
                f"{name!r} is no name for a secret; use lower-case letters, digits and underscores."
            )
            raise EmbeddedServiceError(message)
        path = self.local / "secrets" / name
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            self._write_secret(path)
            return path.read_text(encoding="utf-8").strip()
        except PermissionError as error:
            message = f"{path} may not be read by you; run this as the user who owns {self.local}."
            raise EmbeddedServiceError(message) from error

    def _write_secret(self, path: Path) -> None:
        self.create()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(secrets.token_hex(32) + "\n")
            # A link appears with its whole content or not at all, and only the first one wins.
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            Path(draft).unlink()

    @cached_property
    def socket_folder(self) -> Path:
        """A short folder for the sockets, the same in every process of the checkout.

        Its name depends on a secret, or another user of the machine could take it first.
        """
        seed = f"{self.local}\n{self.secret('socket_folder')}"
        digest = hashlib.sha256(seed.encode()).hexdigest()[:10]
        return SOCKET_ROOT / f"commonplace-{os.geteuid()}-{digest}"

    def create_socket_folder(self, account: Account) -> None:
        """The sockets' folder exists and nobody but the servers' user and root may enter it."""
        secret = self.local / "secrets" / "socket_folder"
        private_folder(
            self.socket_folder, account, otherwise=f"remove {secret} to have another name chosen"
        )

    def log(self, name: str) -> Path:
        """The log file of that server, in a folder that exists."""
        folder = self.local / "log"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{name}.log"

    @property
    def data(self) -> Path:
        """The folder that holds the servers' data folders."""
        link = self.local / "data"
        if not link.is_symlink():
            return self.local
        target = link.readlink()
        if target.parent == STATE_ROOT and target.name.startswith(self._path_digest):
            return target
        message = (
            f"{link} leads to {target}, the data of a checkout at another path; move the checkout"
            f" back, or remove the link to start with empty data."
        )
        raise EmbeddedServiceError(message)

    def create_data(self, account: Account) -> None:
        """The data lie where the servers' user can reach them.

        A parent that is closed to that user stays closed: the data then go to STATE_ROOT.
        """
        if self.data == self.local and account.switched and not account.can_enter(self.local):
            if (self.local / "postgres").exists():
                message = (
                    f"The user {account.name!r} can no longer reach the data in {self.local}; open"
                    f" the folders above it to that user again, or remove it to start empty."
                )
                raise EmbeddedServiceError(message)
            # The random part keeps a later checkout at the same path from finding old data.
            name = f"{self._path_digest}-{secrets.token_hex(4)}"
            (self.local / "data").symlink_to(STATE_ROOT / name)
        if self.data != self.local:
            STATE_ROOT.mkdir(mode=0o755, exist_ok=True)
            private_folder(self.data, account)

    @property
    def _path_digest(self) -> str:
        return hashlib.sha256(str(self.local).encode()).hexdigest()[:10]


def private_folder(path: Path, account: Account, *, otherwise: str = "remove or rename it") -> None:
    """The folder exists, belongs to the account, and is closed to everyone else."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if account.switched and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
        found = path.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != account.uid:
        message = (
            f"{path} must be a folder of the user {account.name!r} with mode 0700, but is not;"
            f" {otherwise}."
        )
        raise EmbeddedServiceError(message)
