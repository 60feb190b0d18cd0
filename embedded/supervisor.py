"""Runs the programs of one checkout together, and leaves none of them behind."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil

from embedded.errors import EmbeddedServiceError
from embedded.locks import open_lock, try_exclusive
from embedded.places import Places
from embedded.processes import all_gone, is_alive, send

MARKER = "COMMONPLACE_SUPERVISED"

_SHORTEST_DELAY = 0.5
_LONGEST_DELAY = 10.0
_STABLE_AFTER = 10.0
_STOP_PATIENCE = 10.0
_PAUSE = 0.1


class AlreadyRunningError(EmbeddedServiceError):
    """Another supervisor runs in this checkout."""


@dataclass(frozen=True)
class Program:
    """One program to keep running."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def supervise(
    programs: Sequence[Program],
    *,
    local: Path,
    when_ready: Callable[[], None] | None,
    is_ready: Callable[[], bool],
) -> int:
    """Keep the programs running until SIGINT, SIGTERM or SIGHUP; then all have ended.

    Calls `when_ready` once, from a thread, as soon as `is_ready` says so. Must be called from
    the main thread. Raises AlreadyRunningError, and EmbeddedServiceError when a program
    cannot be started at all.
    """
    with _run_lock(local), _stop_requests() as requests:
        _end_marked(_marker(local))
        children = [_Child(program, _marker(local)) for program in programs]
        finished = threading.Event()
        try:
            for child in children:
                child.start()
            if when_ready:
                _call_when_ready(is_ready, when_ready, finished)
            while not requests:
                for child in children:
                    child.keep_running()
                time.sleep(_PAUSE)
        finally:
            finished.set()
            for child in reversed(children):
                child.stop(requests)
            # What a program started in a session of its own has left its group.
            _end_marked(_marker(local))
    return 0


def end_orphans(local: Path) -> int:
    """End what a killed supervisor left running here, and say how many processes that were.

    A living supervisor's programs are no orphans: then nothing happens.
    """
    try:
        with _run_lock(local):
            return _end_marked(_marker(local))
    except AlreadyRunningError:
        return 0


@contextmanager
def _run_lock(local: Path) -> Iterator[None]:
    """This process is the checkout's only supervisor inside the block."""
    places = Places(local)
    places.create()
    descriptor = open_lock(places.local / "run.lock")
    try:
        if not try_exclusive(descriptor):
            number = os.pread(descriptor, 20, 0).decode().strip() or "unknown"
            message = (
                f"This checkout is already running (process {number}); stop that one first,"
                f" with Ctrl-C in its terminal or with: kill {number}"
            )
            raise AlreadyRunningError(message)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        # A forked child may still hold the same open file, so closing alone would not do.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """A list that grows by each signal that asks for the end."""
    requests: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        requests.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _call_when_ready(
    is_ready: Callable[[], bool], when_ready: Callable[[], None], finished: threading.Event
) -> None:
    def watch() -> None:
        while not is_ready():
            if finished.wait(0.25):
                return
        if not finished.is_set():
            when_ready()

    threading.Thread(target=watch, name="when-ready", daemon=True).start()


class _Child:
    """One program and the process that runs it, the leader of a group of its own."""

    def __init__(self, program: Program, marker: str) -> None:
        self._program = program
        self._marker = marker
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._delay = _SHORTEST_DELAY
        self._due: float | None = None

    def start(self) -> None:
        # The marker comes last: a program that writes its title over its arguments may
        # run on into the first variables.
        environment = os.environ | self._program.environment
        environment.pop(MARKER, None)
        environment[MARKER] = self._marker
        try:
            self._process = subprocess.Popen(
                self._program.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            message = (
                f"The program {self._program.name} cannot be started"
                f" ({self._program.command[0]}: {error.strerror}); install the requirements again."
            )
            raise EmbeddedServiceError(message) from error
        self._started = time.monotonic()
        self._due = None

    def keep_running(self) -> None:
        """A program that ended starts again, after a pause that grows while it keeps ending."""
        if self._process is None or self._process.poll() is None:
            return
        if self._due is None:
            self._plan_restart(self._process.returncode)
        elif time.monotonic() >= self._due:
            # Workers that outlived their leader would keep its port.
            self._signal_group(signal.SIGKILL)
            self.start()

    def _plan_restart(self, code: int) -> None:
        if time.monotonic() - self._started >= _STABLE_AFTER:
            self._delay = _SHORTEST_DELAY
        print(  # noqa: T201 - a person watches the terminal
            f"{self._program.name} ended with code {code}; it starts again in {self._delay:g} s.",
            file=sys.stderr,
            flush=True,
        )
        self._signal_group(signal.SIGTERM)
        self._due = time.monotonic() + self._delay
        self._delay = min(self._delay * 2, _LONGEST_DELAY)

    def stop(self, requests: Sequence[int]) -> None:
        """The whole group has ended; killed when it takes long or a second request comes."""
        if self._process is None:
            return
        self._signal_group(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_PATIENCE
        while self._group_is_alive():
            if len(requests) > 1 or time.monotonic() > deadline:
                self._signal_group(signal.SIGKILL)
                break
            time.sleep(0.02)
        self._process.wait()

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process:
            # macOS forbids signalling a group in which only zombies are left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _group_is_alive(self) -> bool:
        if self._process is None:
            return False
        if self._process.poll() is None:
            return True
        try:
            os.killpg(self._process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return any(_in_group(process, self._process.pid) for process in psutil.process_iter())


def _in_group(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and is_alive(process)
    except ProcessLookupError:
        return False


def _marker(local: Path) -> str:
    return str(local.resolve())


def _end_marked(marker: str) -> int:
    """No process carries the marker any more; returns how many were ended."""
    ended: set[int] = set()
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    # Again until none is found: a process may start another while it is being looked for.
    for _ in range(5):
        found = [
            process
            for process in psutil.process_iter()
            if process.pid not in spared and _carries(process, marker) and is_alive(process)
        ]
        if not found:
            break
        ended.update(process.pid for process in found)
        send(found, signal.SIGTERM)
        if not all_gone(found, patience=_STOP_PATIENCE):
            send(found, signal.SIGKILL)
            all_gone(found, patience=_STOP_PATIENCE)
    return len(ended)


def _carries(process: psutil.Process, marker: str) -> bool:
    """Whether the process was started with exactly this marker."""
    try:
        raw = Path(f"/proc/{process.pid}/environ").read_bytes()
    except PermissionError:
        return False
    except OSError:
        return _carries_by_psutil(process, marker)
    # psutil stops reading at the first gap, such as a title written over the arguments leaves.
    return f"{MARKER}={marker}".encode() in raw.split(b"\0")


def _carries_by_psutil(process: psutil.Process, marker: str) -> bool:
    """The same where there is no /proc."""
    try:
        return process.environ().get(MARKER) == marker
    except (psutil.Error, OSError):
        return False
