"""Does the database still give back what was imported? Every file is rebuilt and compared."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, F, Max, Min

from common.locks import lift_time_limit, lock
from common.tenancy import acting_as
from dedup.artifacts import open_bytes
from dedup.beginnings import chain_of
from dedup.containers import read_manifest
from dedup.errors import MissingArtifactError, UnknownFormatError
from dedup.formats.contract import HEAD_BYTES
from dedup.hashing import LONGEST_TEXT
from dedup.models import Conversation, Import, Message, Segment
from dedup.reading import format_of
from dedup.records import StoredMessage, StoredRecord, searched_text, stored_record
from dedup.secrets import Secret, cover, masked

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
    raw_sha256: bytes
    unreadable: bool
    revision: UUID | None
    is_first: bool
    native_keys: list[str] | None
    role: str | None
    text: str | None
    searchable: bool | None
    content_hash: bytes | None
    secrets: Any
    content: Any
    metadata: Any


@dataclass
class RebuiltPart:
    """The bytes of a file, or of one member of a zip, that begin with the record `first`."""

    name: str
    first: int
    file: IO[bytes]


BYTES = """
    SELECT o.ordinal, COALESCE(d.raw, v.raw, ''), COALESCE(d.sha256, v.raw_sha256, ''),
           o.revision_id
    FROM dedup_observation o
    LEFT JOIN dedup_record d ON d.id = o.record_id
    LEFT JOIN dedup_revision v ON v.id = o.revision_id
    WHERE o.import_id = %s AND o.ordinal >= %s AND o.ordinal < %s
    ORDER BY o.ordinal
