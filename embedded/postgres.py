"""The embedded PostgreSQL."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from embedded.account import ENVIRONMENT, Account
from embedded.errors import EmbeddedServiceError
from embedded.programs import postgres_folder
from embedded.server import Server

SUPERUSER = "postgres"

# For a laptop with two cores and a few gigabytes; no TCP, so no port is ever in the way.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "max_locks_per_transaction": "256",
    "random_page_cost": "1.1",
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}

# Where people work, what takes long is to be found.
_DURABLE_SETTINGS = {"log_min_duration_statement": "1s"}

# What a test run may lose when the machine loses power.
_FORGETFUL_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # It would note as empty the tables that tests empty, and mislead the planner of the next.
    "autovacuum": "off",
}


class Postgres(Server):
    """PostgreSQL 18 with the extension vector, reached by password through a unix socket."""

    title = "PostgreSQL"
    key = "postgres"
    program = "postgres"
    # Fast shutdown; then without a checkpoint, which the next start makes up for.
    stop_signals = ((signal.SIGINT, 120.0), (signal.SIGQUIT, 30.0))

    # It only names the socket.
    port = 5432

    @property
    def host(self) -> str:
        """The socket's folder, which PostgreSQL's clients take for a host name."""
        return str(self._places.socket_folder)

    @property
    def socket(self) -> Path:
        return self._places.socket_folder / f".s.PGSQL.{self.port}"

    def is_main(self, command_line: list[str]) -> bool:
        return "-D" in command_line

    def accepts(self) -> bool:
        command = [str(postgres_folder() / "pg_isready"), "--quiet", "--timeout=3"]
        command += ["--host", self.host, "--port", str(self.port)]
        command += ["--username", SUPERUSER, "--dbname", "postgres"]
        return subprocess.run(command, check=False, env=ENVIRONMENT).returncode == 0

    def prepare(self, account: Account) -> None:
        for draft in self._places.data.glob("postgres-*"):
            shutil.rmtree(draft, ignore_errors=True)
        if not self.folder.exists():
            self._create_cluster(account)
        elif not (self._places.local / "secrets" / SUPERUSER).exists():
            message = (
                f"The database in {self.folder} has lost its password, the file {SUPERUSER} in"
                f" {self._places.local / 'secrets'}; put it back, or remove both to start empty."
            )
            raise EmbeddedServiceError(message)
        # No postmaster lives, so these are stale. PostgreSQL would believe them if their
        # process number had been given to another process.
        lock = self.socket.with_name(self.socket.name + ".lock")
        for stale in (self.folder / "postmaster.pid", self.socket, lock):
            stale.unlink(missing_ok=True)

    def command(self, account: Account) -> list[str]:
        settings = _SETTINGS | (_DURABLE_SETTINGS if self._durable else _FORGETFUL_SETTINGS)
        settings["unix_socket_directories"] = self.host
        command = [str(postgres_folder(account) / "postgres"), "-D", str(self.folder)]
        command += ["-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _create_cluster(self, account: Account) -> None:
        """The data folder holds a whole cluster; a kill in the middle leaves none at all."""
        # Never the same draft twice: the initdb of a killed starter may still be at work.
        draft = Path(tempfile.mkdtemp(prefix="postgres-", dir=self._places.data))
        password = draft / "password"
        password.write_text(self._places.secret(SUPERUSER), encoding="utf-8")
        password.chmod(0o600)
        if account.switched:
            for path in (draft, password):
                os.chown(path, account.uid, account.gid)
        self._run_initdb(draft / "cluster", password, account)
        (draft / "cluster").rename(self.folder)
        shutil.rmtree(draft)

    def _run_initdb(self, cluster: Path, password: Path, account: Account) -> None:
        command = [str(postgres_folder(account) / "initdb"), "-D", str(cluster)]
        command += ["--username", SUPERUSER, "--pwfile", str(password), "--auth=scram-sha-256"]
        # The provider built into PostgreSQL sorts the same on every machine.
        command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
        command += ["--builtin-locale=C.UTF-8"]
        command += [] if self._durable else ["--no-sync"]
        result = account.run(command)
        if result.returncode:
            lines = (result.stdout + result.stderr).splitlines()[-15:]
            message = f"The database in {self.folder} could not be created:\n" + "\n".join(lines)
            raise EmbeddedServiceError(message)
