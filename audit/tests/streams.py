"""What tests ask of the stream."""

import json
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.storage import default_storage

from audit.batches import FOLDER
from audit.exporting import export_events, stream_lag
from audit.models import ExportBatch
from common.tenancy import as_operator
from common.tests.connections import Connection, connect_as, connect_as_superuser

PATIENCE = 60

ADD = """
    INSERT INTO accounts_user (username, password, role, account_status, metadata)
    SELECT uuidv7()::text, '!', 'user', 'active', '{}' FROM generate_series(1, %s)
"""
EVERY_ID = "SELECT id FROM audit_change_event UNION ALL SELECT id FROM audit_security_event"


def export_everything() -> list[ExportBatch]:
    """The batches that are written until no event is left out."""
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


def add_events(count: int, connection: Connection | None = None) -> None:
    """As many events in one transaction, so that they come into one file."""
    if connection is not None:
        connection.execute(ADD.encode(), [count])
        return
    with connect_as("default") as app:
        app.execute(ADD.encode(), [count])


def make_stream(*counts: int) -> list[Path]:
    """Files with as many events as asked for, from the first on."""
    for count in counts:
        add_events(count)
        export_everything()
    files = files_of_stream()
    assert [len(lines_in(file)) for file in files] == list(counts)
    return files


def files_of_stream() -> list[Path]:
    return sorted((Path(settings.MEDIA_ROOT) / FOLDER).rglob("*.jsonl"), key=lambda file: file.name)


def lines_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def name_of(file: Path) -> str:
    """As the storage calls it."""
    return file.relative_to(settings.MEDIA_ROOT).as_posix()


def ids_in_files() -> list[UUID]:
    """The keys of all events that are in files, in the order of the stream."""
    return [UUID(line["id"]) for file in files_of_stream() for line in lines_in(file)]


def ids_in_database() -> list[UUID]:
    with connect_as_superuser() as superuser:
        return [UUID(str(key)) for (key,) in superuser.execute(EVERY_ID.encode()).fetchall()]


def export_until(*wanted: UUID) -> None:
    """Afterwards these events are in files; other ones may still be held back."""
    deadline = time.monotonic() + PATIENCE
    while not set(wanted) <= set(ids_in_files()):
        assert time.monotonic() < deadline, "a transaction is open for too long"
        if export_events() is None:
            time.sleep(0.02)
