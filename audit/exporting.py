"""Writes the stream to files: the events of finished transactions, each once, in order.

A transaction that is still open may yet add events with smaller keys. So a file takes the
transactions below the oldest one that is open (`pg_snapshot_xmin`), and the next file begins
there. Within a file the order is that of the keys, which begin with the time; a row is changed
by one transaction after the other, so that its events are in order across files too.
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

from audit.errors import StreamConflictError
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

EVENTS = """
    SELECT id, xid, at, 'change' AS kind, table_name AS subject, row_id, operation, old, new,
           changed, NULL::jsonb AS details, user_id, actor_id, role, request_id, reason
    FROM audit_change_event
    WHERE xid >= %(from_xid)s::xid8 AND xid < %(to_xid)s::xid8 AND id >= %(first_id)s
    UNION ALL
    SELECT id, xid, at, kind, subject, row_id, NULL, NULL, NULL,
           NULL, details, user_id, actor_id, role, request_id, reason
    FROM audit_security_event
    WHERE xid >= %(from_xid)s::xid8 AND xid < %(to_xid)s::xid8 AND id >= %(first_id)s
"""
IN_ORDER = f"{EVENTS} ORDER BY id"
ANY = f"SELECT EXISTS (SELECT FROM ({EVENTS}) AS events)"  # noqa: S608 - of constants
# Of the oldest transaction; to look at all of them would take long just when they are many.
OLDEST = """
    SELECT min(at) FROM (
        (SELECT at FROM audit_change_event
         WHERE xid >= %(from_xid)s::xid8 AND id >= %(first_id)s ORDER BY xid LIMIT 1)
        UNION ALL
        (SELECT at FROM audit_security_event
         WHERE xid >= %(from_xid)s::xid8 AND id >= %(first_id)s ORDER BY xid LIMIT 1)
    ) AS oldest
"""
ENDLESS = 2**63 - 1


def export_events() -> ExportBatch | None:
    """Afterwards the events of all finished transactions stand in files of the storage.

    Returns the batch that was written; None if nothing is new or another exporter is at work.
    Killed at any moment it is continued by the next call, which writes the same file. Raises
    StreamConflictError if another file has its name.
    """
    with as_operator("export the stream"):
        if not try_lock(LOCK):
            return None
        batch = ExportBatch.objects.planned().first() or plan_batch(oldest_open_transaction())
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


def oldest_open_transaction() -> int:
    """Every transaction with a smaller id has ended, and what it did can be seen."""
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
        return int(cursor.fetchone()[0])


def plan_batch(to_xid: int) -> ExportBatch | None:
    """The next batch, up to a transaction; None if it would be empty."""
    bounds = {**next_bounds(), "to_xid": to_xid}
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(ANY, written(bounds))
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
        "from_xid": last.to_xid if last else 0,
        "first_id": last.first_id if last else UUID(int=0),
    }


def written(bounds: dict[str, Any]) -> dict[str, str]:
    """The bounds as parameters: no number can be cast to a transaction id, but its text can."""
    return {name: str(value) for name, value in bounds.items()}


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
        "from_xid": batch.from_xid,
        "to_xid": batch.to_xid,
        "first_id": batch.first_id,
    }
    with connections[OPERATOR_ALIAS].chunked_cursor() as cursor:
        cursor.execute(IN_ORDER, written(bounds))
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

    What a killed writer left is the beginning of the same bytes, and is replaced.
    """
    if default_storage.exists(name):
        if not is_beginning(name, file):
            raise StreamConflictError(
                f"{name} holds other lines than those to be written: run manage.py audit_verify,"
                " or audit_continue if the database was put back to an earlier state."
            )
        default_storage.delete(name)
    file.seek(0)
    if not place(name, file):
        raise StreamConflictError(f"Another process writes {name}: the next run goes on.")


def is_beginning(name: str, file: IO[bytes]) -> bool:
    """Whether what is stored under the name is how the file begins."""
    file.seek(0)
    with default_storage.open(name, "rb") as stored:
        while piece := stored.read(CHUNK_BYTES):
            if piece != file.read(len(piece)):
                return False
    return True


def stream_lag() -> float:
    """Seconds since the oldest transaction with events in no file; 0 if there is none.

    Runs as the operator.
    """
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(OLDEST, written(next_bounds()))
        (oldest,) = cursor.fetchone()
    return (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
