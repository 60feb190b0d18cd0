"""What became of each file of a run, as plain data that processes can hand to each other."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from django.db import DatabaseError, InterfaceError, OperationalError, connections

from common.errors import DomainError
from dedup.errors import ArchiveBusyError, FileChangedError, UnknownFormatError
from dedup.exports import Export
from dedup.intake import Report
from dedup.results import ConversationResult, FileResult, by_conversation, totals_of
from dedup.services import Wanted, import_path

logger = logging.getLogger(__name__)

Read = Callable[..., FileResult]

AWAY = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)


@dataclass(frozen=True)
class Order:
    """Whose archive a file is to be read into, and what is known of it."""

    user_id: UUID
    wanted: Wanted


@dataclass(frozen=True)
class Outcome:
    """One file, and what became of it: a result, or the reason why it was skipped or failed.

    `passing` says that the cause may have gone by the next time, `database_away` that the cause is
    the database and not the file.
    """

    path: Path
    result: FileResult | None = None
    skipped: str = ""
    error: str = ""
    passing: bool = False
    database_away: bool = False

    def as_json(self) -> dict[str, Any]:
        if self.result:
            return self.result.as_json()
        return {"path": str(self.path), "reason": self.skipped or self.error}


def read_export(
    export: Export, order: Order, hear: Report | None = None, read: Read | None = None
) -> Outcome:
    """What became of the file, whatever it was: no error of one file ends a run."""
    path = export.path
    try:
        read = read or import_path
        return Outcome(
            path, read(user_id=order.user_id, path=path, wanted=order.wanted, report=hear)
        )
    except UnknownFormatError as error:
        # Of a folder nobody said that everything in it is an export.
        named = export.named
        return Outcome(
            path, error=error.detail if named else "", skipped="" if named else error.detail
        )
    except DomainError as error:
        passing = isinstance(error, ArchiveBusyError | FileChangedError)
        return Outcome(path, error=error.detail, passing=passing)
    except AWAY as error:
        logger.warning("importing %s: %s", path, type(error).__name__)
        # A session that has ended is not asked again.
        connections.close_all()
        reason = "The database did not answer: nothing of it was kept."
        return Outcome(path, error=reason, passing=True, database_away=True)
    except Exception as error:
        # The file is rolled back; the others may well be read.
        logger.exception("importing %s", path)
        refused = isinstance(error, DatabaseError | psycopg.Error | OSError)
        verb = "kept" if refused else "read"
        return Outcome(path, error=f"It could not be {verb}: {type(error).__name__}.")


class Outcomes:
    """What became of the files of one run, in the order of the files whenever each was read."""

    def __init__(self) -> None:
        # In the order in which they came to an end: of one conversation the last knows most.
        self._ended: dict[int, Outcome] = {}
        self._refused: list[tuple[Path, str]] = []
        self.interrupted = False

    def refuse(self, error: OSError) -> None:
        """Note a folder that cannot be listed; the rest goes on."""
        reason = f"It cannot be read: {error.strerror}."
        self._refused.append((Path(error.filename or ""), reason))

    def take(self, number: int, outcome: Outcome) -> None:
        self._ended[number] = outcome

    @property
    def _in_order(self) -> list[Outcome]:
        return [self._ended[number] for number in sorted(self._ended)]

    @property
    def read(self) -> list[Outcome]:
        return [outcome for outcome in self._in_order if outcome.result]

    @property
    def results(self) -> list[FileResult]:
        return [outcome.result for outcome in self._in_order if outcome.result]

    @property
    def skipped(self) -> list[tuple[Path, str]]:
        return [(found.path, found.skipped) for found in self._in_order if found.skipped]

    @property
    def errors(self) -> list[tuple[Path, str]]:
        failed = [(found.path, found.error) for found in self._in_order if found.error]
        return self._refused + failed

    @property
    def conversations(self) -> list[ConversationResult]:
        """Each once, where the first of its files stands, as the last of them left it."""
        files = (result for result in self.results)
        rank = {found.id: place for place, found in enumerate(by_conversation(files))}
        ended = (outcome.result for outcome in self._ended.values() if outcome.result)
        return sorted(by_conversation(ended), key=lambda found: rank.get(found.id, len(rank)))

    @property
    def totals(self) -> dict[str, Any]:
        return totals_of(outcome.result for outcome in self._ended.values() if outcome.result)

    def as_json(self) -> dict[str, Any]:
        return {
            "files": [outcome.as_json() for outcome in self.read],
            "conversations": [found.as_json() for found in self.conversations],
            "totals": self.totals,
            "skipped": [{"path": str(path), "reason": reason} for path, reason in self.skipped],
            "errors": [{"path": str(path), "reason": reason} for path, reason in self.errors],
            "interrupted": self.interrupted,
        }
