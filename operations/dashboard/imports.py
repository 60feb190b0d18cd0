"""The imports of the last days, and what waits to be imported."""

import math
from collections.abc import Mapping
from datetime import UTC, date
from typing import Any

from django.db.models import Count, Min, Q, Sum
from django.db.models.functions import TruncDate
from django.urls import reverse
from django.utils import timezone
from redis import RedisError

from audit.times import first_key
from dedup.choices import UNFINISHED, ImportStatus
from dedup.models import Import, savings
from operations.dashboard.cards import (
    HOUR,
    MINUTE,
    Card,
    Figure,
    Link,
    Note,
    State,
    counted,
    duration,
    judged,
)
from operations.dashboard.charts import GREY, ORANGE, PALE, RED, VIOLET, Bars, Line, stacked
from operations.dashboard.days import DAYS, beginning, last_days, named
from operations.metrics.measures import queue

# An import may run for half an hour before its worker is stopped.
LATE_NOTICE_SECONDS, LATE_WARNING_SECONDS = 10 * MINUTE, HOUR

COMPLETED = Q(status=ImportStatus.COMPLETED)
COUNTS = {
    "completed": Count("pk", filter=COMPLETED & Q(original=None)),
    "again": Count("pk", filter=COMPLETED & Q(original__isnull=False)),
    "failed": Count("pk", filter=Q(status=ImportStatus.FAILED)),
    "unfinished": Count("pk", filter=Q(status__in=UNFINISHED)),
    "messages": Sum("messages_in_export"),
    "equal": Sum("duplicates_filtered"),
}
OUTCOMES = (
    ("completed", "Completed", VIOLET),
    ("again", "Came again", PALE),
    ("failed", "Failed", RED),
    ("unfinished", "Unfinished", GREY),
)


def imports_card() -> Card:
    days = last_days()
    found = _by_day(days[0])
    bars = [
        Bars(title, colour, [found.get(day, {}).get(name, 0) for day in days])
        for name, title, colour in OUTCOMES
    ]
    saved = _saved(found, days)
    failed_today = bars[2].amounts[-1]
    return Card(
        title=f"Imports of {DAYS} days",
        notes=[_note_of_failures(failed_today)],
        figures=[
            *(Figure(kind.name, f"{sum(kind.amounts):,}") for kind in bars),
            Figure("Messages", f"{sum(row['messages'] for row in found.values()):,}"),
            Figure("Saved", "-" if saved[-1] is None else f"{saved[-1]:g} %"),
        ],
        charts=[
            stacked(
                "By day and outcome, in UTC",
                named(days),
                bars,
                what="Imports",
                line=Line("Saved in all", ORANGE, saved),
            )
        ],
        links=[
            Link("Imports", reverse("admin:dedup_import_changelist")),
            Link("Failed ones", f"{reverse('admin:dedup_import_changelist')}?status__exact=failed"),
        ],
        wide=True,
    )


def _by_day(first: date) -> dict[date, Mapping[str, Any]]:
    rows = (
        Import.objects.filter(pk__gte=first_key(beginning(first)))
        .annotate(day=TruncDate("created_at", tzinfo=UTC))
        .values("day")
        .annotate(**COUNTS)
        .order_by()
    )
    return {row["day"]: row for row in rows}


def _saved(found: Mapping[date, Mapping[str, Any]], days: list[date]) -> list[float | None]:
    """For each day the share of messages that was saved up to it; nothing before the first one."""
    messages = equal = 0
    shares: list[float | None] = []
    for day in days:
        messages += found.get(day, {}).get("messages", 0)
        equal += found.get(day, {}).get("equal", 0)
        shares.append(savings(messages, messages - equal) if messages else None)
    return shares


def _note_of_failures(failed: int) -> Note:
    if not failed:
        return Note(State.FINE, "No import failed today.")
    text = f"{counted(failed, 'import')} failed today: the list of failed ones says why."
    return Note(State.NOTICE, text)


def queue_card() -> Card:
    unfinished = Import.objects.unfinished().aggregate(
        waiting=Count("pk", filter=Q(status=ImportStatus.QUEUED)),
        running=Count("pk", filter=Q(status=ImportStatus.RUNNING)),
        oldest=Min("created_at"),
    )
    oldest = unfinished["oldest"]
    age = max((timezone.now() - oldest).total_seconds(), 0.0) if oldest else 0.0
    figures = [
        Figure("Waiting", f"{unfinished['waiting']:,}"),
        Figure("Running", f"{unfinished['running']:,}"),
        Figure("Oldest of them", duration(age) if oldest else "-"),
    ]
    notes = [_note_of_age(age)]
    try:
        measured = queue()
    except RedisError:
        text = "Redis does not answer: nothing is known of the worker and of beat. Start Redis."
        notes.append(Note(State.WARNING, text))
    else:
        signs = measured["heartbeat_age_seconds"]
        notes += [_note_of_life(process, seconds) for process, seconds in signs.items()]
        figures += [
            Figure("Messages in Redis", f"{measured['queue_length']['']:,.0f}"),
            *(Figure(process.title(), _alive(seconds)) for process, seconds in signs.items()),
        ]
    return Card(
        title="Queue",
        notes=notes,
        figures=figures,
        links=[Link("Imports", reverse("admin:dedup_import_changelist"))],
    )


def _note_of_age(age: float) -> Note:
    state = judged(age, notice=LATE_NOTICE_SECONDS, warning=LATE_WARNING_SECONDS)
    if state == State.FINE:
        return Note(state, "No import has waited for long.")
    return Note(state, f"An import is unfinished for {duration(age)}: see whether a worker runs.")


def _note_of_life(process: str, seconds: float) -> Note:
    if math.isinf(seconds):
        return Note(State.WARNING, f"No sign of life from {process} for a minute: start it.")
    return Note(State.FINE, f"The process {process} is alive.")


def _alive(seconds: float) -> str:
    return "silent" if math.isinf(seconds) else "alive"
