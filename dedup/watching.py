"""Folders that are kept imported: what changes in them is read, until somebody ends it."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from watchfiles import watch

from dedup.exports import Export, export_at, exports_below, find_exports, fingerprint_of
from dedup.outcomes import Order, Outcome, read_export

logger = logging.getLogger(__name__)

# Changes are gathered until there was none for STEP, but for no longer than LONGEST_GATHERING.
STEP_MS = 100
LONGEST_GATHERING_MS = 1_600
TICK_MS = 500
# The library polls, too, but misses what changes twice in one second.
POLL_SECONDS = 1.0
# A file that may be half written is read when it has not changed for this long.
SETTLED_SECONDS = 2.0
# Everything is looked at again: the system may drop notices of changes when there are too many.
SECONDS_BETWEEN_LOOKS = 300.0
LONGEST_WAIT_SECONDS = 30.0
# A file that did not change and could not be read this often is left alone until it does.
MOST_ATTEMPTS = 10

Fingerprint = tuple[tuple[int, int], ...]
Changed = set[Path] | None


@dataclass
class _Waiting:
    """A file that is to be read: as it was since a moment, and not before another."""

    fingerprint: Fingerprint
    since: float
    not_before: float = 0.0
    attempts: int = 0


class Watch:
    """The files of watched folders: those that wait to be read, and how the others were then.

    `tell` hears what became of each file that was read, and `note` what else a person should
    know. `read_many` reads the many files that there are at first.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        order: Order,
        *,
        tell: Callable[[Outcome], None],
        note: Callable[[str], None],
        read_many: Callable[[list[Export], Callable[[int, Outcome], None]], None],
        polling: bool = False,
    ) -> None:
        self._folders = folders
        self._order = order
        self._of_any_name = bool(order.wanted.source)
        self._tell = tell
        self._note = note
        self._read_many = read_many
        self._polling = polling
        self._read: dict[Path, Fingerprint] = {}
        self._waiting: dict[Path, _Waiting] = {}
        self._said: dict[Path, str] = {}
        self._away_until = 0.0
        self._failures = 0

    def run(self) -> None:
        """Read what is there and then what changes. Ends with KeyboardInterrupt only.

        Raises OSError if the folders cannot be watched.
        """
        changes = changes_of(self._folders, polling=self._polling)
        # From here on changes are noticed: what changes during the first look is read again.
        next(changes)
        self._look_at_everything(settled=True)
        self._read_first()
        looked = time.monotonic()
        self._note("Watching for changes; Ctrl-C ends it.")
        for changed in changes:
            if changed is None or time.monotonic() - looked > SECONDS_BETWEEN_LOOKS:
                self._look_at_everything()
                looked = time.monotonic()
            self._look_at(changed or set())
            self._read_due()

    def _look_at_everything(self, *, settled: bool = False) -> None:
        """What lies there at first may have lain for long: only a torn file is waited for."""
        folders = [folder for folder in self._folders if folder.is_dir()]
        for export in find_exports(folders, self._refused, of_any_name=self._of_any_name):
            whole = settled and export.path.suffix != ".jsonl"
            self._wait_for(export.path, since=0.0 if whole else time.monotonic())

    def _look_at(self, changed: set[Path]) -> None:
        for path in sorted(changed):
            if path.is_dir():
                found = list(exports_below(path, self._refused, of_any_name=self._of_any_name))
            else:
                at = export_at(path, of_any_name=self._of_any_name)
                found = [at] if at else []
            for export in found:
                self._wait_for(export, since=time.monotonic())

    def _refused(self, error: OSError) -> None:
        path = Path(error.filename or "")
        self._say(Outcome(path, error=f"It cannot be read: {error.strerror}."))

    def _wait_for(self, path: Path, since: float) -> None:
        fingerprint = fingerprint_of(path)
        if fingerprint is None:
            self._forget(path)
        elif fingerprint != self._read.get(path):
            waiting = self._waiting.get(path)
            if waiting is None or waiting.fingerprint != fingerprint:
                self._waiting[path] = _Waiting(fingerprint, since)

    def _forget(self, path: Path) -> None:
        """A file that was deleted or renamed: under a new name it is found as a new one."""
        for known in (self._waiting, self._read, self._said):
            known.pop(path, None)

    def _due(self) -> Iterator[Path]:
        for path in sorted(self._waiting):
            self._wait_for(path, since=time.monotonic())
            waiting = self._waiting.get(path)
            if waiting is None or time.monotonic() < waiting.not_before:
                continue
            if time.monotonic() - waiting.since >= SETTLED_SECONDS or _ends_with_a_line(path):
                yield path

    def _read_first(self) -> None:
        exports = [Export(path) for path in self._due()]
        self._read_many(exports, lambda number, outcome: self._take(exports[number].path, outcome))

    def _read_due(self) -> None:
        for path in list(self._due()):
            if time.monotonic() < self._away_until:
                return
            self._take(path, read_export(Export(path), self._order))

    def _take(self, path: Path, outcome: Outcome) -> None:
        if outcome.database_away:
            self._note_away()
            return
        self._note_back()
        waiting = self._waiting[path]
        if outcome.passing and waiting.attempts < MOST_ATTEMPTS:
            waiting.attempts += 1
            waiting.not_before = time.monotonic() + _wait_after(waiting.attempts)
        else:
            # As it was before it was read: what was written meanwhile is a change.
            self._read[path] = self._waiting.pop(path).fingerprint
        self._say(outcome)

    def _say(self, outcome: Outcome) -> None:
        """A reason is said once for each file, as long as it is the same."""
        reason = outcome.error or outcome.skipped
        if not reason:
            self._said.pop(outcome.path, None)
        elif self._said.get(outcome.path) == reason:
            return
        else:
            self._said[outcome.path] = reason
        self._tell(outcome)

    def _note_away(self) -> None:
        if not self._failures:
            self._note("The database does not answer; trying again.")
        # Of many files that fail at the same time the first counts.
        if time.monotonic() >= self._away_until:
            self._failures += 1
            self._away_until = time.monotonic() + _wait_after(self._failures)

    def _note_back(self) -> None:
        if self._failures:
            self._note("The database answers again.")
        self._failures, self._away_until = 0, 0.0


def _wait_after(attempts: int) -> float:
    return min(2.0 ** min(attempts - 1, 10), LONGEST_WAIT_SECONDS)


def _ends_with_a_line(path: Path) -> bool:
    """Whether the last line of a transcript is whole. Of other files the end says nothing."""
    if path.suffix != ".jsonl":
        return False
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:
        # Empty, or gone.
        return False


def changes_of(folders: Sequence[Path], *, polling: bool) -> Iterator[Changed]:
    """The paths that changed, several times a second and also when there are none; None when
    everything is to be looked at. The first time says that watching has begun.

    Raises OSError if the folders cannot be watched.
    """
    while polling:
        yield None
        time.sleep(POLL_SECONDS)
    begun = False
    while True:
        try:
            for changes in watch(
                *[folder for folder in folders if folder.is_dir()],
                watch_filter=None,
                debounce=LONGEST_GATHERING_MS,
                step=STEP_MS,
                rust_timeout=TICK_MS,
                yield_on_timeout=True,
                ignore_permission_denied=True,
            ):
                begun = True
                yield {Path(name) for _, name in changes}
        except (OSError, RuntimeError) as error:
            # Its own errors are RuntimeErrors.
            if not begun:
                raise OSError(str(error)) from error
            logger.warning("watching: %s", error)
        time.sleep(TICK_MS / 1000)
        yield None
