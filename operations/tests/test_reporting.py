"""The schema `reporting`: what the role `analyst` finds in it, and what it cannot reach."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from psycopg import errors

from accounts.choices import AccountStatus, Scope
from accounts.models import PersonalAccessToken, User
from accounts.services.access_tokens import issue_token
from accounts.tests.factories import make_operator, make_user
from common.bootstrap import bootstrap_database, database_name
from common.tenancy import as_operator
from common.tests.connections import Connection, connect_as_superuser
from dedup.services import import_path
from tests.population import SESSION, populate, row

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

# One for all test workers, which share the server and its roles.
PASSWORD = "of-the-analyst-in-tests"

# What a column of words may be called, and the closed set that it shows.
WORDS_OF_CLOSED_SETS = ["kind", "role", "source", "state", "status"]
REVEALING = """
    SELECT format('%%s.%%s %%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relnamespace = 'reporting'::regnamespace
      AND a.atttypid <> ALL ('{date, int8, numeric}'::regtype[])
      AND NOT (a.atttypid = 'text'::regtype AND a.attname = ANY (%(closed)s::text[]))
    ORDER BY 1
"""
COLUMNS_READ = """
    SELECT DISTINCT read.relname::text, a.attname::text
    FROM pg_class v
    JOIN pg_rewrite r ON r.ev_class = v.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
         AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
    JOIN pg_class read ON read.oid = d.refobjid
    JOIN pg_attribute a ON a.attrelid = read.oid AND a.attnum = d.refobjsubid
    WHERE v.relnamespace = 'reporting'::regnamespace AND read.relname LIKE %(tables)s
"""


@pytest.fixture
def analyst(db: None) -> Iterator[Connection]:
    """A login of its own, without an actor."""
    bootstrap_database(settings.DATABASE_SUPERUSER_URL, database_name(), {"analyst": PASSWORD})
    with psycopg.connect(
        settings.DATABASE_SUPERUSER_URL,
        dbname=database_name(),
        user="analyst",
        password=PASSWORD,
        autocommit=True,
    ) as connection:
        yield connection


def today() -> object:
    return datetime.now(UTC).date()


def rows(connection: Connection, query: str) -> list[tuple[object, ...]]:
    return connection.execute(query.encode()).fetchall()


def views(connection: Connection) -> list[str]:
    query = "SELECT viewname::text FROM pg_views WHERE schemaname = 'reporting' ORDER BY 1"
    return [str(name) for (name,) in rows(connection, query)]


def revealing(connection: Connection) -> list[object]:
    found = connection.execute(REVEALING.encode(), {"closed": WORDS_OF_CLOSED_SETS}).fetchall()
    return [column for (column,) in found]


def two_people(folder: Path) -> int:
    """Ada and Bob with two messages each; Ada's file once more, and then with a changed message
    and a line that cannot be read. The bytes of all files."""
    ada, path = populate(folder, "ada"), folder / f"{SESSION}.jsonl"
    sizes = [path.stat().st_size] * 2
    import_path(user_id=ada.pk, path=path)
    path.write_bytes(b"\n".join([row(0, "How are you"), row(1, "I was ada"), b"{damaged", b""]))
    import_path(user_id=ada.pk, path=path)
    sizes.append(path.stat().st_size)
    populate(folder, "bob")
    sizes.append(path.stat().st_size)
    return sum(sizes)


def test_imports_of_two_people_are_summed_up(analyst: Connection, tmp_path: Path) -> None:
    size = two_people(tmp_path)

    assert rows(
        analyst,
        "SELECT day, source, status, imports, came_again, messages_in_exports, new_messages,"
        " duplicates, revisions, unreadable_records, bytes FROM reporting.imports_by_day",
    ) == [(today(), "claude_code", "completed", 4, 1, 8, 4, 3, 1, 1, size)]
    with connect_as_superuser() as superuser:
        ((spent,),) = rows(superuser, "SELECT sum(processing_time_ms) FROM dedup_import")
    ((seconds,),) = rows(analyst, "SELECT seconds FROM reporting.imports_by_day")
    assert seconds == Decimal(str(spent)) / 1000


def test_imports_are_told_apart_by_day_source_and_status(
    analyst: Connection, tmp_path: Path
) -> None:
    populate(tmp_path, "ada")
    populate(tmp_path, "bob")
    with connect_as_superuser() as superuser:
        superuser.execute(
            "UPDATE dedup_import SET status = 'failed', source = '',"
            " created_at = '2026-03-01 23:59:59+00', messages_in_export = 0, new_messages = 0"
            " WHERE id = (SELECT min(id::text) FROM dedup_import)::uuid"
        )

    assert rows(
        analyst,
        "SELECT day::text, source, status, imports, messages_in_exports"
        " FROM reporting.imports_by_day ORDER BY day",
    ) == [("2026-03-01", "", "failed", 1, 0), (str(today()), "claude_code", "completed", 1, 2)]
    assert rows(analyst, "SELECT source, imports FROM reporting.savings_by_source") == [
        ("claude_code", 1)
    ]


def test_savings_are_what_was_kept_already(analyst: Connection, tmp_path: Path) -> None:
    two_people(tmp_path)

    assert rows(analyst, "SELECT * FROM reporting.savings_by_source") == [
        ("claude_code", 4, 8, 4, 3, 1, Decimal("37.50"))
    ]


def test_conversations_and_messages_of_two_people_are_counted(
    analyst: Connection, tmp_path: Path
) -> None:
    two_people(tmp_path)

    assert rows(analyst, "SELECT * FROM reporting.conversations_by_day") == [
        (today(), "claude_code", 2, 0, 4)
    ]
    assert rows(analyst, "SELECT * FROM reporting.messages_by_day") == [(today(), "claude_code", 4)]


def test_users_are_counted_by_role_and_status(analyst: Connection) -> None:
    make_user("ada")
    make_user("bob")
    make_operator("eve")
    carol = make_user("carol")
    with as_operator("suspend"):
        User.objects.filter(pk=carol.pk).update(account_status=AccountStatus.SUSPENDED)

    assert rows(analyst, "SELECT * FROM reporting.users_by_day ORDER BY role, status") == [
        (today(), "superadmin", "active", 1),
        (today(), "user", "active", 2),
        (today(), "user", "suspended", 1),
    ]


def test_tokens_are_counted_by_their_state(analyst: Connection) -> None:
    ada, bob = make_user("ada"), make_user("bob")
    now = datetime.now(UTC)
    for owner, name, expires in (
        (ada, "used", None),
        (ada, "new", now + timedelta(days=1)),
        (ada, "old", now - timedelta(days=1)),
        (ada, "ended", now - timedelta(days=1)),
        (bob, "blocked", None),
    ):
        issue_token(user=owner, name=name, scopes=[Scope.ACCOUNT_READ], expires_at=expires)
    with as_operator("prepare"):
        PersonalAccessToken.objects.filter(name="used").update(last_used_at=now)
        PersonalAccessToken.objects.filter(name="old").update(last_used_at=now - timedelta(days=31))
        PersonalAccessToken.objects.filter(name="ended").update(revoked_at=now)
        User.objects.filter(pk=bob.pk).update(account_status=AccountStatus.SUSPENDED)

    assert rows(analyst, "SELECT * FROM reporting.tokens_in_use ORDER BY state") == [
        ("blocked", 1, 1, 0),
        ("expired", 1, 1, 0),
        ("revoked", 1, 1, 0),
        ("usable", 2, 1, 1),
    ]


def test_nothing_yet_is_no_row_and_no_error(analyst: Connection) -> None:
    for view in views(analyst):
        assert rows(analyst, f"SELECT * FROM reporting.{view}") == []


def test_events_are_counted_by_day_and_kind(analyst: Connection, tmp_path: Path) -> None:
    populate(tmp_path, "ada")
    populate(tmp_path, "bob")

    assert rows(
        analyst,
        "SELECT day, kind, events, people FROM reporting.events_by_day"
        " WHERE kind = 'login_succeeded'",
    ) == [(today(), "login_succeeded", 2, 2)]
    ((events, people, actors),) = rows(
        analyst, "SELECT events, people, actors FROM reporting.events_by_day WHERE kind = 'change'"
    )
    with connect_as_superuser() as superuser:
        assert rows(superuser, "SELECT count(*) FROM audit_change_event") == [(events,)]
    assert (people, actors) == (2, 2)


def test_no_actor_is_needed_and_none_changes_the_sums(analyst: Connection, tmp_path: Path) -> None:
    ada = populate(tmp_path, "ada")
    populate(tmp_path, "bob")
    query = "SELECT sum(messages) FROM reporting.messages_by_day"

    assert rows(analyst, "SELECT current_setting('app.user_id', true)") == [(None,)]
    assert rows(analyst, query) == [(4,)]
    analyst.execute("SELECT set_config('app.user_id', %s, false)", [str(ada.pk)])
    assert rows(analyst, query) == [(4,)]


def test_no_view_shows_words_names_or_ids(analyst: Connection, tmp_path: Path) -> None:
    two_people(tmp_path)

    assert revealing(analyst) == []
    shown = str([rows(analyst, f"SELECT * FROM reporting.{view}") for view in views(analyst)])
    for word in ("ada", "bob", "How are", "message-", SESSION, "jsonl", "of the test"):
        assert word not in shown


def test_the_guard_sees_a_column_of_words_and_one_of_ids() -> None:
    with connect_as_superuser() as superuser, superuser.transaction(force_rollback=True):
        superuser.execute(
            "CREATE VIEW reporting.careless AS"
            " SELECT id, title, native_key AS source, metadata FROM dedup_conversation"
        )

        assert revealing(superuser) == [
            "careless.id uuid",
            "careless.metadata jsonb",
            "careless.source character varying(500)",
            "careless.title character varying(300)",
        ]


def test_the_views_read_these_columns_and_so_no_words() -> None:
    """The contents of messages are not even scanned: `dedup_revision` is not here."""
    with connect_as_superuser() as superuser:
        found: dict[str, set[str]] = {}
        for pattern in ("accounts%", "audit%", "dedup%"):
            for table, column in superuser.execute(
                COLUMNS_READ.encode(), {"tables": pattern}
            ).fetchall():
                found.setdefault(str(table), set()).add(str(column))

    assert found == {
        "accounts_user": {"id", "role", "account_status", "created_at"},
        "accounts_personalaccesstoken": {"user_id", "expires_at", "last_used_at", "revoked_at"},
        "audit_change_event": {"at", "user_id", "actor_id"},
        "audit_security_event": {"at", "kind", "user_id", "actor_id"},
        "dedup_artifact": {"id", "size"},
        "dedup_conversation": {
            "source",
            "parent_key",  # whether there is one
            "merged_into_id",
            "total_messages",
            "created_at",
        },
        "dedup_import": {
            "artifact_id",
            "original_id",
            "source",
            "status",
            "messages_in_export",
            "new_messages",
            "duplicates_filtered",
            "revisions",
            "unreadable_records",
            "processing_time_ms",
            "created_at",
        },
        "dedup_message": {"source", "created_at"},
    }


def test_every_view_and_each_of_its_columns_has_a_comment(analyst: Connection) -> None:
    query = """
        SELECT format('%s.%s', c.relname, a.attname) FROM pg_class c
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'reporting'::regnamespace
          AND (obj_description(c.oid) IS NULL OR col_description(c.oid, a.attnum) IS NULL)
    """

    assert rows(analyst, query) == []
    assert {
        "conversations_by_day",
        "imports_by_day",
        "messages_by_day",
        "savings_by_source",
        "tokens_in_use",
        "users_by_day",
    } <= set(views(analyst))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM public.accounts_user",
        "SELECT count(*) FROM public.dedup_message",
        "SELECT count(*) FROM public.django_migrations",
        "SELECT * FROM public.dedup_search('x', '', '', NULL, NULL, NULL, 0, NULL, 1)",
        "CREATE TABLE reporting.mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "SET ROLE owner",
        "SET ROLE app",
        "COPY reporting.messages_by_day TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_the_analyst_reaches_nothing_else_even_when_it_lifts_its_own_limits(
    analyst: Connection, statement: str
) -> None:
    analyst.execute("SET default_transaction_read_only = off")

    with pytest.raises(errors.InsufficientPrivilege):
        analyst.execute(statement.encode())


def test_the_analyst_begins_read_only_and_within_limits(analyst: Connection) -> None:
    limits = [
        rows(analyst, f"SHOW {name}")[0][0]
        for name in (
            "default_transaction_read_only",
            "statement_timeout",
            "idle_in_transaction_session_timeout",
        )
    ]

    assert limits == ["on", "2min", "1min"]
    with pytest.raises(errors.ReadOnlySqlTransaction):
        analyst.execute("DROP VIEW reporting.messages_by_day")


def test_without_the_role_the_migration_says_what_to_do() -> None:
    look = import_module("operations.migrations.0001_reporting").ROLE_IS_THERE

    with connect_as_superuser() as superuser:
        superuser.execute(look)
        with pytest.raises(errors.RaiseException, match=r"Run: manage\.py bootstrap_database"):
            superuser.execute(look.replace("'analyst'", "'analyst_who_never_was'"))
