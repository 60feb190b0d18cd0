"""What is past its time goes, a month at once: events after years, origins after weeks."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connections

from audit.choices import SecurityKind
from audit.recording import record_for_each
from common.locks import lift_time_limit
from common.tenancy import OPERATOR_ALIAS, as_operator

# Events find a partition of their own even if nobody makes one for this long.
MONTHS_AHEAD = 3


@dataclass(frozen=True)
class DroppedPart:
    """One month of one table; its events are in the files."""

    part: str
    rows: int
    ends_at: datetime

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ends_at": self.ends_at.isoformat()}


def apply_retention(*, dry_run: bool = False) -> list[DroppedPart]:
    """Afterwards no month is left that ended longer ago than the settings say.

    A month with events that are in no file yet stays. With `dry_run` it only tells which go.
    """
    going = drop_parts(only_look=True)
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
    return drop_parts(only_look=False)


def drop_parts(*, only_look: bool) -> list[DroppedPart]:
    """The months that are past their time, which are gone then unless it only looks."""
    with as_operator("retention"):
        lift_time_limit()
        with connections[OPERATOR_ALIAS].cursor() as cursor:
            cursor.execute(
                "SELECT part, rows_in_it, ends_at FROM audit_drop_partitions(%s, %s, %s)",
                [settings.AUDIT_EVENT_DAYS, settings.AUDIT_ORIGIN_DAYS, only_look],
            )
            return [DroppedPart(*row) for row in cursor.fetchall()]


def make_partitions() -> list[str]:
    """Afterwards the months to come have partitions; returns those that were made."""
    with as_operator("make partitions"), connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute("SELECT audit_make_partitions(%s)", [MONTHS_AHEAD])
        return [name for (name,) in cursor.fetchall()]
