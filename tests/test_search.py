"""Full-text search under policies: never a stranger's row, and through the index."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg.rows import scalar_row

from accounts.tests.factories import make_user
from common.tenancy import acting_as
from common.tests.connections import Connection, connect_as_superuser, raw_app
from dedup import selectors
from dedup.selectors import SearchFilters, search_messages
from dedup.tests.factories import (
    OTHER_SESSION,
    dialogue,
    import_all,
    prompt,
    reply,
    transcript,
)
from tests.population import populate
from tests.test_migrations import migrate, schema, scratch

__all__ = ["scratch"]  # a fixture

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

SEARCH = "SELECT message_id FROM dedup_search(%s" + ", NULL" * 9 + ", 50)"
MIGRATION = "dedup.migrations.0007_search_by_project_and_tool"
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
        "SELECT message_id FROM dedup_search('ada OR bob', NULL, NULL, %s, NULL, NULL, NULL, NULL,"
    )
    query += " %s::real, %s, 50)"
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
    definition = importlib.import_module(MIGRATION).DEFINITION
    body = definition.partition("$$")[2].rpartition("$$")[0]
    values = {
        "words": "'heron'::text",
        "in_source": "NULL::text",
        "of_role": "NULL::text",
        "in_conversation": "NULL::uuid",
        "in_project": "NULL::text",
        "with_tool": "NULL::text",
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


def test_only_messages_placed_in_a_project_of_the_persons_own_are_found(tmp_path: Path) -> None:
    ada, bob = populate(tmp_path, "ada"), populate(tmp_path, "bob")
    query = "SELECT message_id FROM dedup_search('ada OR bob', NULL, NULL, NULL, %s" + ", NULL" * 5
    with connect_as_superuser() as superuser:
        superuser.execute(
            "UPDATE dedup_conversation SET project = '/home/' || CASE user_id WHEN %s"
            " THEN 'ada/kitchen' ELSE 'bob/garden' END",
            [ada.pk],
        )

    found = {}
    for person in (ada, bob):
        with raw_app(person.pk) as raw:
            found[person.username] = [
                len(raw.execute(f"{query}, 50)".encode(), [project]).fetchall())
                for project in ("kitchen", "ada/kitchen", "/home/ada/kitchen", "itchen", "%")
            ]

    assert found == {"ada": [1, 1, 1, 0, 0], "bob": [0, 0, 0, 0, 0]}


@pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"])
def test_the_way_back_leaves_everything_as_it_was(scratch: None) -> None:
    migrate("dedup", "0006")
    before = schema()

    migrate("dedup", "0007")
    assert schema() != before

    migrate("dedup", "0006")
    assert schema() == before


def shown(owner: UUID, words: str, **filters: Any) -> list[str]:
    """The highlights of what is found."""
    with acting_as(owner):
        found = search_messages(SearchFilters(words=words, **filters), most=50)
        return [hit.highlight for hit in found]


def test_tags_stand_in_what_is_shown(tmp_path: Path) -> None:
    ada = make_user("ada")
    words = "In Berlin blue boats carry cold crates down"
    text = f'{words} <div class="pie">a \x02heron\x03</div>, 1 < 2 & <b>x</b> \x01 {words}'
    import_all(ada.pk, [transcript(tmp_path, [prompt("m0", text)])])

    (highlight,) = shown(ada.pk, "heron")

    assert (
        "crates down &lt;div class=&quot;pie&quot;&gt;a <mark>heron</mark>&lt;/div&gt;,"
        " 1 &lt; 2 &amp; &lt;b&gt;x&lt;/b&gt;  In Berlin"
    ) in highlight


def test_words_in_tags_are_found(tmp_path: Path) -> None:
    ada = make_user("ada")
    text = 'Write <Oven temperature={220} className="crust"> there'
    import_all(ada.pk, [transcript(tmp_path, [prompt("m0", text)])])

    assert shown(ada.pk, "crust") == [
        "Write &lt;Oven temperature={220} className=&quot;<mark>crust</mark>&quot;&gt; there"
    ]
    assert len(shown(ada.pk, "temperature")) == 1


def test_what_the_detector_has_learnt_since_is_masked_in_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = make_user("ada")
    import_all(ada.pk, [transcript(tmp_path, [prompt("m0", "Herons say swordfish1")])])

    monkeypatch.setattr(selectors, "masked", lambda text: text.replace("swordfish1", "[password]"))

    assert shown(ada.pk, "heron") == ["Herons say [password]"]
    assert shown(ada.pk, "swordfish1") == ["Herons say [password]"]


def test_a_project_is_found_by_its_last_parts_wherever_the_message_is_placed(
    tmp_path: Path,
) -> None:
    ada = make_user("ada")
    rows = dialogue(2)
    here = [row | {"cwd": "/home/ada/kitchen"} for row in rows]
    copy = [
        row | {"cwd": "/srv/garden_1", "sessionId": OTHER_SESSION}
        for row in [*rows, reply("m2", "Words 2", "m1", 2)]
    ]
    import_all(
        ada.pk,
        [transcript(tmp_path / "a", here), transcript(tmp_path / "b", copy, OTHER_SESSION)],
    )

    found = {
        project: len(shown(ada.pk, "words", project=project))
        for project in ("kitchen", "/home/ada/kitchen", "ada/kitchen", "itchen", "garden_1")
    }

    assert found == {
        "kitchen": 2,
        "/home/ada/kitchen": 2,
        "ada/kitchen": 2,
        "itchen": 0,
        "garden_1": 3,
    }
    assert shown(ada.pk, "words", project="garden%") == []
    assert shown(ada.pk, "words", project="garden_2") == []


def test_messages_are_found_by_the_tool_that_they_call(tmp_path: Path) -> None:
    ada = make_user("ada")
    call = [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls herons"}}]
    rows = [
        prompt("m0", "Where are the herons? Ask Bash."),
        reply("m1", "", "m0", 1, message={"role": "assistant", "content": call}),
    ]
    import_all(ada.pk, [transcript(tmp_path, rows)])

    assert shown(ada.pk, "herons", tool="Bash") == ["Bash\nls <mark>herons</mark>"]
    assert len(shown(ada.pk, "herons")) == 2
    assert shown(ada.pk, "herons", tool="bash") == []
    assert shown(ada.pk, "herons", tool="Bash", project="kitchen") == []
