"""Which events each file of the stream holds: those told by its end and not by its beginning.

A transaction that is still open may yet add events with smaller keys, and it may have got its
number before others that have ended. So a file takes the transactions that had ended when it was
planned (a snapshot of PostgreSQL's) and had not when the file before was. Who changed a row after
another, or hung something on it, ended after the other, and comes later in the stream; within a
file the order is that of the keys, which begin with the time. Nobody holds the stream back.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections

from audit.lines import BEGINNING
from audit.models import ExportBatch
from common.tenancy import OPERATOR_ALIAS

LOCK = "audit export"
FOLDER = "observability"

# What is not told by a place in the stream, and what of it is told by a later one. The conditions
# without a function of the row are for the index.
LEFT = """
    xid >= pg_snapshot_xmin(%(after)s::pg_snapshot)
    AND NOT pg_visible_in_snapshot(xid, %(after)s::pg_snapshot) AND id >= %(after_id)s
"""
NEW = f"""
    {LEFT} AND (
        xid < pg_snapshot_xmax(%(upto)s::pg_snapshot)
        AND pg_visible_in_snapshot(xid, %(upto)s::pg_snapshot) OR id < %(first_id)s
    )
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
# Of no transaction, and of every one.
NOTHING = "1:1:"
EVERYTHING = f"{2**63 - 1}:{2**63 - 1}:"
FIRST_OF_ALL = UUID(int=0)


@dataclass(frozen=True)
class Told:
    """What the files up to a place have told: ended transactions, and all events before a key.

    The key is for a restored database: transactions of another server may have had numbers that
    this one has yet to give.
    """

    upto: str = NOTHING
    first_id: UUID = FIRST_OF_ALL


ALL = Told(EVERYTHING)


def told_by(batch: ExportBatch | None) -> Told:
    """What is told with this file and those before it."""
    return Told(batch.upto, batch.first_id) if batch else Told()


def between(before: Told, until: Told) -> dict[str, Any]:
    """The parameters of NEW."""
    return {"after": before.upto, "after_id": before.first_id, **asdict(until)}


def bounds_of(batch: ExportBatch) -> dict[str, Any]:
    before = ExportBatch.objects.filter(sequence=batch.sequence - 1).first()
    return between(told_by(before), told_by(batch))


def last_written() -> ExportBatch | None:
    return ExportBatch.objects.written().order_by("-sequence").first()


def put_behind(last: ExportBatch | None, batch: ExportBatch) -> None:
    """Afterwards the batch, which is planned only, follows that file."""
    batch.sequence = last.sequence + 1 if last else 1
    batch.after = told_by(last).upto
    batch.first_line = last.first_line + last.lines if last else 1
    batch.previous_head = bytes(last.head or b"") if last else BEGINNING


def name_of_file(sequence: int, day: datetime) -> str:
    return f"{FOLDER}/year={day:%Y}/month={day:%m}/day={day:%d}/{sequence:012}.jsonl"


def snapshot() -> str:
    """The transactions that have ended: what they did can be seen from here on."""
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_current_snapshot()::text")
        return str(cursor.fetchone()[0])
