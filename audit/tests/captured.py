"""What the catalogue says of captured tables, and a row of each."""

import re
from dataclasses import dataclass
from typing import Any

from common.tests.connections import Connection

TABLES = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
"""
CAPTURED = """
    SELECT tgrelid::regclass::text FROM pg_trigger
    WHERE tgname = 'capture' AND tgenabled = 'O' ORDER BY 1
"""
COLUMNS = """
    SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY 1
"""
FUNCTION = """
    SELECT prosrc, obj_description(oid, 'pg_proc') FROM pg_proc WHERE proname = %s || '_capture'
"""
# Of each kind of event what is the same for all.
EVENTS = """
    SELECT table_name, row_id, operation, old, new, changed, user_id, actor_id, role, request_id,
           reason
    FROM audit_change_event ORDER BY id
"""
CHECKS = """
    SELECT conrelid::regclass::text, conname FROM pg_constraint
    WHERE contype IN ('c', 'f', 'x') AND conrelid = ANY (%s::regclass[])
"""


@dataclass(frozen=True)
class Placement:
    """Where each column of a captured table was put."""

    values: list[str]
    names: list[str]
    silent: list[str]


def one(connection: Connection, query: str, *values: object) -> Any:
    row = connection.execute(query.encode(), values or None).fetchone()
    assert row is not None
    return row[0]


def captured_tables(connection: Connection) -> list[str]:
    return [str(name) for (name,) in connection.execute(CAPTURED.encode()).fetchall()]


def columns_of(connection: Connection, table: str) -> dict[str, str]:
    rows = connection.execute(COLUMNS.encode(), [table]).fetchall()
    return {str(name): str(kind) for name, kind in rows}


def placement_of(connection: Connection, table: str) -> Placement:
    """As the function does, not as the migration says."""
    row = connection.execute(FUNCTION.encode(), [table]).fetchone()
    assert row is not None
    source, comment = str(row[0]), str(row[1])
    before = re.findall(r"'(\w+)', OLD\.(\w+)", source)
    after = re.findall(r"'(\w+)', NEW\.(\w+)", source)
    differing = re.findall(
        r"CASE WHEN OLD\.(\w+) IS DISTINCT FROM NEW\.(\w+) THEN '(\w+)' END", source
    )
    assert before == after
    assert all(said == column for said, column in before)
    assert all(len(set(names)) == 1 for names in differing)
    values = [name for name, _ in before]
    names = [name for name, _, _ in differing if name not in values]
    assert sorted([*values, *names]) == [name for name, _, _ in differing]
    silent = [name for name in comment.removeprefix("Silent: ").split(", ") if name]
    return Placement(values, names, silent)


def events_seen_by(connection: Connection) -> list[dict[str, Any]]:
    """The events of all changes, oldest first."""
    cursor = connection.execute(EVENTS.encode())
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def without_checks(connection: Connection) -> None:
    """Until the transaction rolls back any value may stand in any column."""
    connection.execute(b"SET CONSTRAINTS ALL IMMEDIATE")
    rows = connection.execute(CHECKS.encode(), [captured_tables(connection)]).fetchall()
    for table, name in rows:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE".encode())


def insert(connection: Connection, table: str, **values: object) -> Any:
    """A row of a captured table, as whoever the connection is; returns its key."""
    given = {**ROWS[table], **values}
    names, marks = ", ".join(given), ", ".join(["%s"] * len(given))
    return one(
        connection, f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id", *given.values()
    )


def insert_one_of_each(connection: Connection) -> dict[str, Any]:
    """For each captured table the key of a row that belongs to the same person."""
    user = insert(connection, "accounts_user")
    artifact = insert(connection, "dedup_artifact", user_id=user)
    return {
        "accounts_user": user,
        "accounts_biometrickey": insert(connection, "accounts_biometrickey", user_id=user),
        "accounts_consent": insert(connection, "accounts_consent", user_id=user),
        "accounts_datakey": insert(connection, "accounts_datakey", user_id=user),
        "accounts_erasurerequest": insert(connection, "accounts_erasurerequest", user_id=user),
        "accounts_exportrequest": insert(connection, "accounts_exportrequest", user_id=user),
        "accounts_subscription": insert(connection, "accounts_subscription", user_id=user),
        "accounts_personalaccesstoken": insert(
            connection, "accounts_personalaccesstoken", user_id=user
        ),
        "dedup_artifact": artifact,
        "dedup_import": insert(connection, "dedup_import", user_id=user, artifact_id=artifact),
        "dedup_conversation": insert(connection, "dedup_conversation", user_id=user),
    }


# What no default gives, besides whose it is.
ROWS: dict[str, dict[str, object]] = {
    "accounts_user": {
        "username": "ada.lovelace", "password": "!", "role": "user", "account_status": "active",
        "metadata": '{"wish": "a secret wish"}',
    },
    "accounts_biometrickey": {
        "device_id": "my secret telephone", "kind": "face", "public_key": b"secret key",
        "label": b"secret label", "status": "pending", "failures": 0,
    },
    "accounts_consent": {
        "type": "privacy_policy", "version": 1, "given": True, "document_sha256": b"secret digest",
        "method": "bundled", "source": "api", "address": b"secret address",
    },
    "accounts_datakey": {
        "purpose": "profile", "version": 1, "provider": "local", "key_id": "first",
        "wrapped": b"secret key",
    },
    "accounts_erasurerequest": {
        "status": "waiting", "token_digest": b"secret digest", "due_at": "2026-01-01T00:00:00Z",
        "counts": "{}", "receipt": '{"wish": "a secret wish"}',
    },
    "accounts_exportrequest": {
        "status": "queued", "attempts": 0, "stored_as": "secret.zip", "size": 7,
    },
    "accounts_subscription": {
        "tier": "premium", "plan": "monthly", "status": "active", "provider": "local",
        "external_id": b"secret id", "external_digest": b"secret digest", "renews": True,
        "starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-02-01T00:00:00Z",
        "purchased_at": "2026-01-01T00:00:00Z", "stated_at": "2026-01-01T00:00:00Z",
    },
    "accounts_personalaccesstoken": {
        "name": "of my laptop", "digest": b"secret digest", "hint": "cp_secret",
        "scopes": ["account:read"],
    },
    "dedup_artifact": {"sha256": b"secret digest", "size": 7, "stored_as": "archives/secret"},
    "dedup_import": {
        "name": "my secret talk.jsonl", "wanted_source": "", "wanted_conversation": "",
        "source": "", "parser_version": 1, "status": "queued", "attempts": 0, "records": 0,
        "messages_in_export": 0, "new_messages": 0, "duplicates_filtered": 0, "revisions": 0,
        "content_collisions": 0, "unreadable_records": 0, "report": "{}",
        "processing_time_ms": 0, "error_code": "", "error_detail": "a secret in a line",
    },
    "dedup_conversation": {
        "source": "codex", "native_key": "secret key", "parent_key": "", "title": "A secret wish",
        "project": "/home/ada/secret", "total_messages": 0, "metadata": "{}",
    },
}  # fmt: skip

# Something else for a column, by its type.
OTHERWISE = {
    "uuid": "uuidv7()",
    "character varying": "'a wish'",
    "text": "'a wish'",
    "jsonb": """'{"note": "a wish"}'""",
    "bytea": "'a wish'::bytea",
    "character varying[]": "ARRAY['a wish']",
    "timestamp with time zone": "now() + interval '1 day'",
    "boolean": "NOT {column}",
    "bigint": "{column} + 1",
    "integer": "{column} + 1",
    "smallint": "{column} + 1",
}
