"""Writes the stream to files: the events of finished transactions, each once, in order.

A transaction that is still open may yet add events with smaller keys, and it may have got its
number before others that have ended. So a file takes the transactions that had ended when it was
planned (a snapshot of PostgreSQL's) and had not when the file before was. Who changed a row after
another, or hung something on it, ended after the other, and comes later in the stream; within a
file the order is that of the keys, which begin with the time. Nobody holds the stream back.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Any
from uuid import UUID

from django.core.files.storage import default_storage
from django.db import connections
from django.db.models.functions import Now

from audit.errors import StreamBrokenError, StreamConflictError
from audit.lines import BEGINNING, chained
from audit.models import ExportBatch
from audit.naming import name_of_change, name_of_security
from common.locks import lift_time_limit, try_lock
from common.storage import place
from common.tenancy import OPERATOR_ALIAS, as_operator

LOCK = "audit export"
FOLDER = "observability"
CHUNK_BYTES = 1 << 20
FETCHED_AT_ONCE = 2000

# What ended after the file before was planned, and what of it had when this one was. The
# conditions without a function of the row are for the index.
LEFT = """
    xid >= pg_snapshot_xmin(%(after)s::pg_snapshot)
    AND NOT pg_visible_in_snapshot(xid, %(after)s::pg_snapshot) AND id >= %(first_id)s
"""
NEW = f"""
    {LEFT} AND xid < pg_snapshot_xmax(%(upto)s::pg_snapshot)
    AND pg_visible_in_snapshot(xid, %(upto)s::pg_snapshot)
"""
EVENTS = f"""
    SELECT id, xid, at, 'change' AS kind, table_name AS subject, row_id, operation, old, new,
           changed, NULL::jsonb AS details, user_id, actor_id, role, request_id, reason
    FROM audit_change_event
    WHERE {NEW}
    UNION ALL
    SELECT id, xid, at, kind, subject, row_id, NULL, NULL, NULL,
           NULL, details, user_id, actor_id, role, request_id, reason
    FROM audit_security_event
    WHERE {NEW}
"""  # noqa: S608 - of constants
IN_ORDER = f"{EVENTS} ORDER BY id"
ANY = f"SELECT EXISTS (SELECT FROM ({EVENTS}) AS events)"  # noqa: S608 - of constants
# Of the oldest transaction; to look at all of them would take long just when they are many.
OLDEST = f"""
    SELECT min(at) FROM (
        (SELECT at FROM audit_change_event
         WHERE {LEFT} ORDER BY xid LIMIT 1)
        UNION ALL
        (SELECT at FROM audit_security_event
         WHERE {LEFT} ORDER BY xid LIMIT 1)
    ) AS oldest
"""  # noqa: S608 - of constants
# Of no transaction, and of every one.
NOTHING = "1:1:"
EVERYTHING = f"{2**63 - 1}:{2**63 - 1}:"


def export_events() -> ExportBatch | None:
    """Afterwards the events of all finished transactions stand in files of the storage.

    Returns the batch that was written; None if nothing is new or another exporter is at work.
    Killed at any moment it is continued by the next call, which writes the same file. Raises
    StreamConflictError if another file has its name.
    """
    with as_operator("export the stream"):
        if not try_lock(LOCK):
            return None
        refuse_what_is_to_come()
        batch = ExportBatch.objects.planned().first() or plan_batch(snapshot())
    if batch is None:
        return None
    # The plan stands before the file: no other exporter ever writes other bytes to its name.
    with as_operator("export the stream"):
        if not try_lock(LOCK):
            return None
        batch = ExportBatch.objects.planned().filter(pk=batch.pk).first()
        if batch is not None:
            lift_time_limit()
            write_batch(batch)
        return batch


def snapshot() -> str:
    """The transactions that have ended: what they did can be seen from here on."""
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_current_snapshot()::text")
        return str(cursor.fetchone()[0])


def refuse_what_is_to_come() -> None:
    """Raises StreamBrokenError if the last file claims transactions that have yet to begin.

    Their events would never be written, and nobody would miss them.
    """
    last = last_written()
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmax(%s::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot())"
            " OR %s > audit_first_id(clock_timestamp() + interval '1 hour')",
            [last.upto if last else NOTHING, last.first_id if last else UUID(int=0)],
        )
        (ahead,) = cursor.fetchone()
    if ahead:
        raise StreamBrokenError(
            "The last file of the stream claims transactions that have not begun: if the database"
            " was put back to an earlier state, run manage.py audit_continue."
        )


def plan_batch(upto: str) -> ExportBatch | None:
    """The next batch, up to a snapshot; None if it would be empty."""
    bounds = {**next_bounds(), "upto": upto}
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(ANY, bounds)
        if not cursor.fetchone()[0]:
            return None
    last = last_written()
    sequence = last.sequence + 1 if last else 1
    return ExportBatch.objects.create(
        sequence=sequence,
        **bounds,
        stored_as=name_of_file(sequence, datetime.now(UTC)),
        first_line=last.first_line + last.lines if last else 1,
        previous_head=last.head if last else BEGINNING,
    )


def last_written() -> ExportBatch | None:
    return ExportBatch.objects.written().order_by("-sequence").first()


def next_bounds() -> dict[str, Any]:
    """Where the events begin that are in no file."""
    last = last_written()
    return {
        "after": last.upto if last else NOTHING,
        "first_id": last.first_id if last else UUID(int=0),
    }


def name_of_file(sequence: int, day: datetime) -> str:
    return f"{FOLDER}/year={day:%Y}/month={day:%m}/day={day:%d}/{sequence:012}.jsonl"


def write_batch(batch: ExportBatch) -> None:
    """Afterwards the planned batch is whole in the storage, and its row says so."""
    digest = hashlib.sha256()
    batch.lines, batch.head = 0, batch.previous_head
    with tempfile.TemporaryFile() as file:
        lines = chained(
            events_of(batch), first_line=batch.first_line, previous=bytes(batch.previous_head)
        )
        for line, batch.head in lines:
            file.write(line)
            digest.update(line)
            batch.lines += 1
        store(batch.stored_as, file)
    batch.sha256 = digest.digest()
    batch.written_at = Now()
    batch.save(update_fields=["lines", "head", "sha256", "written_at"])
    batch.refresh_from_db()


def events_of(batch: ExportBatch) -> Iterator[dict[str, Any]]:
    """The batch's events in order, as the lines say them; no event holds a person's words."""
    bounds: dict[str, Any] = {
        "after": batch.after,
        "upto": batch.upto,
        "first_id": batch.first_id,
    }
    with connections[OPERATOR_ALIAS].chunked_cursor() as cursor:
        cursor.execute(IN_ORDER, bounds)
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
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(OLDEST, next_bounds())
        (oldest,) = cursor.fetchone()
    return (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
