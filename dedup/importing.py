"""Reading one kept file into the archive: the work of every import, whichever door it came by.

The whole of it is one transaction, which also is the lease: a worker that dies leaves nothing
behind, neither rows nor locks, and the import's row is found unfinished by the sweeper.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO
from uuid import UUID

from django.db.models import Max
from django.db.models.functions import Now

from common.errors import DomainError
from common.locks import lift_time_limit, lock, try_lock, try_share
from common.tenancy import acting_as
from dedup.artifacts import Snapshot, snapshot_of_artifact
from dedup.choices import ImportStatus, Operation, Source
from dedup.formats import detect
from dedup.formats.contract import HEAD_BYTES, Header
from dedup.merging import Target, merge_staged
from dedup.models import (
    Conversation,
    DeduplicationLog,
    Import,
    Message,
    Placement,
    Watermark,
)
from dedup.progress import reporter
from dedup.records import stored_record
from dedup.staging import stage

# An import that is begun this often and never ends is broken itself.
MOST_ATTEMPTS = 5

Report = Callable[[int, int], None]


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
            rows = Import.objects.unfinished().select_related("artifact")
            row = rows.filter(pk=import_id).first()
            if row:
                kept = snapshot_of_artifact(row.artifact)
                read_into_archive(row, kept, reporter(row.pk, row.artifact.size))
    except DomainError as error:
        with acting_as(user_id):
            Import.objects.filter(pk=import_id).fail(error.code, error.detail)


def _claim(import_id: UUID, user_id: UUID) -> bool:
    """Count one more attempt, in a transaction of its own, so that it survives the worker.

    False if somebody else is at it, if it is finished or gone, or if it was begun too often.
    """
    with acting_as(user_id):
        if not (join_archive(user_id) and try_lock(f"import:{import_id}")):
            return False
        row = Import.objects.unfinished().filter(pk=import_id).first()
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

    Needs `join_archive`. Raises UnknownFormatError, MissingArtifactError, DamagedArtifactError.
    """
    started = time.perf_counter()
    lift_time_limit()
    # The same bytes by several importers: the first reads them, the rest find them read.
    lock(f"artifact:{row.artifact_id}")
    original = Import.objects.completed().filter(artifact=row.artifact_id, original=None).first()
    if original is None:
        with kept as snapshot:
            _read(row, snapshot.file, report or _unheard, started)
    else:
        _repeat(row, original)
        if row.name != original.name:
            with kept as snapshot:
                _name_another(row, snapshot.file, started)
    row.status = ImportStatus.COMPLETED
    row.processing_time_ms = _milliseconds_since(started)
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
    row.last_sent_at = original.last_sent_at


def _name_another(row: Import, file: IO[bytes], started: float) -> None:
    """Notes on two sub-agents may have equal bytes: where they lie says which one is meant."""
    kind = detect(file.read(HEAD_BYTES), row.name)
    file.seek(0)
    header = kind.header(file, row.name)
    if header is None or not header.title:
        return
    lock(f"archive:{row.user_id}")
    if not Conversation.objects.filter(native_key=header.key, title=header.title).exists():
        conversation = _conversation(row.user_id, Source(row.source), header, "")
        _account(row, conversation, _milliseconds_since(started))


def _read(row: Import, file: IO[bytes], report: Report, started: float) -> None:
    kind = detect(file.read(HEAD_BYTES), row.name)
    file.seek(0)
    header = kind.header(file, row.name)
    file.seek(0)
    parse = kind.parser()
    staged = stage((stored_record(parse, raw) for raw in kind.split(file)), report)
    row.source, row.parser_version = kind.source, kind.parser_version
    # What two files share the later one must see, under whatever id and in whatever conversation:
    # files are parsed side by side, and merged one after the other.
    lock(f"archive:{row.user_id}")
    conversation = None
    if header and (staged.messages or header.title):
        conversation = _conversation(row.user_id, kind.source, header, staged.first_words)
    target = Target(row.user_id, row.pk, kind.source, conversation.pk if conversation else None)
    counts = merge_staged(target)
    row.records = counts.records
    row.messages_in_export = counts.messages
    row.new_messages = counts.new
    row.duplicates_filtered = counts.duplicates
    row.revisions = counts.revisions
    row.content_collisions = counts.collisions
    row.unreadable_records = counts.unreadable
    row.last_sent_at = counts.last_sent_at
    if conversation:
        _account(row, conversation, _milliseconds_since(started))


def _conversation(user_id: UUID, source: Source, header: Header, first_words: str) -> Conversation:
    """The conversation of a file; made if it is not there yet."""
    conversation, _ = Conversation.objects.get_or_create(
        user_id=user_id, source=source, native_key=header.key
    )
    conversation.title = header.title or conversation.title or first_words
    conversation.parent_key = conversation.parent_key or header.parent_key
    conversation.project = conversation.project or header.project
    conversation.save(update_fields=["title", "parent_key", "project"])
    return conversation


def _account(row: Import, conversation: Conversation, milliseconds: int) -> None:
    """Bring the conversation's statistics up to date and write the log's line."""
    placed = Placement.objects.filter(segment__conversation=conversation).count()
    Conversation.objects.filter(pk=conversation.pk).update(total_messages=placed, updated_at=Now())
    highest = Message.objects.filter(conversation=conversation).aggregate(
        highest=Max("message_index", default=-1)
    )["highest"]
    Watermark.objects.bulk_create(
        [Watermark(conversation=conversation, user_id=row.user_id, highest_index=highest)],
        update_conflicts=True,
        unique_fields=["conversation"],
        update_fields=["highest_index", "updated_at"],
    )
    DeduplicationLog.objects.create(
        user_id=row.user_id,
        import_row=row,
        conversation=conversation,
        operation=Operation.PROCESS_EXPORT,
        messages_processed=row.messages_in_export,
        new_messages=row.new_messages,
        duplicates_filtered=row.duplicates_filtered,
        revisions=row.revisions,
        content_collisions=row.content_collisions,
        storage_savings_pct=row.savings_pct,
        processing_time_ms=milliseconds,
    )


def _unheard(records: int, bytes_read: int) -> None:
    """Nobody asked for progress."""


def _milliseconds_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
