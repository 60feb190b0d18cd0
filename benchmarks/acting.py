"""What `acting_as` and the stream cost from Python. Import this after `django.setup()`."""

import statistics
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from databases import clone, lead_to
from django.db import transaction
from owners import BOTH, PLAIN, connect, owner_id, some_keys
from statements import ACT, INSERT_MANY

from audit.exporting import export_events
from audit.verification import verify_stream
from common.tenancy import acting_as
from dedup.models import Conversation

OWNERS_OF_EVENTS = 5
PATIENCE_SECONDS = 60

Figures = dict[str, Any]


def measure_acting_as(times: int) -> Figures:
    """The same indexed read of Django's in a transaction, without and with `acting_as`.

    Neither meets policies; what it takes where they are stands beside it.
    """
    lead_to(PLAIN)
    keys = some_keys(times)
    spans = _in_turn(keys, {"plain_ms": _read, "acting_as_ms": _read_acting})
    lead_to(BOTH)
    spans |= _in_turn(keys, {"acting_as_under_policies_ms": _read_acting})
    median = {name: statistics.median(found) * 1000 for name, found in spans.items()}
    return {name: round(found, 4) for name, found in median.items()} | {
        "ratio": round(median["acting_as_ms"] / median["plain_ms"], 3),
        "added_ms": round(median["acting_as_ms"] - median["plain_ms"], 4),
    }


def _in_turn(
    keys: list[tuple[UUID, UUID]], works: dict[str, Callable[[UUID, UUID], object]]
) -> dict[str, list[float]]:
    spans: dict[str, list[float]] = {name: [] for name in works}
    # The first one opens the connection.
    for work in works.values():
        work(*keys[0])
    for number, key in enumerate(keys):
        order = list(works.items())
        for name, work in order if number % 2 else reversed(order):
            started = time.perf_counter()
            work(*key)
            spans[name].append(time.perf_counter() - started)
    return spans


def _read(key: UUID, user_id: UUID) -> object:
    with transaction.atomic():
        return Conversation.objects.visible_to(user_id).get(pk=key)


def _read_acting(key: UUID, user_id: UUID) -> object:
    with acting_as(user_id):
        return Conversation.objects.visible_to(user_id).get(pk=key)


def measure_stream(events: int, rounds: int) -> Figures:
    """Events that one export writes a second, and lines that are verified a second.

    Nothing must have been written to the variants yet: its events would be exported too.
    """
    exported: list[float] = []
    with clone(BOTH, "stream") as name:
        for _ in range(rounds):
            _make_events(name, events)
            exported.append(_seconds_of_export(events))
        started = time.perf_counter()
        report = verify_stream()
        verified = time.perf_counter() - started
        if report.problems or report.lines != rounds * events:
            raise RuntimeError(f"The stream is not whole: {report}.")
    return {
        "events": events,
        "exported_per_second": round(events / min(exported), 1),
        "verified_per_second": round(report.lines / verified, 1),
    }


def _make_events(name: str, events: int) -> None:
    with connect(name) as session:
        for number in range(OWNERS_OF_EVENTS):
            user_id = owner_id(number)
            with session.transaction():
                session.execute(ACT, {"user_id": str(user_id)})
                values = {"user_id": user_id, "many": events // OWNERS_OF_EVENTS}
                session.execute(INSERT_MANY, values)


def _seconds_of_export(events: int) -> float:
    """The time of the exports; not that for which the server's own transactions hold them back."""
    written, spent, deadline = 0, 0.0, time.monotonic() + PATIENCE_SECONDS
    while written < events:
        started = time.perf_counter()
        batch = export_events()
        if batch:
            spent += time.perf_counter() - started
            written += batch.lines
        elif time.monotonic() > deadline:
            raise RuntimeError(f"{events - written} events are held back by an open transaction.")
        else:
            time.sleep(0.05)
    if written > events:
        raise RuntimeError(f"{written} events were exported instead of {events}.")
    return spent
