"""What tests ask of the stream."""

import json
import time
from typing import Any

from django.core.files.storage import default_storage

from audit.exporting import export_events, stream_lag
from audit.models import ExportBatch
from common.tenancy import as_operator

PATIENCE = 60


def export_everything() -> list[ExportBatch]:
    """The batches that are written until no event is left out.

    Transactions of other databases of the server hold the stream back too, such as those of
    other test workers.
    """
    batches, deadline = [], time.monotonic() + PATIENCE
    while True:
        if batch := export_events():
            batches.append(batch)
        with as_operator("test"):
            if not stream_lag():
                return batches
        assert time.monotonic() < deadline, "a transaction is open for too long"
        time.sleep(0.02)


def lines_of(*batches: ExportBatch) -> list[dict[str, Any]]:
    lines = []
    for batch in batches:
        with default_storage.open(batch.stored_as) as file:
            lines += [json.loads(line) for line in file]
    return lines
