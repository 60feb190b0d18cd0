"""Counts of the last days, from the keys of rows: these begin with the time they were made."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Count, DateTimeField, F, Func
from django.db.models.functions import TruncDate
from django.utils import timezone

from audit.choices import SecurityKind
from audit.models import SecurityEvent
from audit.times import first_key

DAYS = 30


class MadeAt(Func):
    """When the key of a row was made. An index of keys answers it without the rows."""

    function = "uuid_extract_timestamp"
    output_field = DateTimeField()


def last_days() -> list[date]:
    """The days that charts show, in UTC, today last."""
    today = timezone.now().astimezone(UTC).date()
    return [today - timedelta(days=DAYS - 1 - number) for number in range(DAYS)]


def beginning(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def named(days: Sequence[date]) -> list[str]:
    return [f"{day:%d %b}" for day in days]


def security_events(
    days: Sequence[date], kinds: Sequence[SecurityKind]
) -> dict[tuple[SecurityKind, date], int]:
    """How many events of each kind there were on each of the days on which there was one."""
    rows = (
        SecurityEvent.objects.filter(kind__in=kinds, pk__gte=first_key(beginning(days[0])))
        .annotate(day=TruncDate(MadeAt(F("pk")), tzinfo=UTC))
        .values_list("kind", "day")
        .annotate(events=Count("pk"))
        .order_by()
    )
    return {(SecurityKind(kind), day): events for kind, day, events in rows}


def of_kinds(
    found: dict[tuple[SecurityKind, date], int], days: Sequence[date], *kinds: SecurityKind
) -> list[int]:
    """For each day how many events of these kinds there were."""
    return [sum(found.get((kind, day), 0) for kind in kinds) for day in days]
