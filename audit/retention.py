"""What is past its time goes, a month at once: events after years, origins after weeks."""

import logging
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.conf import settings
from django.db import connections
from django.utils import timezone

from audit.choices import SecurityKind
from audit.recording import record_for_each
from audit.vouching import EVENTS, what_is_missing
from common.locks import lift_time_limit
from common.tenancy import OPERATOR_ALIAS, as_operator

# Events find a partition of their own even if nobody makes one for this long.
MONTHS_AHEAD = 3
# No event is as old.
NEVER_DAYS = 1_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DroppedPart:
    """One month of one table; its events are in the files."""

    part: str
    rows: int
    ends_at: datetime

    @property
    def parent(self) -> str:
        return self.part[: -len("_2026_11")]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ends_at": self.ends_at.isoformat()}


def apply_retention(*, dry_run: bool = False) -> list[DroppedPart]:
    """Afterwards no month is left that ended longer ago than the settings say.

    A month with events that are in no file stays, and so do those after it; the files are read.
    With `dry_run` it only tells which go.
    """
    event_days = days_of_events_in_files()
    going = drop_parts(event_days, only_look=True)
    if not going or dry_run:
        return going
    # Before it is done: afterwards a kill would leave no trace of it.
    record_for_each(
        SecurityKind.RETENTION_APPLIED,
        [None],
        details={
            "parts": [part.part for part in going],
            "rows": sum(part.rows for part in going),
        },
        required=True,
    )
    return drop_parts(event_days, only_look=False)


def days_of_events_in_files() -> int:
    """How long ago a month must have ended that may go: of each that did the files have all."""
    due = [
        part
        for part in drop_parts(settings.AUDIT_EVENT_DAYS, only_look=True)
        if part.parent in EVENTS
    ]
    days = NEVER_DAYS
    for ends_at, parts in groupby(sorted(due, key=ends_of), key=ends_of):
        rows = {part.parent: part.rows for part in parts}
        if problem := what_is_missing(rows, ends_at):
            logger.error("the events until %s stay: %s", f"{ends_at:%Y-%m-%d}", problem)
            break
        days = max((timezone.now() - ends_at).days, settings.AUDIT_EVENT_DAYS)
    return days


def ends_of(part: DroppedPart) -> datetime:
    return part.ends_at


def drop_parts(event_days: int, *, only_look: bool) -> list[DroppedPart]:
    """The months that are past their time, which are gone then unless it only looks."""
    with as_operator("retention"):
        lift_time_limit()
        with connections[OPERATOR_ALIAS].cursor() as cursor:
            cursor.execute(
                "SELECT part, rows_in_it, ends_at FROM audit_drop_partitions(%s, %s, %s)",
                [event_days, settings.AUDIT_ORIGIN_DAYS, only_look],
            )
            return [DroppedPart(*row) for row in cursor.fetchall()]


def make_partitions() -> list[str]:
    """Afterwards the months to come have partitions; returns those that were made."""
    with as_operator("make partitions"), connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute("SELECT audit_make_partitions(%s)", [MONTHS_AHEAD])
        return [name for (name,) in cursor.fetchall()]
