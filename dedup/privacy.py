"""What archives keep of people, and how an erasure takes it."""

from uuid import UUID

from django.db import connections

from common.locks import try_lock
from common.privacy import DELETED, register, register_files, register_step
from common.tenancy import OPERATOR_ALIAS
from dedup.errors import ArchiveBusyError
from dedup.models import (
    Alias,
    Artifact,
    Conversation,
    DeduplicationLog,
    Import,
    Message,
    Observation,
    Placement,
    Record,
    Revision,
    Segment,
    Watermark,
)

ROWS_AT_ONCE = 10_000
IN_THE_FILES = "a line of an imported file, and the files are exported as they came"
ORDER = "where a message stands follows from the files and from message_index"


def register_privacy() -> None:
    """From here on exports and erasures know the archives."""
    register(Artifact, erased=DELETED)
    register(Import, erased=DELETED)
    register(Conversation, erased=DELETED)
    register(Message, erased=DELETED)
    # The words are in the content, the bytes in the files.
    register(Revision, erased=DELETED, without=["raw", "search", "text"])
    register(Alias, erased=DELETED)
    register(DeduplicationLog, erased=DELETED)
    register(Record, erased=DELETED, not_exported=IN_THE_FILES)
    register(Observation, erased=DELETED, not_exported=IN_THE_FILES)
    register(Segment, erased=DELETED, not_exported=ORDER)
    register(Placement, erased=DELETED, not_exported=ORDER)
    register(Watermark, erased=DELETED, not_exported=ORDER)
    register_files("artifacts")
    register_step(erase_archive)


def erase_archive(user_id: UUID) -> dict[str, int]:
    """Afterwards up to ROWS_AT_ONCE more rows of the person's archive are gone.

    Raises ArchiveBusyError while an import reads into it.
    """
    if not try_lock(f"archive-use:{user_id}"):
        raise ArchiveBusyError("An import is reading into this archive.")
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT table_name, rows_deleted FROM dedup_erase_person(%s, %s)",
            [user_id, ROWS_AT_ONCE],
        )
        return dict(cursor.fetchall())
