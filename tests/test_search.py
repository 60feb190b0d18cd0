"""Full-text search under policies: never a stranger's row, and through the index."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from psycopg.rows import scalar_row

from accounts.tests.factories import make_user
from common.tests.connections import Connection, connect_as_superuser, raw_app
from tests.population import populate

pytestmark = pytest.mark.django_db(transaction=True)

SEARCH = "SELECT message_id FROM dedup_search(%s, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 50)"
CONVERSATIONS_OF_EACH = 10
MESSAGES_OF_EACH = 10_000


def search(raw: Connection, words: str) -> list[object]:
    return [row[0] for row in raw.execute(SEARCH.encode(), [words]).fetchall()]


def messages_of(person: UUID) -> set[object]:
    with connect_as_superuser() as superuser:
        rows = superuser.execute("SELECT id FROM dedup_message WHERE user_id = %s", [person])
        return {row[0] for row in rows.fetchall()}


def test_a_search_finds_what_the_person_has(tmp_path: Path) -> None:
    ada, bob = populate(tmp_path, "ada"), populate(tmp_path, "bob")

    with raw_app(ada.pk) as raw:
        assert set(search(raw, "how OR ada OR bob")) <= messages_of(ada.pk)
        assert len(search(raw, "ada")) == 1
        assert search(raw, "bob") == []
    with raw_app(bob.pk) as raw:
        assert len(search(raw, "bob")) == 1
        assert search(raw, "ada") == []


def test_without_a_person_a_search_finds_nothing(tmp_path: Path) -> None:
    populate(tmp_path, "ada")

    for person in (None, ""):
        with raw_app(person) as raw:
            assert search(raw, "ada") == []


def test_a_strangers_conversation_and_page_open_nothing(tmp_path: Path) -> None:
    ada, bob = populate(tmp_path, "ada"), populate(tmp_path, "bob")
    query = (
        "SELECT message_id FROM dedup_search('ada OR bob', NULL, NULL, %s, NULL, NULL, %s::real,"
    )
    query += " %s, 50)"
    with connect_as_superuser() as superuser:
        row = superuser.execute(
            "SELECT id FROM dedup_conversation WHERE user_id = %s", [ada.pk]
        ).fetchone()
    assert row is not None

    with raw_app(bob.pk) as raw:
        assert raw.execute(query.encode(), [row[0], None, None]).fetchall() == []
        found = raw.execute(
            query.encode(), [None, 2.0, max(map(str, messages_of(ada.pk)))]
        ).fetchall()

    assert {message for (message,) in found} <= messages_of(bob.pk)


@pytest.fixture
def large_archive() -> Iterator[tuple[Connection, UUID]]:
    """Two people with 10,000 messages each; "heron" stands in twenty messages of each."""
    people = [make_user("ada").pk, make_user("bob").pk]
    with connect_as_superuser() as superuser:
        superuser.execute("SET session_replication_role = replica")
        for person in people:
            superuser.execute(
                """
                WITH message AS (
                    INSERT INTO dedup_message (id, user_id, conversation_id, source, native_key,
                        parent_key, message_index, api_id)
                    SELECT uuidv7(), %(person)s,
                        md5(n %% %(conversations)s || %(person)s::text)::uuid,
                        'claude_code', n::text, '', n, ''
                    FROM generate_series(1, %(messages)s) n RETURNING *
                )
                INSERT INTO dedup_revision (id, user_id, message_id, role, content, text,
                    secrets, search, content_hash, hash_version, raw, raw_sha256, metadata)
                SELECT uuidv7(), user_id, id, 'user', '[]', words, '[]',
                    to_tsvector('english', words), '\\x00', 1, '\\x00', '\\x00', '{}'
                FROM message, LATERAL (SELECT
                    CASE WHEN message_index %% 500 = 0 THEN 'a grey heron ' ELSE '' END
                    || 'word' || message_index || repeat(' of the day', 20) AS words) said
                """,
                {
                    "person": person,
                    "messages": MESSAGES_OF_EACH,
                    "conversations": CONVERSATIONS_OF_EACH,
                },
            )
        # VACUUM also moves what GIN keeps aside for later into the index.
        superuser.execute("VACUUM (ANALYZE) dedup_message, dedup_revision")
        yield superuser, people[0]


def plan_as(connection: Connection, role: str, person: UUID, query: str) -> str:
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL ROLE {role}".encode())
        connection.execute("SELECT set_config('app.user_id', %s, true)", [str(person)])
        cursor = connection.cursor(row_factory=scalar_row)
        lines = cursor.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, TIMING off) {query}".encode()
        ).fetchall()
    return "\n".join(map(str, lines))


def pages_of(plan: str) -> int:
    """8 kB pages that the whole statement touched, from its first line of buffers."""
    match = re.search(r"Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?", plan)
    assert match is not None
    return sum(int(count) for count in match.groups() if count)


def body_of_the_search() -> str:
    """The query inside the function, for one word and without other filters."""
    definition = importlib.import_module("dedup.migrations.0003_search").DEFINITION
    body = definition.partition("$$")[2].rpartition("$$")[0]
    values = {
        "words": "'heron'::text",
        "in_source": "NULL::text",
        "of_role": "NULL::text",
        "in_conversation": "NULL::uuid",
        "sent_from": "NULL::timestamptz",
        "sent_before": "NULL::timestamptz",
        "after_rank": "NULL::real",
        "after_id": "NULL::uuid",
        "most": "50",
    }
    for name, value in values.items():
        body = re.sub(rf"(?<![.\w]){name}\b", value, body)
    return str(body)


def test_the_searchs_own_query_uses_the_index_and_the_same_as_app_cannot(
    large_archive: tuple[Connection, UUID],
) -> None:
    superuser, ada = large_archive
    plain = "SELECT id FROM dedup_revision WHERE search @@ websearch_to_tsquery('english', 'heron')"

    as_definer = plan_as(superuser, "definer", ada, body_of_the_search())
    as_app = plan_as(superuser, "app", ada, plain)

    assert "Bitmap Index Scan on revision_search" in as_definer
    assert "Seq Scan on dedup_revision" not in as_definer
    assert "revision_search" not in as_app


def test_a_search_as_app_touches_a_fraction_of_what_a_scan_does(
    large_archive: tuple[Connection, UUID],
) -> None:
    superuser, ada = large_archive
    function = SEARCH.replace("%s", "'heron'")
    scan = "SELECT id FROM dedup_revision WHERE search @@ websearch_to_tsquery('english', 'heron')"

    # The first call also reads the catalogue; a session makes many.
    plan_as(superuser, "app", ada, function)
    searched = plan_as(superuser, "app", ada, function)
    scanned = plan_as(superuser, "app", ada, scan)

    assert "Function Scan on dedup_search" in searched
    assert "rows=20.00" in searched.splitlines()[0]
    assert pages_of(searched) * 2 < pages_of(scanned)


def test_a_search_by_the_app_login_itself_scans_the_index(
    large_archive: tuple[Connection, UUID],
) -> None:
    _, ada = large_archive
    scans = "SELECT pg_stat_get_xact_numscans('revision_search'::regclass)"

    with raw_app(ada) as raw:
        before = raw.execute(scans).fetchone()
        found = raw.execute(SEARCH.replace("%s", "'heron'").encode()).fetchall()
        after = raw.execute(scans).fetchone()

    assert (before, after) == ((0,), (1,))
    assert len(found) == 20
