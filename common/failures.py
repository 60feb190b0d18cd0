"""How many requests and tasks failed, hour by hour, for eight days."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from common.tallies import tallies

HOUR = 3600
KEPT_SECONDS = 8 * 24 * HOUR

Kind = Literal["request", "task"]


def note_failure(kind: Kind) -> None:
    """Count one failure in the running hour; while Redis is away it is not counted."""
    tallies().add(_key(_this_hour()), {kind: 1}, kept_seconds=KEPT_SECONDS)


def failures_by_hour(hours: int) -> list[tuple[datetime, Mapping[str, int]]]:
    """Each of the last hours, the running one last, and how many of each kind failed in it.

    Raises RedisError.
    """
    last = _this_hour()
    wanted = range(last - hours + 1, last + 1)
    counts = tallies().read(*map(_key, wanted))
    return [
        (datetime.fromtimestamp(hour * HOUR, UTC), {"request": 0, "task": 0} | found)
        for hour, found in zip(wanted, counts, strict=True)
    ]


def _this_hour() -> int:
    """Hours since 1970 began."""
    return int(time.time()) // HOUR


def _key(hour: int) -> str:
    return f"failures:{hour}"
