"""Writes the stream to files: the events of finished transactions, each once, in order.

Which events a file holds is said in `batches`.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import IO, Any

from django.core.files.storage import default_storage
from django.db import connections
from django.db.models.functions import Now

from audit.batches import (
    ALL,
    EVENTS,
    LOCK,
    NEW,
    Told,
    between,
    bounds_of,
    last_written,
    name_of_file,
    put_behind,
    snapshot,
    told_by,
)
from audit.errors import StreamBrokenError, StreamConflictError
from audit.lines import chained
from audit.models import ExportBatch
from audit.naming import name_of_change, name_of_security
from audit.taking_over import take_over_files
from audit.times import EPOCH, MILLISECOND
from common.locks import lift_time_limit, try_lock
from common.storage import place
from common.tenancy import OPERATOR_ALIAS, as_operator

CHUNK_BYTES = 1 << 20
FETCHED_AT_ONCE = 2000

IN_ORDER = f"{EVENTS} ORDER BY id"
ANY = f"SELECT EXISTS (SELECT FROM ({EVENTS}) AS events)"  # noqa: S608 - of constants
# Of the oldest transaction; to look at all of them would take long just when they are many.
OLDEST = f"""
    SELECT min(at) FROM (
        (SELECT at FROM audit_change_event
         WHERE {NEW} ORDER BY xid LIMIT 1)
        UNION ALL
        (SELECT at FROM audit_security_event
         WHERE {NEW} ORDER BY xid LIMIT 1)
    ) AS oldest
"""  # noqa: S608 - of constants
IS_AHEAD = """
    SELECT pg_snapshot_xmax(%s::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot()),
           %s > audit_first_id(clock_timestamp())
"""

logger = logging.getLogger(__name__)


def export_events() -> ExportBatch | None:
    """Afterwards the events of all finished transactions stand in files of the storage.

    Returns the batch that was written; None if nothing is new or another exporter is at work.
    Killed at any moment it is continued by the next call, which writes the same file. Raises
    StreamConflictError if another file has its name, and StreamBrokenError if a restored
    database has to be continued first, or the clock is behind.
    """
    with as_operator("export the stream"):
        if not try_lock(LOCK):
            return None
        refuse_what_is_to_come()
        batch = ExportBatch.objects.planned().first() or plan_batch(snapshot())
        if batch is not None and not batch.stored_as:
            name_after_restore(batch)
    if batch is None:
        return None
    # The plan stands before the file: no other exporter ever writes other bytes to its name.
    with as_operator("export the stream"):
        if not try_lock(LOCK):
            return None
        batch = ExportBatch.objects.planned().filter(pk=batch.pk).first()
        if batch is None:
            return None
        lift_time_limit()
        write_batch(batch)
    # Whoever can change files and rows cannot change what a collector of logs has.
    logger.info(
        "the stream ends with line %d, hash %s",
        batch.first_line + batch.lines - 1,
        bytes(batch.head or b"").hex(),
    )
    return batch


def refuse_what_is_to_come() -> None:
    """Raises StreamBrokenError if the last file claims what has yet to happen.

    Such events would never be written, and nobody would miss them.
    """
    told = told_by(ExportBatch.objects.order_by("-sequence").first())
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(IS_AHEAD, [told.upto, told.first_id])
        transactions_ahead, clock_behind = cursor.fetchone()
    if transactions_ahead:
        raise StreamBrokenError(
            "The last file of the stream claims transactions that have not begun: if the database"
            " was put back to an earlier state, run manage.py audit_continue."
        )
    if clock_behind:
        until = EPOCH + (told.first_id.int >> 80) * MILLISECOND
        raise StreamBrokenError(
            "The clock of the database's server is behind what was restored: set it, or wait"
            f" until {until:%Y-%m-%d %H:%M:%S} UTC. What happens until then would be missing."
        )


def name_after_restore(batch: ExportBatch) -> None:
    """Afterwards the plan has a name, behind all files: until the restored database served, the
    old one may have written some."""
    lift_time_limit()
    take_over_files(batch)
    batch.stored_as = name_of_file(batch.sequence, datetime.now(UTC))
    batch.save(update_fields=["stored_as"])


def plan_batch(upto: str) -> ExportBatch | None:
    """The next batch, up to a snapshot; None if it would be empty."""
    last = last_written()
    before = told_by(last)
    until = Told(upto, before.first_id)
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(ANY, between(before, until))
        if not cursor.fetchone()[0]:
            return None
    batch = ExportBatch(upto=until.upto, first_id=until.first_id)
    put_behind(last, batch)
    batch.stored_as = name_of_file(batch.sequence, datetime.now(UTC))
    batch.save()
    return batch


def write_batch(batch: ExportBatch) -> None:
    """Afterwards the planned batch is whole in the storage, and its row says so."""
    with tempfile.TemporaryFile() as file:
        write_lines(batch, file)
        store(batch.stored_as, file)
    batch.written_at = Now()
    batch.save(update_fields=["lines", "head", "sha256", "written_at"])
    batch.refresh_from_db()


def write_lines(batch: ExportBatch, file: IO[bytes]) -> None:
    """Afterwards the file holds the planned batch, and the batch says what it holds."""
    digest = hashlib.sha256()
    batch.lines, batch.head = 0, batch.previous_head
    lines = chained(
        events_of(batch), first_line=batch.first_line, previous=bytes(batch.previous_head)
    )
    for line, batch.head in lines:
        file.write(line)
        digest.update(line)
        batch.lines += 1
    batch.sha256 = digest.digest()


def events_of(batch: ExportBatch) -> Iterator[dict[str, Any]]:
    """The batch's events in order, as the lines say them; no event holds a person's words."""
    with connections[OPERATOR_ALIAS].chunked_cursor() as cursor:
        cursor.execute(IN_ORDER, bounds_of(batch))
        names = [column.name for column in cursor.description]
        while rows := cursor.fetchmany(FETCHED_AT_ONCE):
            for row in rows:
                yield as_line(parsed(dict(zip(names, row, strict=True))))


def parsed(event: dict[str, Any]) -> dict[str, Any]:
    """The event with its JSON read: a cursor of Django's hands it over as text."""
    return event | {
        name: json.loads(event[name]) for name in ("old", "new", "details") if event[name]
    }


