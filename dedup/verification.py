"""Does the database still give back what was imported? Every file is rebuilt and compared."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, F, Max, Min

from common.locks import lift_time_limit, lock
from common.tenancy import acting_as
from dedup.artifacts import open_bytes
from dedup.errors import MissingArtifactError, UnknownFormatError
from dedup.formats import detect
from dedup.formats.contract import HEAD_BYTES, Parser
from dedup.models import Conversation, Import, Message, Segment
from dedup.records import stored_record

ROWS_AT_ONCE = 100


@dataclass(frozen=True)
class Mismatch:
    """Something that is not as it was imported; `revision` where one stored content is meant."""

    file: str
    import_id: UUID | None
    reason: str
    ordinal: int | None = None
    revision: UUID | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "import": self.import_id and str(self.import_id),
            "ordinal": self.ordinal,
            "revision": self.revision and str(self.revision),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Observed:
    """One place of a file as the database has it.

    `is_first` says that the revision was made of this record, not of one that means the same.
    """

    ordinal: int
    raw: bytes
    raw_sha256: bytes
    unreadable: bool
    revision: UUID | None
    is_first: bool
    native_keys: list[str] | None
    role: str | None
    text: str | None
    content_hash: bytes | None
    content: Any
    metadata: Any


REBUILD = """
    SELECT o.ordinal, COALESCE(d.raw, v.raw, ''), COALESCE(d.sha256, v.raw_sha256, ''),
           o.unreadable, o.revision_id, o.record_id IS NULL,
           CASE WHEN m.id IS NOT NULL THEN
               ARRAY[m.native_key] || ARRAY(SELECT a.native_key FROM dedup_alias a
                                            WHERE a.message_id = m.id) END,
           v.role, v.text, v.content_hash, v.content, v.metadata
    FROM dedup_observation o
    LEFT JOIN dedup_record d ON d.id = o.record_id
    LEFT JOIN dedup_revision v ON v.id = o.revision_id
    LEFT JOIN dedup_message m ON m.id = v.message_id
    WHERE o.import_id = %s AND o.ordinal >= %s AND o.ordinal < %s
    ORDER BY o.ordinal
