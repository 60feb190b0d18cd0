"""Files read by several processes, each with its own Django and its own connection.

A process that is killed takes nothing along but the file that it had in hand, which the database
rolls back. The pools of the standard library break or wait for ever then.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import TYPE_CHECKING

import django
from django.conf import settings

if TYPE_CHECKING:
    # A process unpickles what it is to do before its Django is set up: no models up here.
    from dedup.exports import Export
    from dedup.outcomes import Order, Outcome

SECONDS_BETWEEN_REPORTS = 0.1
# A rollback takes moments; after this a process that was asked to end is killed.
PATIENCE_SECONDS = 20

Hear = Callable[[int, int], None]
Take = Callable[[int, "Outcome"], None]


@dataclass(frozen=True)
class Setup:
    """Settings of this process that another one does not find in the environment."""

    databases: dict[str, str]
    files: str

    @classmethod
    def of_this_process(cls) -> "Setup":
        names = {alias: str(entry["NAME"]) for alias, entry in settings.DATABASES.items()}
        return cls(names, str(settings.MEDIA_ROOT))

    def apply(self) -> None:
        for alias, name in self.databases.items():
            settings.DATABASES[alias]["NAME"] = name
        settings.MEDIA_ROOT = self.files
        django.setup()


@dataclass
class _Process:
    process: SpawnProcess
    connection: "Connection"
    number: int | None = None


def read_side_by_side(
    exports: "Sequence[Export]", order: "Order", count: int, hear: Hear, take: Take
) -> None:
    """Afterwards `take` was told of every file what became of it, under the file's number.

    They are begun in the order in which they stand, by `count` processes. `hear` is told how
    many bytes of a file are read. An interrupt ends all processes: what they had in hand is
    rolled back, unless it was done, and then `take` hears of it still.
    """
    _Reading(exports, order, hear, take).run(count)


class _Reading:
    def __init__(self, exports: "Sequence[Export]", order: "Order", hear: Hear, take: Take) -> None:
        self._exports = exports
        self._order = order
        self._hear = hear
        self._take = take
        self._waiting = deque(range(len(exports)))
        self._processes: list[_Process] = []

    def run(self, count: int) -> None:
        try:
            for _ in range(min(count, len(self._exports))):
                self._start()
            while busy := [one for one in self._processes if one.number is not None]:
                ready = wait([one.connection for one in busy])
                for one in busy:
                    if one.connection in ready:
                        self._receive(one)
        finally:
            self._end()

    def _start(self) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        with _signals_held():
            process = context.Process(
                target=serve, args=(theirs, Setup.of_this_process()), daemon=True
            )
            process.start()
            one = _Process(process, ours)
            self._processes.append(one)
        # Else the end of the process would not be the end of its connection.
        theirs.close()
        self._give(one)

    def _give(self, one: _Process) -> None:
        one.number = self._waiting.popleft() if self._waiting else None
        if one.number is not None:
            # One that has died meanwhile is noticed where it is waited for.
            with suppress(OSError):
                one.connection.send((self._exports[one.number], self._order))

    def _receive(self, one: _Process) -> None:
        if self._told(one):
            if one.number is None:
                self._give(one)
            return
        self._processes.remove(one)
        one.process.join()
        self._take_lost(one)
        if self._waiting:
            self._start()

    def _told(self, one: _Process) -> bool:
        """Handle one message. False if the process has ended."""
        try:
            message = one.connection.recv()
        except (EOFError, OSError):
            return False
        number = one.number
        if number is not None and isinstance(message, int):
            self._hear(number, message)
        elif number is not None:
            one.number = None
            self._take(number, message)
        return True

    def _take_lost(self, one: _Process) -> None:
        # Only here: this module is imported before Django is set up.
        from dedup.outcomes import Outcome  # noqa: PLC0415

        if one.number is None:
            return
        code = one.process.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        reason = f"The process that read it {how}: nothing of it was kept, import it again."
        self._take(one.number, Outcome(self._exports[one.number].path, error=reason, passing=True))

    def _end(self) -> None:
        """Afterwards no process is left."""
        busy = [one for one in self._processes if one.number is not None]
        try:
            for one in busy:
                one.process.terminate()
            for one in self._processes:
                if one not in busy:
                    one.connection.close()
            end = time.monotonic() + PATIENCE_SECONDS
            for one in busy:
                while one.connection.poll(max(0, end - time.monotonic())) and self._told(one):
                    pass
            for one in self._processes:
                one.process.join(max(0, end - time.monotonic()))
        finally:
            for one in self._processes:
                one.process.kill()
                one.process.join()
                one.connection.close()


@contextmanager
def _signals_held() -> Iterator[None]:
    """What is sent inside the block comes after it; a process that is started inside never sees
    an interrupt: a terminal sends it to all, and the one that was started first decides."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def serve(connection: "Connection", setup: Setup) -> None:
    """The work of one process, until the connection ends or it is asked to end."""
    with suppress(EOFError, OSError, KeyboardInterrupt):
        # As an exception it rolls back what is in hand.
        signal.signal(signal.SIGTERM, _interrupt_once)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        try:
            setup.apply()
            _serve(connection)
        finally:
            # On its way out it ends by itself.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _interrupt_once(number: int, _: FrameType | None) -> None:
    """Sent to the whole group, it comes from the first process once more: the rollback that it
    has begun must not be interrupted."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _serve(connection: "Connection") -> None:
    # Only here: models can be imported once Django is set up.
    from dedup.outcomes import read_export  # noqa: PLC0415

    due = 0.0

    def hear(_: int, size: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + SECONDS_BETWEEN_REPORTS
            connection.send(size)

    while True:
        export, order = connection.recv()
        connection.send(read_export(export, order, hear))
