"""What PostgreSQL and Redis have in common: start, wait, stop."""

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil

from embedded.account import Account
from embedded.errors import EmbeddedServiceError
from embedded.places import Places, private_folder
from embedded.processes import all_gone, is_alive, processes_in, send, start_detached

# Crash recovery after a long run of writes may take minutes.
START_PATIENCE = 600.0

# A server binds its socket at once, before any recovery.
_BIND_PATIENCE = 60.0

_LARGEST_LOG = 20_000_000


class Server(ABC):
    """One server of one checkout; its data folder is its working directory."""

    title: ClassVar[str]
    key: ClassVar[str]
    program: ClassVar[str]
    stop_signals: ClassVar[Sequence[tuple[signal.Signals, float]]]

    def __init__(self, places: Places, *, durable: bool) -> None:
        self._places = places
        self._durable = durable

    @property
    @abstractmethod
    def socket(self) -> Path:
        """The unix socket at which the server listens."""

    @abstractmethod
    def accepts(self) -> bool:
        """Whether the server answers and is ready to work."""

    @abstractmethod
    def is_main(self, command_line: list[str]) -> bool:
        """Whether that is the command line of the main process, not of one it forked."""

    @abstractmethod
    def prepare(self, account: Account) -> None:
        """The data folder exists and nothing in it hinders a start."""

    @abstractmethod
    def command(self, account: Account) -> list[str]:
        """The command line that runs the server in the foreground."""

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self._places.data / self.key

    def process(self) -> psutil.Process | None:
        """The server's main process, if it runs; a helper that outlived it is none."""
        for process in processes_in(self.folder, self.program):
            with suppress(psutil.Error):
                if self.is_main(process.cmdline()):
                    return process
        return None

    def state(self) -> str:
        """In one word: running, starting, stopped."""
        if self.process() is None:
            return "stopped"
        return "running" if self.accepts() else "starting"

    def start(self, account: Account) -> None:
        """The server runs and is ready to work; nothing happens if it already was."""
        process = self.process()
        if process and self._has_lost_its_socket(process):
            self.stop()
            process = None
        if process is None:
            process = self._spawn(account)
        self._wait_until_ready(process)

    def stop(self) -> None:
        """The server does not run; what it confirmed to its clients is on disk."""
        process = self.process()
        if process is None:
            return
        for number, patience in self.stop_signals:
            send([process], number)
            if all_gone([process], patience=patience):
                return
        message = f"{self.title} (process {process.pid}) does not stop.{self._log_tail()}"
        raise EmbeddedServiceError(message)

    def _has_lost_its_socket(self, process: psutil.Process) -> bool:
        """Something that cleans /tmp may delete the socket of a server that lives on."""
        age = time.time() - process.create_time()
        return age > _BIND_PATIENCE and not self.socket.exists()

    def _spawn(self, account: Account) -> psutil.Process:
        self._places.create_socket_folder(account)
        self._end_leftovers()
        self.prepare(account)
        private_folder(self.folder, account)
        log = self._places.log(self.key)
        if log.exists() and log.stat().st_size > _LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
        command = self.command(account)
        process = start_detached(command, folder=self.folder, log=log, account=account)
        if process is None:
            raise self._ended()
        return process

    def _end_leftovers(self) -> None:
        """No process of a main process that was killed still uses the data.

        Most end by themselves at once; one that is busy only after its work.
        """
        leftovers = processes_in(self.folder, self.program)
        if all_gone(leftovers, patience=3):
            return
        for number in (signal.SIGQUIT, signal.SIGKILL):
            send(leftovers, number)
            if all_gone(leftovers, patience=10):
                return
        numbers = ", ".join(str(process.pid) for process in leftovers)
        message = f"Parts of a killed {self.title} do not end; end the processes {numbers}."
        raise EmbeddedServiceError(message)

    def _wait_until_ready(self, process: psutil.Process) -> None:
        deadline = time.monotonic() + START_PATIENCE
        while not self.accepts():
            if not is_alive(process):
                raise self._ended()
            if time.monotonic() > deadline:
                message = (
                    f"{self.title} (process {process.pid}) was not ready after {START_PATIENCE:.0f}"
                    f" seconds.{self._log_tail()}"
                )
                raise EmbeddedServiceError(message)
            time.sleep(0.03)

    def _ended(self) -> EmbeddedServiceError:
        return EmbeddedServiceError(f"{self.title} ended instead of starting.{self._log_tail()}")

    def _log_tail(self) -> str:
        log = self._places.log(self.key)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return f" The last lines of {log}:\n" + "\n".join(lines[-15:])
