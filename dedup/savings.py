"""What de-duplication saved, by day: 1 - stored / processed messages, where revisions are stored.

The rows say whose: `visible_to(user)`, one conversation's log, or everybody's for an operator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta

from django.db.models import QuerySet, Sum
from django.db.models.functions import TruncDate

from dedup.models import DeduplicationLog, Import, savings

DAYS = 90


@dataclass(frozen=True)
class DaySavings:
    """One day in UTC; what the exports held beyond new messages and duplicates are revisions."""

    day: date
    messages_in_exports: int = 0
    new_messages: int = 0
    duplicates_filtered: int = 0

    @property
    def savings_pct(self) -> float:
        """Share of the messages that was kept already, in per cent."""
        stored = self.messages_in_exports - self.duplicates_filtered
        return savings(self.messages_in_exports, stored)


def savings_by_day(
    rows: "QuerySet[DeduplicationLog] | QuerySet[Import]", *, days: int = DAYS
) -> list[DaySavings]:
    """Every day from the first to the last with rows, at most the last `days` of them.

    Imports count a file that came again, of which the log has no lines.
    """
    in_export = "messages_in_export" if rows.model is Import else "messages_processed"
    found = (
        rows.order_by()
        .annotate(day=TruncDate("created_at", tzinfo=UTC))
        .values("day")
        .annotate(
            processed=Sum(in_export), new=Sum("new_messages"), equal=Sum("duplicates_filtered")
        )
        .order_by("-day")
        .values_list("day", "processed", "new", "equal")[:days]
    )
    of_day = {entry[0]: DaySavings(*entry) for entry in found}
    if not of_day:
        return []
    last = max(of_day)
    first = max(min(of_day), last - timedelta(days=days - 1))
    every = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return [of_day.get(day) or DaySavings(day) for day in every]


def cumulative(days: Sequence[DaySavings]) -> list[DaySavings]:
    """For each day the sums of the days up to it."""
    sums: list[DaySavings] = []
    for day in days:
        before = sums[-1] if sums else DaySavings(day.day)
        sums.append(
            DaySavings(
                day.day,
                before.messages_in_exports + day.messages_in_exports,
                before.new_messages + day.new_messages,
                before.duplicates_filtered + day.duplicates_filtered,
            )
        )
    return sums
