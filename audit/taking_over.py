"""Files of the stream that the database does not know become its own: a row tells of each."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.core.files.storage import default_storage
from django.db import connections
from django.db.models.functions import Now

from audit.batches import EVENTS, FOLDER, Told, between, last_written, put_behind, told_by
from audit.errors import StreamBrokenError
from audit.lines import is_unchanged, parsed
from audit.models import ExportBatch
from common.storage import names_below
from common.tenancy import OPERATOR_ALIAS

FILE_NAME = re.compile(r"/(\d{12})\.jsonl$")
TRANSACTIONS = f"SELECT DISTINCT xid::text FROM ({EVENTS}) AS events"  # noqa: S608 - of constants
TRANSACTIONS_OF = f"{TRANSACTIONS} WHERE id = ANY (%(ids)s)"
IDS_AT_ONCE = 1000


def take_over_files(marker: ExportBatch) -> int:
    """Afterwards the files behind the last known one are known, and the marker comes after them.

    The marker is a plan that tells all events of the restored database; returns how many files
    were taken. Raises StreamBrokenError if one does not follow the one before.
    """
    last = last_written()
    later = files_behind(last)
    # First, since no two rows may have one number.
    marker.sequence = (last.sequence if last else 0) + len(later) + 1
    marker.save()
    left = Left(told_by(last), told_by(marker))
    for name in later:
        last = take_over(name, last, left)
    put_behind(last, marker)
    marker.save()
    return len(later)


def files_behind(last: ExportBatch | None) -> list[str]:
    known = last.sequence if last else 0
    later = sorted((number, name) for number, name in stored_files() if number > known)
    for expected, (number, name) in enumerate(later, known + 1):
        if number != expected:
            raise StreamBrokenError(
                f"{name} should have the number {expected}: bring the file that is missing, or"
                " move the one away that is too many."
            )
    return [name for _, name in later]


def stored_files() -> Iterator[tuple[int, str]]:
    """The number of each file of the stream, and its name."""
    for name in names_below(FOLDER):
        if match := FILE_NAME.search(name):
            yield int(match[1]), name


class Left:
    """The restored transactions whose events are in no file that has a row.

    A file tells them by the keys of their events: it also tells transactions that were lost, and
    another one may have got the same number since.
    """

    def __init__(self, before: Told, until: Told) -> None:
        self._bounds = between(before, until)
        self._left = self._asked(TRANSACTIONS)
        self._beyond = max([*self._left, int(before.upto.split(":")[1])]) + 1

    def tell(self, ids: list[UUID]) -> None:
        self._left -= self._asked(TRANSACTIONS_OF, ids=ids)

    def snapshot(self) -> str:
        """One that has every transaction up to here but those that are left."""
        others = sorted(self._left)
        xmin = min(others, default=self._beyond)
        return f"{xmin}:{self._beyond}:{','.join(map(str, others))}"

    def _asked(self, query: str, **parameters: Any) -> set[int]:
        with connections[OPERATOR_ALIAS].cursor() as cursor:
            cursor.execute(query, self._bounds | parameters)
            return {int(xid) for (xid,) in cursor.fetchall()}


def take_over(name: str, last: ExportBatch | None, left: Left) -> ExportBatch:
    """Afterwards the file, which follows the last one, has a row."""
    row = ExportBatch(stored_as=name, first_id=told_by(last).first_id)
    put_behind(last, row)
    row.head = row.previous_head
    ids: list[UUID] = []
    digest = hashlib.sha256()
    with default_storage.open(name, "rb") as file:
        for text in file:
            digest.update(text)
            line = parsed(text)
            if line is None or not _follows(line, row):
                raise StreamBrokenError(
                    f"{name}, line {row.lines + 1} does not follow the line before: put the file"
                    " of the backup in its place, or move it away."
                )
            row.head, row.lines = bytes.fromhex(line["hash"]), row.lines + 1
            ids.append(UUID(line["id"]))
            if len(ids) == IDS_AT_ONCE:
                left.tell(ids)
                ids.clear()
    left.tell(ids)
    row.upto, row.sha256, row.written_at = left.snapshot(), digest.digest(), Now()
    row.save(force_insert=True)
    return row


def _follows(line: dict[str, Any], row: ExportBatch) -> bool:
    told = (line["n"], line["previous"])
    return told == (row.first_line + row.lines, bytes(row.head or b"").hex()) and is_unchanged(line)