"""

OBSERVED = """
    SELECT o.ordinal, COALESCE(d.sha256, v.raw_sha256, ''),
           o.unreadable, o.revision_id, o.record_id IS NULL,
           CASE WHEN m.id IS NOT NULL THEN
               ARRAY[m.native_key] || ARRAY(SELECT a.native_key FROM dedup_alias a
                                            WHERE a.message_id = m.id) END,
           v.role, v.text,
           v.search IN (to_tsvector('english', translate(v.text, '<>', '  ')),
                        to_tsvector('english', v.text)),
           v.content_hash,
           v.secrets, v.content, v.metadata
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
        return list(rows.select_related("artifact", "extends").order_by("id"))


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The bytes of one record from the database, and what their SHA-256 should be."""

    ordinal: int
    raw: bytes
    raw_sha256: bytes
    revision: UUID | None


def rebuilt(row: Import) -> Iterator[Rebuilt]:
    """The records of one file in order; memory holds ROWS_AT_ONCE of them.

    Ends at the first record that is missing.
    """
    expected = 0
    for import_id, end in chain_of(row.pk):
        for ordinal, raw, digest, revision in _rows_of(BYTES, import_id, expected, end):
            if ordinal != expected:
                return
            expected += 1
            yield Rebuilt(ordinal, bytes(raw), bytes(digest), revision)


def verify_import(user_id: UUID, row: Import) -> list[Mismatch]:
    """Rebuild one file from the database and compare it with what came.

    Three things must agree: the rebuilt bytes with the SHA-256 of the file (of a zip that of
    its members), the stored contents with what the parser reads in those bytes, and the bytes
    in the file storage with both.
    """
    with acting_as(user_id):
        lift_time_limit()
        return [*_compare_rebuilt(row), *_compare_stored(row)]


class _Rebuilding:
    """The bytes of one file, counted and summed while its parts are made of them."""

    def __init__(self, row: Import) -> None:
        self.count = 0
        self.digest = hashlib.sha256()
        self.damaged: list[Rebuilt] = []
        self._row = row

    def parts(self) -> Iterator[RebuiltPart]:
        records = self._records()
        if self._row.content_sha256 is None:
            with _written(records) as file:
                yield RebuiltPart(self._row.name, 0, file)
            return
        for manifest in records:
            member = read_manifest(manifest)
            if member.read:
                first = self.count
                with _written(_until(records, member.size)) as file:
                    yield RebuiltPart(member.name, first, file)

    def _records(self) -> Iterator[bytes]:
        for record in rebuilt(self._row):
            self.count += 1
            self.digest.update(record.raw)
            if hashlib.sha256(record.raw).digest() != record.raw_sha256:
                self.damaged.append(record)
            yield record.raw


def _until(records: Iterator[bytes], size: int) -> Iterator[bytes]:
    """As many records as make up that many bytes."""
    while size > 0 and (raw := next(records, None)) is not None:
        size -= len(raw)
        yield raw


@contextmanager
def _written(records: Iterator[bytes]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.writelines(records)
        file.seek(0)
        yield file


def _compare_rebuilt(row: Import) -> Iterator[Mismatch]:
    rebuilding = _Rebuilding(row)
    for part in rebuilding.parts():
        # Damaged bytes read as anything, and so do those that follow them.
        if not rebuilding.damaged:
            yield from _compare_part(row, part)
    for record in rebuilding.damaged:
        reason = "the bytes are not those of the record"
        yield Mismatch(row.name, row.pk, reason, record.ordinal, record.revision)
    if rebuilding.count != row.records:
        missing = row.records - rebuilding.count
        yield Mismatch(row.name, row.pk, f"{missing} records are missing", rebuilding.count)
    elif rebuilding.digest.digest() != bytes(row.content_sha256 or row.artifact.sha256):
        yield Mismatch(row.name, row.pk, "the rebuilt file differs from the imported one")


def _compare_part(row: Import, part: RebuiltPart) -> Iterator[Mismatch]:
    try:
        kind = format_of(part.file, part.name, row.wanted_source)
    except UnknownFormatError:
        yield Mismatch(row.name, row.pk, "the rebuilt file is in no known format", part.first)
        return
    # What comes before was compared with the file that this one begins with.
    own = row.extends.records if row.extends else 0
    observed = _observed(row, max(own, part.first))
    for ordinal, record in enumerate(kind.records(part.file, part.name), part.first):
        if ordinal >= own:
            place = next(observed, None)
            if place is None or place.ordinal != ordinal:
                yield Mismatch(row.name, row.pk, "a record is missing", ordinal)
                return
            yield from _compare_record(row, place, stored_record(record))


def _observed(row: Import, first: int) -> Iterator[Observed]:
    for *place, secrets, content, metadata in _rows_of(OBSERVED, row.pk, first, row.records):
        # Django leaves jsonb of plain cursors as text.
        place += [json.loads(value or "null") for value in (secrets, content, metadata)]
        yield Observed(*place)


def _rows_of(statement: str, import_id: UUID, first: int, end: int) -> Iterator[Any]:
    for start in range(first, end, ROWS_AT_ONCE):
        with connection.cursor() as cursor:
            cursor.execute(statement, [import_id, start, min(start + ROWS_AT_ONCE, end)])
            yield from cursor.fetchall()


def _compare_record(row: Import, place: Observed, read: StoredRecord) -> Iterator[Mismatch]:
    expected = read.message

    def differs(what: str) -> Mismatch:
        return Mismatch(row.name, row.pk, what, place.ordinal, place.revision)

    if read.raw_sha256 != place.raw_sha256:
        yield differs("the bytes are not those of the record")
    if read.unreadable != place.unreadable or (expected is None) != (place.revision is None):
        yield differs("the record reads differently than when it was imported")
    elif expected:
        key = expected.parsed.native_key
        if key and key not in (place.native_keys or []):
            yield differs("the message has another id than the record")
        if place.content_hash != expected.content_hash:
            yield differs("the content hash is not that of the record")
        if place.is_first and not _says(place, expected):
            yield differs("the stored content is not that of the record")
        if not place.searchable:
            yield differs("the words for search are not those of the text")


def _says(place: Observed, expected: StoredMessage) -> bool:
    """Secrets may be covered as they were found then: the detector learns."""
    covered = [Secret(*secret) for secret in place.secrets or []]
    text = cover(searched_text(expected.parsed.content), covered)
    texts = (expected.text, text[:LONGEST_TEXT], masked(text)[:LONGEST_TEXT])
    return place.text in texts and (place.role, place.content, place.metadata) == (
        str(expected.parsed.role),
        expected.content,
        expected.metadata,
    )


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
