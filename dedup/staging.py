"""The records of one file in a temporary table, from which sets are merged.

COPY into a table under policies is refused by PostgreSQL; a temporary table has none.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.db import connection
from psycopg.types.json import Jsonb

from dedup.records import StoredRecord

CREATE = """
    DROP TABLE IF EXISTS pg_temp.staged, pg_temp.resolved, pg_temp.observed;
    CREATE TEMPORARY TABLE staged (
        ordinal integer PRIMARY KEY,
        native_key text,
        parent_key text,
        role text,
        sent_at timestamptz,
        api_id text,
        content jsonb,
        text text,
        content_hash bytea,
        metadata jsonb,
        raw bytea NOT NULL,
        raw_sha256 bytea NOT NULL,
        unreadable boolean NOT NULL
    ) ON COMMIT DROP
"""
# Programs wrap what they add to a person's words in elements of their own.
MARKUP = re.compile(r"<([a-z_-]+)>.*?</\1>", re.DOTALL)
LONGEST_TITLE = 120
# An element that never ends is looked for to the end of the text, once for each beginning.
SEARCHED_FOR_TITLE = 10_000

COPY = "COPY staged FROM STDIN (FORMAT BINARY)"
TYPES = [
    "int4", "text", "text", "text", "timestamptz", "text", "jsonb", "text", "bytea", "jsonb",
    "bytea", "bytea", "bool",
]  # fmt: skip


@dataclass(frozen=True)
class Staged:
    """What was staged: the number of messages, and the first words of a person, for a title."""

    messages: int
    first_words: str


def stage(records: Iterable[StoredRecord], report: Callable[[int, int], None]) -> Staged:
    """Afterwards the temporary table `staged` holds the records, in memory only one of them.

    `report` is told the numbers of records and bytes so far. Needs an open transaction.
    """
    messages, size, first_words = 0, 0, ""
    with connection.cursor() as cursor:
        cursor.execute(CREATE)
        with cursor.copy(COPY) as copy:
            copy.set_types(TYPES)
            for ordinal, record in enumerate(records):
                copy.write_row(_row(ordinal, record))
                size += len(record.raw)
                messages += record.message is not None
                first_words = first_words or _first_words(record)
                report(ordinal + 1, size)
        cursor.execute("ANALYZE staged")
    return Staged(messages, first_words)


def _row(ordinal: int, record: StoredRecord) -> tuple[object, ...]:
    message = record.message
    tail = (record.raw, record.raw_sha256, record.unreadable)
    if message is None:
        return (ordinal, *[None] * 9, *tail)
    parsed = message.parsed
    return (
        ordinal,
        parsed.native_key,
        parsed.parent_key,
        str(parsed.role),
        parsed.sent_at,
        parsed.api_id,
        Jsonb(message.content),
        message.text,
        message.content_hash,
        Jsonb(message.metadata),
        *tail,
    )


def _first_words(record: StoredRecord) -> str:
    message = record.message
    if message is None or message.parsed.role != "user" or "is_meta" in message.metadata:
        return ""
    return " ".join(MARKUP.sub(" ", message.text[:SEARCHED_FOR_TITLE]).split())[:LONGEST_TITLE]
