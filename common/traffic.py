"""How many requests were answered and tasks ran, and how long they took, since Redis began.

The counts are those of all processes on all hosts together.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPMethod

from common.tallies import tallies

REQUESTS = "traffic:requests"
TASKS = "traffic:tasks"

# Upper ends in seconds; what took longer than the last one is in a bucket of its own.
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TASK_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0)

NO_ROUTE = "(no route)"
# What a client makes up is no label: it would have no end.
METHODS = frozenset(HTTPMethod)


@dataclass
class Durations:
    """How many took how long: for each bucket those that no earlier one holds."""

    counts: list[int]
    microseconds: int = 0


@dataclass
class Traffic:
    """What was counted: by labels, and how long it took by the first of them."""

    totals: dict[tuple[str, ...], int] = field(default_factory=dict)
    durations: dict[str, Durations] = field(default_factory=dict)


def note_request(*, method: str | None, route: str, status: int, seconds: float) -> None:
    """Count an answered request by its route, never by its path."""
    verb = method if method in METHODS else "other"
    _note(REQUESTS, (_plain(route), verb, f"{status // 100}xx"), seconds, REQUEST_BUCKETS)


def note_task(*, name: str, outcome: str, seconds: float) -> None:
    """Count a task that ended in some way."""
    _note(TASKS, (name, outcome), seconds, TASK_BUCKETS)


def note_lost_task(*, name: str) -> None:
    """Count a task whose process was lost: how long it ran is not known."""
    tallies().add(TASKS, {f"total\t{name}\tlost": 1})


def traffic() -> tuple[Traffic, Traffic]:
    """What was counted of requests and of tasks; raises RedisError."""
    requests, tasks = tallies().read(REQUESTS, TASKS)
    return _taken_apart(requests, len(REQUEST_BUCKETS)), _taken_apart(tasks, len(TASK_BUCKETS))


def _note(key: str, labels: tuple[str, ...], seconds: float, buckets: tuple[float, ...]) -> None:
    first = labels[0]
    tallies().add(
        key,
        {
            "\t".join(("total", *labels)): 1,
            f"bucket\t{first}\t{bisect_left(buckets, seconds)}": 1,
            f"microseconds\t{first}": round(seconds * 1_000_000),
        },
    )


def _taken_apart(fields: dict[str, int], buckets: int) -> Traffic:
    found = Traffic()
    for name, amount in fields.items():
        what, *labels = name.split("\t")
        if what == "total":
            found.totals[tuple(labels)] = amount
            continue
        durations = found.durations.setdefault(labels[0], Durations([0] * (buckets + 1)))
        if what == "microseconds":
            durations.microseconds = amount
        # Counted by a version with more buckets: they are all slower than ours.
        else:
            durations.counts[min(int(labels[1]), buckets)] += amount
    return found


@lru_cache(maxsize=1024)
def _plain(route: str) -> str:
    """`imports/^(?P<pk>[^/.]+)/$` as `imports/<pk>/`."""
    return (
        route.replace("(?P<pk>[^/.]+)", "<pk>").replace("^", "").replace("$", "").replace("\\Z", "")
    )
