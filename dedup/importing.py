"""Reading one kept file into the archive: the work of every import, whichever door it came by.

The whole of it is one transaction, which also is the lease: a worker that dies leaves nothing
behind, neither rows nor locks, and the import's row is found unfinished by the sweeper.
"""

import logging
import time
from contextlib import AbstractContextManager
from uuid import UUID

from django.db import DatabaseError
from django.db.models.functions import Now

from common.errors import DomainError
from common.locks import lift_time_limit, lock, try_lock, try_share
from common.tenancy import acting_as
from dedup.artifacts import Snapshot, snapshot_of_artifact
from dedup.choices import ImportStatus
from dedup.intake import Intake, Report, name_another
from dedup.models import Import
from dedup.progress import reporter
from dedup.statements import rows, run

logger = logging.getLogger(__name__)

# An import that is begun this often and never ends is broken itself.
MOST_ATTEMPTS = 5

# So many new messages, and such a part of all, make a plan for the old size a bad one.
FEW_ROWS = 2000
GROWTH = 0.1


def run_import(import_id: UUID, user_id: UUID) -> None:
    """Afterwards the import is completed or failed, or another worker has it, or it is gone.

    A DomainError ends it as failed with its code; anything else leaves it to be tried again,
    until it has been begun MOST_ATTEMPTS times.
    """
    if not _claim(import_id, user_id):
        return
    try:
        with acting_as(user_id):
            if not (join_archive(user_id) and try_lock(f"import:{import_id}")):
                return
            # Since the claim another worker may have read it and given the lock back.
            unfinished = Import.objects.unfinished().select_related("artifact")
            row = unfinished.filter(pk=import_id).first()
            if row:
                kept = snapshot_of_artifact(row.artifact)
                read_into_archive(row, kept, reporter(row.pk, row.artifact.size))
        if row:
            tell_planner(user_id, row.new_messages)
    except DomainError as error:
        with acting_as(user_id):
            Import.objects.filter(pk=import_id).fail(error.code, error.detail)


def _claim(import_id: UUID, user_id: UUID) -> bool:
    """Count one more attempt, in a transaction of its own, so that it survives the worker.

    False if somebody else is at it, if it is finished or gone, if it was begun too often, or if
    its owner restricted the processing of their things: then it waits.
    """
    with acting_as(user_id):
        if not (join_archive(user_id) and try_lock(f"import:{import_id}")):
            return False
        row = Import.objects.unfinished().select_related("user").filter(pk=import_id).first()
        if row and row.user.processing_restricted_at is not None:
            return False
        if row and row.attempts >= MOST_ATTEMPTS:
            detail = f"It was begun {row.attempts} times and never came to an end."
            Import.objects.filter(pk=import_id).fail("gave_up", detail)
            return False
        return Import.objects.claim(import_id)


def join_archive(user_id: UUID) -> bool:
    """Take part in the person's archive until the transaction ends.

    False while a dry run has the archive to itself.
    """
    return try_share(f"archive-use:{user_id}")


def read_into_archive(
    row: Import, kept: AbstractContextManager[Snapshot], report: Report | None = None
) -> None:
    """Afterwards the import is completed: what is in its file is kept, in the open transaction.

    Needs `join_archive`. Raises UnknownFormatError, UnsafeArchiveError, MissingArtifactError,
    DamagedArtifactError, SeveralConversationsError.
    """
    started = time.perf_counter()
    lift_time_limit()
    # The same bytes by several importers: the first reads them, the rest find them read.
    lock(f"artifact:{row.artifact_id}")
    original = Import.objects.same_reading(row).first()
    if original is None:
        with kept as snapshot:
            Intake(row, snapshot, report or _unheard, started).read()
    else:
        _repeat(row, original)
        if row.name != original.name:
            with kept as snapshot:
                name_another(row, snapshot.file, started)
    row.status = ImportStatus.COMPLETED
    row.processing_time_ms = round((time.perf_counter() - started) * 1000)
    row.touched_at = row.finished_at = Now()
    row.save()


def _repeat(row: Import, original: Import) -> None:
    """The bytes are kept and read already: this row is the trace of it, and all there is to add."""
    row.original = original
    row.source = original.source
    row.parser_version = original.parser_version
    row.records = original.records
    row.messages_in_export = row.duplicates_filtered = original.messages_in_export
    row.unreadable_records = original.unreadable_records
    row.content_sha256 = original.content_sha256
    row.report = original.report
    row.last_sent_at = original.last_sent_at


def tell_planner(user_id: UUID, new_messages: int) -> None:
    """Afterwards the planner knows of rows that make a table much larger than it was.

    Autovacuum would tell it in a minute, and until then plans are made for the old size. In a
    transaction of its own: the import is kept, whatever becomes of this.
    """
    if new_messages < FEW_ROWS:
        return
    try:
        with acting_as(user_id):
            # Whoever has the tables now does the same work.
            run("SET LOCAL lock_timeout = '1s'")
            ((known,),) = rows(
                "SELECT reltuples FROM pg_class WHERE oid = 'dedup_message'::regclass"
            )
            if new_messages > GROWTH * max(known, 0):
                run("SELECT dedup_refresh_planner_statistics()")
    except DatabaseError as error:
        logger.info("the planner's statistics were left as they are: %s", error)


def _unheard(records: int, bytes_read: int) -> None:
    """Nobody asked for progress."""