def as_line(event: dict[str, Any]) -> dict[str, Any]:
    """What the stream says of an event: nothing that is empty."""
    change = event["kind"] == "change"
    said = {
        "event": name_of_change(event["subject"], event["operation"], event["old"], event["new"])
        if change
        else name_of_security(event["kind"]),
        "id": str(event["id"]),
        "xid": int(event["xid"]),
        "at": event["at"].astimezone(UTC).isoformat(),
        "kind": event["kind"],
        "subject": event["subject"],
        "row": event["row_id"] and str(event["row_id"]),
        "operation": event["operation"],
        "old": event["old"],
        "new": event["new"],
        "changed": event["changed"],
        "details": event["details"],
        "user": event["user_id"] and str(event["user_id"]),
        "actor": event["actor_id"] and str(event["actor_id"]),
        "role": event["role"],
        "request": event["request_id"],
        "reason": event["reason"],
    }
    return {name: value for name, value in said.items() if value not in (None, "", {})}


def store(name: str, file: IO[bytes]) -> None:
    """Afterwards the file has the name in the storage, and stays there.

    One who was killed after this may have written the same bytes.
    """
    if default_storage.exists(name):
        if not is_same(name, file):
            raise StreamConflictError(
                f"{name} holds other lines than those to be written: run manage.py audit_verify,"
                " or audit_continue if the database was put back to an earlier state."
            )
        return
    file.seek(0)
    if not place(name, file):
        raise StreamConflictError(f"Another process writes {name}: the next run goes on.")


def is_in_the_way(batch: ExportBatch) -> bool:
    """Whether other lines than the planned ones are stored under the batch's name."""
    if not batch.stored_as or not default_storage.exists(batch.stored_as):
        return False
    with tempfile.TemporaryFile() as file:
        write_lines(batch, file)
        return not is_same(batch.stored_as, file)


def is_same(name: str, file: IO[bytes]) -> bool:
    """Whether what is stored under the name are the bytes of the file."""
    file.seek(0)
    with default_storage.open(name, "rb") as stored:
        while piece := stored.read(CHUNK_BYTES):
            if piece != file.read(len(piece)):
                return False
    return not file.read(1)


def stream_lag() -> float:
    """Seconds since the oldest transaction with events in no file; 0 if there is none.

    Runs as the operator.
    """
    refuse_what_is_to_come()
    written, planned = last_written(), ExportBatch.objects.planned().first()
    ends = [told_by(written), *([told_by(planned)] if planned else []), ALL]
    oldest = [oldest_event(between(*pair)) for pair in pairwise(ends)]
    begun = min((at for at in oldest if at), default=None)
    return (datetime.now(UTC) - begun).total_seconds() if begun else 0.0


def oldest_event(bounds: dict[str, Any]) -> datetime | None:
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(OLDEST, bounds)
        oldest: datetime | None = cursor.fetchone()[0]
    return oldest
