"""The records of one file in a temporary table, from which sets are merged.

COPY into a table under policies is refused by PostgreSQL; a temporary table has none.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from django.db import connection
from psycopg.types.json import Jsonb

from dedup.formats.contract import Header
from dedup.records import StoredMessage, StoredRecord

# The words are taken apart while the next records are parsed: the server is another process.
# Without the angles of tags, since what stands between them would be left out.
# To compress what is read once and dropped would take a third of the time.
# One set of tables serves all parts of a file, and all files of a dry run: each table that is made
# in a transaction is locked until its end, and the server has room for some thousands of locks.
CREATE = """
    CREATE TEMPORARY TABLE IF NOT EXISTS staged (
        ordinal integer PRIMARY KEY,
        conversation integer,
        place integer,
        native_key text,
        parent_key text,
        native_index integer,
        role text,
        sent_at timestamptz,
        api_id text,
        content jsonb,
        text text,
        secrets jsonb,
        content_hash bytea,
        metadata jsonb,
        raw bytea NOT NULL,
        raw_sha256 bytea NOT NULL,
        unreadable boolean NOT NULL,
        search tsvector GENERATED ALWAYS AS
            (to_tsvector('english', translate(text, '<>', '  '))) STORED
    ) WITH (toast_tuple_target = 8160) ON COMMIT DROP;

    -- The conversations of the file, what is known of them, and where their messages are to stand.
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_conversation (
        number integer, conversation_id uuid, segment_id uuid, messages integer, unkeyed boolean,
        next_index integer
    ) ON COMMIT DROP;

    -- One row for each id in the file, with the message that has it, directly or as an alias.
    CREATE TEMPORARY TABLE IF NOT EXISTS resolved (
        native_key text PRIMARY KEY, ordinal integer, message_id uuid, fresh boolean
    ) ON COMMIT DROP;

    -- Contents that a message has not had yet, at their first place in the file.
    CREATE TEMPORARY TABLE IF NOT EXISTS added (ordinal integer, message_id uuid) ON COMMIT DROP;

    -- Each place in the file with its revision, and whether its bytes are not the revision's.
    CREATE TEMPORARY TABLE IF NOT EXISTS observed (
        ordinal integer, raw_sha256 bytea, unreadable boolean, revision_id uuid,
        needs_record boolean
    ) ON COMMIT DROP;

    TRUNCATE staged, staged_conversation, resolved, added, observed
"""
COPY = """
    COPY staged (ordinal, conversation, place, native_key, parent_key, native_index, role, sent_at,
                 api_id, content, text, secrets, content_hash, metadata, raw, raw_sha256,
                 unreadable)
    FROM STDIN (FORMAT BINARY)
"""
# Not the columns of words, which are never compared.
ANALYZE = """
    ANALYZE staged (ordinal, conversation, place, native_key, parent_key, sent_at, api_id,
                    content_hash, raw_sha256)
"""
TYPES = [
    "int4", "int4", "int4", "text", "text", "int4", "text", "timestamptz",
    "text", "jsonb", "text", "jsonb", "bytea", "jsonb", "bytea", "bytea",
    "bool",
]  # fmt: skip
COLUMNS_OF_MESSAGE = 12

# Programs wrap what they add to a person's words in elements of their own.
MARKUP = re.compile(r"<([a-z_-]+)>.*?</\1>", re.DOTALL)
LONGEST_TITLE = 120
# An element that never ends is looked for to the end of the text, once for each beginning.
SEARCHED_FOR_TITLE = 10_000


@dataclass
class StagedConversation:
    """A conversation of the file by its number there; its first words serve for a title."""

    number: int
    header: Header
    messages: int = 0
    unkeyed: bool = False
    first_words: str = ""

    def rename(self, key: str) -> None:
        self.header = replace(self.header, key=key)

    def count(self, message: StoredMessage) -> None:
        self.messages += 1
        self.unkeyed = self.unkeyed or not message.parsed.native_key
        self.first_words = self.first_words or _first_words(message)


def stage(
    records: Iterable[StoredRecord], first: int, report: Callable[[StoredRecord], None]
) -> list[StagedConversation]:
    """Afterwards the temporary table `staged` holds the records, in memory only one of them.

    They are numbered from `first`; `report` is told of each. Returns those conversations that
    have messages or are declared. Needs an open transaction.
    """
    found: dict[str, StagedConversation] = {}
    with connection.cursor() as cursor:
        cursor.execute(CREATE)
        with cursor.copy(COPY) as copy:
            copy.set_types(TYPES)
            for ordinal, record in enumerate(records, first):
                copy.write_row(_row(ordinal, record, _conversation(found, record)))
                report(record)
        cursor.execute(ANALYZE)
    return [
        conversation
        for conversation in found.values()
        if conversation.messages or conversation.header.declared
    ]


def _conversation(
    found: dict[str, StagedConversation], record: StoredRecord
) -> StagedConversation | None:
    header = record.header
    if header is None:
        return None
    conversation = found.get(header.key)
    if conversation is None:
        conversation = found[header.key] = StagedConversation(len(found), header)
    elif header.declared and not conversation.header.declared:
        conversation.header = header
    if record.message:
        conversation.count(record.message)
    return conversation


def _row(
    ordinal: int, record: StoredRecord, conversation: StagedConversation | None
) -> tuple[object, ...]:
    number = conversation.number if conversation else None
    tail = (record.raw, record.raw_sha256, record.unreadable)
    message = record.message
    if message is None:
        return (ordinal, number, *[None] * COLUMNS_OF_MESSAGE, *tail)
    parsed = message.parsed
    return (
        ordinal,
        number,
        ordinal if parsed.order is None else parsed.order,
        parsed.native_key,
        parsed.parent_key,
        parsed.index,
        str(parsed.role),
        parsed.sent_at,
        parsed.api_id,
        Jsonb(message.content),
        message.text,
        Jsonb([[secret.kind, secret.start, secret.end] for secret in message.secrets]),
        message.content_hash,
        Jsonb(message.metadata),
        *tail,
    )


def _first_words(message: StoredMessage) -> str:
    if message.parsed.role != "user" or "is_meta" in message.metadata:
        return ""
    return " ".join(MARKUP.sub(" ", message.text[:SEARCHED_FOR_TITLE]).split())[:LONGEST_TITLE]
