"""How the database is: the server's statistics, and the worst that the checks have found."""

import time
from collections.abc import Sequence
from functools import lru_cache

from django.template.defaultfilters import filesizeformat

from operations.dashboard.cards import Card, Figure, Note, State, counted, duration, judged
from operations.inspection import Finding, Severity, inspect
from operations.metrics.measures import Measured, statistics

# The checks read much of the catalogue: a process makes them once in this time.
INSPECTED_SECONDS = 60

MISS_NOTICE, MISS_WARNING = 0.01, 0.05
USED_NOTICE, USED_WARNING = 0.6, 0.8
LONG_NOTICE_SECONDS, LONG_WARNING_SECONDS = 10, 60
DEAD_NOTICE, DEAD_WARNING = 0.2, 0.5

STATES = {Severity.OK: State.FINE, Severity.NOTICE: State.NOTICE, Severity.WARNING: State.WARNING}


def database_card() -> Card:
    measured = statistics()
    used = _of(measured, "connections") / _of(measured, "connections_max")
    longest = _of(measured, "longest_query_seconds")
    blocked = int(_of(measured, "blocked_sessions"))
    dead = _of(measured, "worst_dead_row_ratio")
    return Card(
        title="Database",
        notes=[
            Note(
                judged(used, notice=USED_NOTICE, warning=USED_WARNING),
                f"{used:.0%} of the connections are used.",
            ),
            Note(
                judged(longest, notice=LONG_NOTICE_SECONDS, warning=LONG_WARNING_SECONDS),
                f"The longest query runs for {duration(longest)}.",
            ),
            Note(
                State.WARNING if blocked else State.FINE,
                f"{counted(blocked, 'session waits', 'sessions wait')} for a lock.",
            ),
            Note(
                judged(dead, notice=DEAD_NOTICE, warning=DEAD_WARNING),
                f"The worst table has {dead:.0%} dead rows.",
            ),
            inspected(int(time.monotonic() // INSPECTED_SECONDS)),
        ],
        figures=[
            Figure("Size", filesizeformat(_of(measured, "size_bytes"))),
            Figure("Found in memory", f"{_of(measured, 'cache_hit_ratio'):.1%}"),
            Figure(
                "Connections",
                f"{_of(measured, 'connections'):.0f} of {_of(measured, 'connections_max'):.0f}",
            ),
            Figure("Longest query", duration(longest)),
            Figure("Blocked", str(blocked)),
            Figure("Dead rows, at worst", f"{dead:.0%}"),
        ],
    )


def _of(measured: Measured, name: str) -> float:
    return measured[f"database_{name}"][""]


@lru_cache(maxsize=1)
def inspected(period: int) -> Note:
    """The worst that the checks have found, in this period."""
    return note_of(inspect())


def note_of(found: dict[str, Sequence[Finding]]) -> Note:
    worst = max(
        (finding.severity for findings in found.values() for finding in findings),
        key=list(Severity).index,
        default=Severity.OK,
    )
    if worst == Severity.OK:
        return Note(State.FINE, "The checks of the database find nothing.")
    names = [
        f"{name} ({sum(finding.severity == worst for finding in findings)})"
        for name, findings in found.items()
        if any(finding.severity == worst for finding in findings)
    ]
    text = f"The checks find a {worst} in {', '.join(names)}. To look: manage.py dbinspect."
    return Note(STATES[worst], text)
