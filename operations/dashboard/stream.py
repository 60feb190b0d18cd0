"""The change stream: whether it is written, and how much operators look at."""

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from audit.batches import last_written
from audit.choices import SecurityKind
from audit.exporting import stream_lag
from audit.models import ChangeEvent, SecurityEvent
from audit.times import first_key
from operations.dashboard.cards import (
    HOUR,
    MINUTE,
    Card,
    Figure,
    Link,
    Note,
    State,
    duration,
    judged,
)
from operations.dashboard.charts import BLUE, ORANGE, Bars, stacked
from operations.dashboard.days import beginning, last_days, named, of_kinds, security_events

LAG_NOTICE_SECONDS, LAG_WARNING_SECONDS = 5 * MINUTE, HOUR
# Nobody needs to know how many more there are.
MOST_COUNTED = 100_000


def stream_card() -> Card:
    days = last_days()
    today = first_key(beginning(days[-1]))
    found = security_events(days, [SecurityKind.OPERATOR_LOOKED, SecurityKind.OPERATOR_ACTED])
    last, lag = last_written(), stream_lag()
    ago = (timezone.now() - last.written_at).total_seconds() if last and last.written_at else None
    bars = [
        Bars("Looks", BLUE, of_kinds(found, days, SecurityKind.OPERATOR_LOOKED)),
        Bars("Actions", ORANGE, of_kinds(found, days, SecurityKind.OPERATOR_ACTED)),
    ]
    return Card(
        title="Change stream",
        notes=[_note_of_lag(lag)],
        figures=[
            Figure("Waits to be written", duration(lag)),
            Figure("Files", f"{last.sequence if last else 0:,}"),
            Figure("Last file", "-" if ago is None else f"{duration(max(ago, 0))} ago"),
            Figure("Changes today", _bounded(ChangeEvent.objects.filter(pk__gte=today))),
            Figure("Other events today", _bounded(SecurityEvent.objects.filter(pk__gte=today))),
        ],
        charts=[
            stacked("Operators at people's things, by day, in UTC", named(days), bars, what="Times")
        ],
        links=[
            Link("Changes", reverse("admin:audit_changeevent_changelist")),
            Link("Files", reverse("admin:audit_exportbatch_changelist")),
        ],
    )


def _note_of_lag(lag: float) -> Note:
    state = judged(lag, notice=LAG_NOTICE_SECONDS, warning=LAG_WARNING_SECONDS)
    if state == State.FINE:
        return Note(state, "All events are written to files, or will be in a moment.")
    text = f"Events have waited for {duration(lag)} to be written: see whether beat and a worker"
    return Note(state, f"{text} run, and their log.")


def _bounded(events: QuerySet[Any]) -> str:
    number = events.order_by()[: MOST_COUNTED + 1].count()
    return f"{number:,}" if number <= MOST_COUNTED else f"over {MOST_COUNTED:,}"
