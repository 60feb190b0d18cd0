"""How the stream goes on in a database that was restored.

What a backup holds ends before the stream does: files were written after it was made. They tell
what truly happened, so the restored database takes them as its own. And transactions of another
server count from elsewhere, so what comes next is told from the past by its time as well.
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.core.files.storage import default_storage
from django.db import connections
from django.db.models.functions import Now

from audit.errors import StreamBrokenError
from audit.exporting import (
    EVENTS,
    EVERYTHING,
    FOLDER,
    last_written,
    name_of_file,
    next_bounds,
    plan_batch,
    snapshot,
    write_batch,
)
from audit.lines import BEGINNING, is_unchanged, parsed
from audit.models import ExportBatch
from audit.retention import make_partitions
from common.locks import lift_time_limit, lock
from common.storage import names_below
from common.tenancy import OPERATOR_ALIAS, as_operator

FILE_NAME = re.compile(r"/(\d{12})\.jsonl$")
TRANSACTIONS = f"SELECT DISTINCT xid::text FROM ({EVENTS}) AS events"  # noqa: S608 - of constants
FIRST_ID = "SELECT audit_first_id(clock_timestamp())"


def continue_after_restore() -> int:
    """Afterwards the stream goes on where its files end; returns how many files were taken over.

    Called once in a restored database, before anybody writes to it. Raises StreamBrokenError if
    a file does not follow the one before, and changes nothing then.
    """
    # A backup may be of a month long past.
    make_partitions()
    with as_operator("go on after a restore"):
        lock("audit export")
        lift_time_limit()
        taken = sum(1 for _ in take_over_files())
        write_rest()
        begin_anew()
    return taken


def take_over_files() -> Iterator[ExportBatch]:
    """The files after the last one that the database knows, each with a row of its own."""
    last = last_written()
    known = last.sequence if last else 0
    later = sorted((number, name) for number, name in stored_files() if number > known)
    for sequence, (number, name) in enumerate(later, known + 1):
        if number != sequence:
            raise StreamBrokenError(
                f"{name} should have the number {sequence}: bring the file that is missing, or"
                " move the one away that is too many."
            )
        last = take_over(sequence, name, last)
        yield last


def stored_files() -> Iterator[tuple[int, str]]:
    """The number of each file of the stream, and its name."""
    for name in names_below(FOLDER):
        if match := FILE_NAME.search(name):
            yield int(match[1]), name


def take_over(sequence: int, name: str, last: ExportBatch | None) -> ExportBatch:
    first_line = last.first_line + last.lines if last else 1
    previous = bytes(last.head or b"") if last else BEGINNING
    head, count = previous, 0
    told: set[int] = set()
    digest = _digest_of(name)
    with default_storage.open(name, "rb") as file:
        for text in file:
            line = parsed(text)
            if line is None or not _follows(line, head, first_line + count):
                raise StreamBrokenError(
                    f"{name}, line {count + 1} does not follow the line before: put the file of"
                    " the backup in its place, or move it away."
                )
            head, count = bytes.fromhex(line["hash"]), count + 1
            told.add(line["xid"])
    bounds = next_bounds()
    row, _ = ExportBatch.objects.update_or_create(
        sequence=sequence,
        defaults={
            **bounds,
            "upto": snapshot_with(told),
            "stored_as": name,
            "first_line": first_line,
            "lines": count,
            "previous_head": previous,
            "head": head,
            "sha256": digest,
            "written_at": Now(),
        },
    )
    return row


def _digest_of(name: str) -> bytes:
    with default_storage.open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _follows(line: dict[str, Any], head: bytes, number: int) -> bool:
    told = (line["n"], line["previous"])
    return told == (number, head.hex()) and is_unchanged(line)


def transactions_left() -> set[int]:
    """The restored transactions whose events are in no file that has a row."""
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(TRANSACTIONS, {**next_bounds(), "upto": EVERYTHING})
        return {int(xid) for (xid,) in cursor.fetchall()}


def snapshot_with(told: set[int]) -> str:
    """One that has the transactions before it and those told of, and none of the others."""
    left = transactions_left()
    others = sorted(left - told)
    beyond = max([*left, *told, _end_of(next_bounds()["after"])]) + 1
    return f"{min(others, default=beyond)}:{beyond}:{','.join(map(str, others))}"


def _end_of(text: str) -> int:
    return int(text.split(":")[1])


def write_rest() -> None:
    """Restored events that are in no file are written: all their transactions have ended."""
    if planned := ExportBatch.objects.planned().first():
        write_batch(planned)
    if (left := transactions_left()) and (batch := plan_batch(snapshot_with(left))):
        write_batch(batch)


def begin_anew() -> None:
    """An empty file marks the place: from here on this server counts, and the past is past."""
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(FIRST_ID)
        (first_id,) = cursor.fetchone()
    here = snapshot()
    last = last_written()
    sequence = last.sequence + 1 if last else 1
    batch = ExportBatch.objects.create(
        sequence=sequence,
        after=here,
        upto=here,
        first_id=first_id,
        stored_as=name_of_file(sequence, datetime.now(UTC)),
        first_line=last.first_line + last.lines if last else 1,
        previous_head=last.head if last else BEGINNING,
    )
    write_batch(batch)
