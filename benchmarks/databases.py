"""Databases of a benchmark: a template for each state, and clones in which to measure.

A clone is in the state of its template, page for page, so that whatever is compared begins with
the same tables and the same indexes. Import this after `django.setup()`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import LiteralString

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from common.bootstrap import bootstrap_database, drop_database, role_passwords

Connection = psycopg.Connection[tuple[object, ...]]

# Of the same person and in the same tables. Messages are short, some 0.4 kB with everything: it
# is the number of rows and the depth of the indexes that an import could come to feel.
FILL = """
    CREATE TEMPORARY TABLE pool AS
    SELECT (row_number() OVER (ORDER BY id) - 1)::integer AS number, left(text, 80) AS text,
           jsonb_build_array(jsonb_build_object('type', 'text', 'text', left(text, 80))) AS content,
           to_tsvector('english', left(text, 80)) AS search
    FROM dedup_revision LIMIT 10000;
    CREATE TEMPORARY TABLE talk AS
    SELECT number, uuidv7() AS conversation_id, uuidv7() AS segment_id, uuidv7() AS import_id,
           uuidv7() AS artifact_id, u.id AS user_id
    FROM generate_series(0, (%(count)s - 1) / 1000) AS number CROSS JOIN accounts_user u;
    CREATE TEMPORARY TABLE given AS
    SELECT number, number %% 1000 AS place, uuidv7() AS message_id, uuidv7() AS revision_id,
           gen_random_uuid()::text AS native_key,
           sha256(number::text::bytea) AS digest,
           number / 1000 AS talk, number %% (SELECT count(*) FROM pool) AS words
    FROM generate_series(0, %(count)s - 1) AS number;
    ANALYZE pool; ANALYZE talk; ANALYZE given;

    INSERT INTO dedup_artifact (id, user_id, sha256, size, stored_as)
    SELECT artifact_id, user_id, sha256(artifact_id::text::bytea), 0, '' FROM talk;
    INSERT INTO dedup_import (
        id, user_id, artifact_id, name, wanted_source, wanted_conversation, source, parser_version,
        status, attempts, records, messages_in_export, new_messages, duplicates_filtered,
        revisions, content_collisions, unreadable_records, report, processing_time_ms, error_code,
        error_detail)
    SELECT import_id, user_id, artifact_id, number::text, '', '', 'claude_code', 1,
           'completed', 1, 1000, 1000, 1000, 0, 0, 0, 0, '{}', 0, '', ''
    FROM talk;
    INSERT INTO dedup_conversation (id, user_id, source, native_key, parent_key, title, project,
                                    total_messages, metadata)
    SELECT conversation_id, user_id, 'claude_code', 'filled-' || number, '', '', '', 1000, '{}'
    FROM talk;
    INSERT INTO dedup_segment (id, user_id, conversation_id, number)
    SELECT segment_id, user_id, conversation_id, 0 FROM talk;
    INSERT INTO dedup_message (id, user_id, conversation_id, source, native_key, parent_key,
                               message_index, sent_at, api_id)
    SELECT g.message_id, t.user_id, t.conversation_id, 'claude_code', g.native_key, '', g.place,
           '2020-01-01Z'::timestamptz + g.number * interval '10 seconds', ''
    FROM given g JOIN talk t ON t.number = g.talk ORDER BY g.number;
    INSERT INTO dedup_revision (id, user_id, message_id, role, content, text, secrets,
                                content_hash, hash_version, raw, raw_sha256, metadata, search)
    SELECT g.revision_id, t.user_id, g.message_id, 'user', p.content, p.text, '[]',
           g.digest, 1, convert_to(p.text, 'UTF8'), g.digest, '{}', p.search
    FROM given g JOIN talk t ON t.number = g.talk JOIN pool p ON p.number = g.words
    ORDER BY g.number;
    INSERT INTO dedup_observation (user_id, import_id, ordinal, revision_id, unreadable)
    SELECT t.user_id, t.import_id, g.place, g.revision_id, false
    FROM given g JOIN talk t ON t.number = g.talk ORDER BY g.number;
    INSERT INTO dedup_placement (user_id, segment_id, message_id, position)
    SELECT t.user_id, t.segment_id, g.message_id, g.place
    FROM given g JOIN talk t ON t.number = g.talk ORDER BY g.number
"""


def superuser(name: str = "postgres") -> Connection:
    return psycopg.connect(settings.DATABASE_SUPERUSER_URL, dbname=name, autocommit=True)


def lead_to(name: str) -> None:
    """Afterwards every alias of Django leads to that database."""
    connections.close_all()
    for alias in connections:
        connections[alias].settings_dict["NAME"] = name


def create_database(name: str) -> None:
    """Afterwards the aliases lead to a migrated, empty database of that name."""
    lead_to(name)
    bootstrap_database(settings.DATABASE_SUPERUSER_URL, name, role_passwords())
    call_command("migrate", verbosity=0)


def clone_database(template: str, name: str, *changes: LiteralString) -> None:
    """Afterwards the aliases lead to a copy of the template to which the changes were made."""
    connections.close_all()
    with superuser() as server:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        server.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    # Grants on the database are not copied with it.
    bootstrap_database(settings.DATABASE_SUPERUSER_URL, name, role_passwords())
    lead_to(name)
    with superuser(name) as database:
        for change in changes:
            database.execute(change)


@contextmanager
def clone(template: str, name: str = "clone") -> Iterator[str]:
    """Within the block the aliases lead to a copy of the template, whose name is given."""
    clone_database(template, name)
    try:
        yield name
    finally:
        lead_to(template)
        drop_database(settings.DATABASE_SUPERUSER_URL, name)


def settle(name: str) -> None:
    """What the server would do in the background sooner or later is done."""
    with superuser(name) as database:
        database.execute("VACUUM ANALYZE")
        database.execute("CHECKPOINT")


def fill(name: str, messages: int) -> None:
    """Afterwards the one person's archive has that many messages more, some 1,000 in each
    conversation. Foreign keys and triggers are off meanwhile, and search is indexed at the end."""
    if messages <= 0:
        return
    index = "SELECT indexdef FROM pg_indexes WHERE indexname = 'revision_search'"
    with superuser(name) as database, database.transaction():
        ((definition,),) = database.execute(index).fetchall()
        database.execute("SET LOCAL session_replication_role = replica")
        database.execute("SET LOCAL maintenance_work_mem = '512MB'")
        database.execute("DROP INDEX revision_search")
        with psycopg.ClientCursor(database) as cursor:
            cursor.execute(FILL, {"count": messages})
        database.execute(str(definition).encode())
    settle(name)


def columns_of(database: Connection, table: str) -> Sequence[str]:
    """The columns that hold values of their own, in order."""
    statement = """
        SELECT attname FROM pg_attribute
        WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
        ORDER BY attnum
    """
    return [str(name) for (name,) in database.execute(statement, [table]).fetchall()]