"""


def imports_to_verify(user_id: UUID) -> list[Import]:
    """The imports that brought bytes, oldest first."""
    with acting_as(user_id):
        rows = Import.objects.visible_to(user_id).completed().filter(original=None)
        return list(rows.select_related("artifact").order_by("id"))


def rebuilt(row: Import) -> Iterator[Observed]:
    """What the database has of one file, in order; memory holds ROWS_AT_ONCE records."""
    for first in range(0, row.records, ROWS_AT_ONCE):
        with connection.cursor() as cursor:
            cursor.execute(REBUILD, [row.pk, first, first + ROWS_AT_ONCE])
            for *place, content, metadata in cursor.fetchall():
                # Django leaves jsonb of plain cursors as text.
                place += [json.loads(content or "null"), json.loads(metadata or "null")]
                yield Observed(*place)


def verify_import(user_id: UUID, row: Import) -> list[Mismatch]:
    """Rebuild one file from the database and compare it with what came.

    Three things must agree: the rebuilt bytes with the artifact's SHA-256, the stored contents
    with what the parser reads in those bytes, and the bytes in the file storage with both.
    """
    with acting_as(user_id):
        lift_time_limit()
        return [*_compare_rebuilt(row), *_compare_stored(row)]


def _compare_rebuilt(row: Import) -> Iterator[Mismatch]:
    digest, count = hashlib.sha256(), 0
    try:
        parse = detect(_head(row), row.name).parser()
    except UnknownFormatError:
        yield Mismatch(row.name, row.pk, "the rebuilt file is in no known format")
        return
    for place in rebuilt(row):
        digest.update(place.raw)
        if place.ordinal != count:
            yield Mismatch(row.name, row.pk, "a record is missing", count)
            return
        count += 1
        yield from _compare_record(row, place, parse)
    if count != row.records:
        yield Mismatch(row.name, row.pk, f"{row.records - count} records are missing", count)
    elif digest.digest() != bytes(row.artifact.sha256):
        yield Mismatch(row.name, row.pk, "the rebuilt file differs from the imported one")


def _head(row: Import) -> bytes:
    head = b""
    for place in rebuilt(row):
        head += place.raw[:HEAD_BYTES]
        if len(head) >= HEAD_BYTES:
            break
    return head[:HEAD_BYTES]


def _compare_record(row: Import, place: Observed, parse: Parser) -> Iterator[Mismatch]:
    read = stored_record(parse, place.raw)
    expected = read.message

    def differs(what: str) -> Mismatch:
        return Mismatch(row.name, row.pk, what, place.ordinal, place.revision)

    if read.raw_sha256 != place.raw_sha256:
        yield differs("the bytes are not those of the record")
    if read.unreadable != place.unreadable or (expected is None) != (place.revision is None):
        yield differs("the record reads differently than when it was imported")
    elif expected:
        if expected.parsed.native_key not in (place.native_keys or []):
            yield differs("the message has another id than the record")
        if place.content_hash != expected.content_hash:
            yield differs("the content hash is not that of the record")
        if place.is_first and (place.role, place.content, place.text, place.metadata) != (
            str(expected.parsed.role),
            expected.content,
            expected.text,
            expected.metadata,
        ):
            yield differs("the stored content is not that of the record")


def _compare_stored(row: Import) -> Iterator[Mismatch]:
    digest = hashlib.sha256()
    try:
        with open_bytes(row.artifact) as file:
            while chunk := file.read(HEAD_BYTES):
                digest.update(chunk)
    except MissingArtifactError:
        yield Mismatch(row.name, row.pk, "the stored file is gone")
        return
    if digest.digest() != bytes(row.artifact.sha256):
        yield Mismatch(row.name, row.pk, "the stored file differs from the imported one")


def integrity_problems(user_id: UUID) -> list[str]:
    """What contradicts itself in the statistics of a person's conversations, in sentences.

    Message indexes and positions must be 0 … n-1, watermarks the highest index, cached totals
    the placements, and every message must have a revision.
    """
    with acting_as(user_id):
        lift_time_limit()
        # Between two statements an import would make the figures contradict each other.
        lock(f"archive:{user_id}")
        return [
            *_wrong_conversations(user_id),
            *(
                f"segment {pk} has gaps in its positions"
                for pk in Segment.objects.visible_to(user_id)
                .annotate(placed=Count("placements"), last=Max("placements__position"))
                .filter(placed__gt=0)
                .exclude(placed=F("last") + 1)
                .values_list("pk", flat=True)
            ),
            *(
                f"message {pk} has no content"
                for pk in Message.objects.visible_to(user_id)
                .filter(revisions__isnull=True)
                .values_list("pk", flat=True)
            ),
        ]


def _wrong_conversations(user_id: UUID) -> Iterator[str]:
    placed = dict(
        Conversation.objects.visible_to(user_id)
        .annotate(placed=Count("segments__placements"))
        .values_list("pk", "placed")
    )
    conversations = (
        Conversation.objects.visible_to(user_id)
        .select_related("watermark")
        .annotate(
            own=Count("messages"),
            lowest=Min("messages__message_index"),
            highest=Max("messages__message_index"),
        )
    )
    for row in conversations:
        highest = -1 if row.highest is None else row.highest
        if row.own and (row.lowest != 0 or highest != row.own - 1):
            yield f"conversation {row.pk} has gaps in its message indexes"
        if row.watermark.highest_index != highest:
            found = row.watermark.highest_index
            yield f"conversation {row.pk} has the watermark {found}, not {highest}"
        if row.total_messages != placed[row.pk]:
            counted, real = row.total_messages, placed[row.pk]
            yield f"conversation {row.pk} counts {counted} messages, not {real}"
