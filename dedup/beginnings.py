"""Files that grow: one that begins with the bytes of an imported one brings only its end."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO
from uuid import UUID

from dedup.artifacts import CHUNK_BYTES, Snapshot
from dedup.formats.contract import ParsedRecord
from dedup.models import Import
from dedup.reading import Part
from dedup.statements import rows, run

# Versions of a file that are compared with it: one that was rewritten has none.
MOST_VERSIONS = 3
# A file that is imported every second would be put together of thousands: once in so many times
# it is read whole.
LONGEST_CHAIN = 50

# The import, before it that of the file with which its file begins, and so on.
CHAIN = """
    WITH RECURSIVE chain AS (
        SELECT id, extends_id, records, 0 AS depth FROM dedup_import WHERE id = %(import_id)s
        UNION ALL
        SELECT i.id, i.extends_id, i.records, depth + 1
        FROM dedup_import i JOIN chain ON chain.extends_id = i.id
    )
    SELECT id, records FROM chain ORDER BY depth DESC
"""

REACH = """
    UPDATE dedup_import SET reaches_at = %(reaches_at)s
    WHERE id = ANY(%(imports)s) AND (reaches_at < %(reaches_at)s OR reaches_at IS NULL)
"""


@dataclass(frozen=True)
class Beginning:
    """The imported file with which another one begins.

    `imports` are its import and those of the files with which it begins itself; `rest` are the
    records of the longer file that follow.
    """

    row: Import
    imports: list[UUID]
    rest: Iterator[ParsedRecord]


def beginning_of(row: Import, snapshot: Snapshot, part: Part) -> Beginning | None:
    """None where no imported file of that name is the beginning, up to the end of a record.

    Messages without ids are told by their neighbours, and an order that is not the file's is one
    of all messages: such files are always read whole.
    """
    for shorter in Import.objects.shorter_versions(row, snapshot.size)[:MOST_VERSIONS]:
        if _begins_with(snapshot.file, shorter):
            snapshot.file.seek(0)
            records = part.records()
            imports = [found for found, _ in chain_of(shorter.pk)]
            if len(imports) >= LONGEST_CHAIN or part.kind is None:
                return None
            if _reads_alike(shorter, part.kind.parser_version, records):
                return Beginning(shorter, imports, records)
    return None


def chain_of(import_id: UUID) -> list[tuple[UUID, int]]:
    """The imports whose records make up the file, in order, the import itself at the end; each
    with the number of records up to its end."""
    return [(found, records) for found, records in rows(CHAIN, {"import_id": import_id})]


def extend_reach(row: Import, beginning: Beginning) -> None:
    """What stands in the beginning stands in a file that reaches further than it did."""
    run(REACH, {"reaches_at": row.reaches_at, "imports": beginning.imports})


def _begins_with(file: IO[bytes], shorter: Import) -> bool:
    digest = hashlib.sha256()
    left = shorter.artifact.size
    file.seek(0)
    while left and (chunk := file.read(min(left, CHUNK_BYTES))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.digest() == bytes(shorter.artifact.sha256)


def _reads_alike(shorter: Import, parser_version: int, records: Iterator[ParsedRecord]) -> bool:
    """Whether the records up to there are the same, so that `records` now stands behind them."""
    if shorter.parser_version != parser_version:
        return False
    count, size = 0, 0
    while size < shorter.artifact.size and (record := next(records, None)):
        message = record.message
        if message and (not message.native_key or message.order is not None):
            return False
        count, size = count + 1, size + len(record.raw)
    return size == shorter.artifact.size and count == shorter.records
