"""A table of many owners, in each variant that is compared. Import this after `django.setup()`.

The variants are databases. `both` is as migrations leave it; the others are copies of it, page
for page, from which something was taken away: `plain` has neither policies nor capture on the
tables that are measured, `policies` and `capture` have one of the two. `chain` is `plain` with a
trigger that chains a hash inside the writer's transaction, which the project does not do: it is
the peer of `capture`.
"""

from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from databases import clone_database, create_database, lead_to, settle, superuser
from django.conf import settings

BOTH, PLAIN, POLICIES, CAPTURE, CHAIN = "both", "plain", "policies", "capture", "chain"
VARIANTS = (PLAIN, POLICIES, CAPTURE, BOTH)

# As Django reads and writes: parameters are merged by the client, nothing is prepared.
Connection = psycopg.Connection[tuple[object, ...]]

NO_POLICIES: tuple[LiteralString, ...] = (
    "ALTER TABLE dedup_conversation DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE dedup_segment DISABLE ROW LEVEL SECURITY",
)
NO_CAPTURE: LiteralString = "DROP TRIGGER capture ON dedup_conversation"

# Whoever comes second waits for the end of the first one's transaction. It keeps less than a
# change event and has one index, so that it is not the writing that makes it slow.
CHAINED: tuple[LiteralString, ...] = (
    """
    CREATE TABLE benchmark_chain (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event jsonb, hash bytea)
    """,
    "INSERT INTO benchmark_chain (hash) VALUES ('')",
    """
    CREATE FUNCTION benchmark_chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE
        event jsonb;
        previous bytea;
    BEGIN
        PERFORM pg_advisory_xact_lock(1);
        event := jsonb_build_object('id', NEW.id, 'user_id', NEW.user_id, 'source', NEW.source,
                                    'created_at', NEW.created_at);
        SELECT hash INTO previous FROM benchmark_chain ORDER BY number DESC LIMIT 1;
        INSERT INTO benchmark_chain (event, hash)
        VALUES (event, sha256(previous || convert_to(event::text, 'UTF8')));
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER chain AFTER INSERT ON dedup_conversation
    FOR EACH ROW EXECUTE FUNCTION benchmark_chain()
    """,
)

# The owner is made of a number, so that pgbench can name one too. Rows of one owner lie apart, as
# they come in over time.
FILL: LiteralString = """
    CREATE FUNCTION pg_temp.owner_id(number bigint) RETURNS uuid LANGUAGE sql
    RETURN ('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid;
    INSERT INTO accounts_user (id, username, password, role, account_status, metadata)
    SELECT pg_temp.owner_id(number), 'owner-' || number, '', 'user', 'active', '{}'
    FROM generate_series(0, %(owners)s - 1) AS number;
    INSERT INTO dedup_conversation (
        id, user_id, source, native_key, parent_key, title, project, total_messages, metadata,
        created_at, updated_at)
    SELECT uuidv7(), pg_temp.owner_id(row %% %(owners)s), 'claude_code', gen_random_uuid()::text,
           '', 'A talk about ' || row, '/home/somebody/project', row %% 100,
           '{"branch": "main"}', at, at
    FROM generate_series(0, %(rows)s - 1) AS row,
         LATERAL (SELECT '2026-01-01Z'::timestamptz + row * interval '1 second') AS made (at);
    INSERT INTO dedup_segment (user_id, conversation_id, number)
    SELECT user_id, id, 0 FROM dedup_conversation ORDER BY id
"""


@dataclass(frozen=True)
class Size:
    """How many rows the table has, and of how many owners."""

    rows: int
    owners: int


def owner_id(number: int) -> UUID:
    return UUID(f"00000000-0000-4000-8000-{number:012}")


def make_variants(size: Size) -> None:
    """Afterwards there is a database of that size for each variant."""
    create_database(BOTH)
    fill_owners(size)
    clone_database(BOTH, POLICIES, NO_CAPTURE)
    clone_database(BOTH, CAPTURE, *NO_POLICIES)
    clone_database(BOTH, PLAIN, *NO_POLICIES, NO_CAPTURE)
    clone_database(PLAIN, CHAIN, *CHAINED)
    lead_to(BOTH)
    for name in VARIANTS:
        _refuse_another(name, size)


def fill_owners(size: Size) -> None:
    with superuser(BOTH) as database, database.transaction():
        database.execute("SET LOCAL session_replication_role = replica")
        with psycopg.ClientCursor(database) as cursor:
            cursor.execute(FILL, {"rows": size.rows, "owners": size.owners})
    settle(BOTH)


def connect(name: str) -> Connection:
    """A session of the application's login, as Django opens one."""
    login = settings.DATABASES["default"]
    return psycopg.connect(
        host=login["HOST"],
        port=login["PORT"],
        user=login["USER"],
        password=login["PASSWORD"],
        dbname=name,
        autocommit=True,
        prepare_threshold=None,
        cursor_factory=psycopg.ClientCursor,
    )


def some_keys(count: int) -> list[tuple[UUID, UUID]]:
    """Rows that all variants have, with their owners, in any order."""
    statement = """
        SELECT id, user_id FROM dedup_conversation WHERE title LIKE 'A talk about %%'
        ORDER BY random() LIMIT %s
    """
    with superuser(BOTH) as database:
        rows: list[Any] = database.execute(statement, [count]).fetchall()
    return [(key, user_id) for key, user_id in rows]


def _refuse_another(name: str, size: Size) -> None:
    """The variant is what its name says, or nothing is measured."""
    with connect(name) as session, session.transaction():
        session.execute(
            "SELECT set_config('app.user_id', %s, true)", [str(owner_id(size.owners - 1))]
        )
        found = session.execute("SELECT count(*) FROM dedup_conversation").fetchone()
    with superuser(name) as database:
        capture = database.execute(
            "SELECT count(*) FROM pg_trigger"
            " WHERE tgrelid = 'dedup_conversation'::regclass AND tgname = 'capture'"
        ).fetchone()
    mine = size.rows // size.owners
    expected = {
        PLAIN: (size.rows, 0),
        POLICIES: (mine, 0),
        CAPTURE: (size.rows, 1),
        BOTH: (mine, 1),
    }
    if (found, capture) != tuple((number,) for number in expected[name]):
        raise RuntimeError(f"The database {name} is not what it should be: {found}, {capture}.")
