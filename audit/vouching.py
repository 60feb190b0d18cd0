"""Whether the files of the stream hold a month of events whole: they are read."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.core.files.storage import default_storage

from audit.lines import parsed
from audit.models import ChangeEvent, ExportBatch, SecurityEvent
from audit.selectors import CHANGE
from audit.times import first_key
from common.tenancy import as_operator

CHANGES, OTHERS = "audit_change_event", "audit_security_event"
EVENTS = {CHANGES: ChangeEvent.objects, OTHERS: SecurityEvent.objects}
DAY = timedelta(days=1)
AT_ONCE = 1000


def what_is_missing(rows: dict[str, int], ends_at: datetime) -> str:
    """Why the files do not vouch for so many rows of each table, of the month that ended then.

    Empty if they do: each file up to the last of these rows is as it was written.
    """
    begins_at, left = (ends_at - DAY).replace(day=1), Counter(rows)
    # A file is planned after its events have happened; a day, for clocks.
    for batch in files_since(begins_at - DAY):
        if not +left:
            return ""
        try:
            left -= rows_in(batch, begins_at, ends_at)
        except Exception as error:  # noqa: BLE001 - each storage has errors of its own
            return f"{batch.stored_as} cannot be read: {error}"
    return f"{left.total()} of them are in no file." if +left else ""


def files_since(moment: datetime) -> Iterator[ExportBatch]:
    last = 0
    while True:
        with as_operator("look whether events are in files"):
            later = ExportBatch.objects.written().filter(planned_at__gte=moment, sequence__gt=last)
            batches = list(later.order_by("sequence")[:AT_ONCE])
        if not batches:
            return
        yield from batches
        last = batches[-1].sequence


def rows_in(batch: ExportBatch, begins_at: datetime, ends_at: datetime) -> Counter[str]:
    """How many rows of the month the file tells of. Raises ValueError if it was changed."""
    first, end = str(first_key(begins_at)), str(first_key(ends_at))
    ids: dict[str, list[str]] = defaultdict(list)
    digest = hashlib.sha256()
    with default_storage.open(batch.stored_as, "rb") as file:
        for text in file:
            digest.update(text)
            line = parsed(text)
            if line and first <= line["id"] < end:
                ids[CHANGES if line["kind"] == CHANGE else OTHERS].append(line["id"])
    if digest.digest() != bytes(batch.sha256 or b""):
        raise ValueError("it is not the file that was written")
    # What was lost before a restore is in the files only.
    return Counter({table: rows_with(table, keys) for table, keys in ids.items()})


def rows_with(table: str, keys: list[str]) -> int:
    with as_operator("look whether events are in files"):
        return sum(
            EVENTS[table].filter(pk__in=keys[start : start + AT_ONCE]).count()
            for start in range(0, len(keys), AT_ONCE)
        )
