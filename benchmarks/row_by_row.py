"""The row-by-row import that ours is compared with. Import this after `django.setup()`."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from archive import records_of, seconds
from django.db import connection
from psycopg.types.json import Jsonb

from common.tenancy import acting_as
from dedup.choices import Source
from dedup.hashing import HASH_VERSION
from dedup.models import Artifact, Conversation, Import, Segment
from dedup.records import StoredMessage, StoredRecord, stored_record

# The peer: one message after the other, by the application's login under policies.
INSERT_MESSAGE = """
    INSERT INTO dedup_message (user_id, conversation_id, source, native_key, parent_key,
                               message_index, sent_at, api_id)
    VALUES (%s, %s, 'claude_code', %s, %s, %s, %s, %s)
    ON CONFLICT (user_id, source, native_key) DO NOTHING RETURNING id
"""
INSERT_REVISION = """
    INSERT INTO dedup_revision (user_id, message_id, role, content, text, secrets, content_hash,
                                hash_version, raw, raw_sha256, metadata, search)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, to_tsvector('english', %s))
    ON CONFLICT (message_id, hash_version, content_hash) DO NOTHING RETURNING id
"""
INSERT_OBSERVATION = """
    INSERT INTO dedup_observation (user_id, import_id, ordinal, revision_id, unreadable)
    VALUES (%s, %s, %s, %s, false) RETURNING id
"""
INSERT_PLACEMENT = """
    INSERT INTO dedup_placement (user_id, segment_id, message_id, position)
    VALUES (%s, %s, %s, %s) ON CONFLICT (segment_id, message_id) DO NOTHING RETURNING id
"""


def timed_row_by_row(user_id: UUID, path: Path, sample: int) -> float:
    """Seconds for the first records of the file, read as an import reads them."""
    entry = connection.settings_dict
    with psycopg.connect(
        host=entry["HOST"],
        port=entry["PORT"],
        user=entry["USER"],
        password=entry["PASSWORD"],
        dbname=entry["NAME"],
        autocommit=True,
    ) as database:

        def bring_in() -> None:
            with database.transaction():
                database.execute("SELECT set_config('app.user_id', %s, true)", [str(user_id)])
                records = map(stored_record, islice(records_of(path), sample))
                for ordinal, record in enumerate(records):
                    if record.message:
                        _insert_message(database, parents, ordinal, record, record.message)

        parents = _make_parents(user_id)
        return seconds(bring_in)


@dataclass(frozen=True)
class _Parents:
    """What the rows of a row-by-row import hang on."""

    user_id: UUID
    import_id: UUID
    conversation_id: UUID
    segment_id: UUID


def _make_parents(user_id: UUID) -> _Parents:
    with acting_as(user_id):
        artifact = Artifact.objects.create(user_id=user_id, sha256=b"", size=0, stored_as="")
        row = Import.objects.create(user_id=user_id, artifact=artifact, name="row by row")
        conversation = Conversation.objects.create(
            user_id=user_id, source=Source.CLAUDE_CODE, native_key="row by row"
        )
        segment = Segment.objects.create(user_id=user_id, conversation=conversation, number=0)
    return _Parents(user_id, row.pk, conversation.pk, segment.pk)


def _insert_message(
    database: psycopg.Connection[Any],
    parents: _Parents,
    ordinal: int,
    record: StoredRecord,
    message: StoredMessage,
) -> None:
    parsed, user_id = message.parsed, parents.user_id
    values: list[object] = [user_id, parents.conversation_id, parsed.native_key, parsed.parent_key]
    values += [ordinal, parsed.sent_at, parsed.api_id]
    message_id = _returned(database, INSERT_MESSAGE, values)
    secrets = [[secret.kind, secret.start, secret.end] for secret in message.secrets]
    values = [user_id, message_id, str(parsed.role), Jsonb(message.content), message.text]
    values += [Jsonb(secrets), message.content_hash, HASH_VERSION, record.raw, record.raw_sha256]
    values += [Jsonb(message.metadata), message.text]
    revision_id = _returned(database, INSERT_REVISION, values)
    _returned(database, INSERT_OBSERVATION, [user_id, parents.import_id, ordinal, revision_id])
    _returned(database, INSERT_PLACEMENT, [user_id, parents.segment_id, message_id, ordinal])


def _returned(
    database: psycopg.Connection[Any], statement: LiteralString, values: list[object]
) -> UUID:
    ((found,),) = database.execute(statement, values).fetchall()
    key: UUID = found
    return key
