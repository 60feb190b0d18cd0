"""The stream is written by functions of the database only, and nobody changes what is written."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors, sql

from accounts.models import User
from accounts.tests.factories import make_user
from audit.choices import SecurityKind
from audit.recording import record
from audit.tests.captured import ROWS, one
from audit.tests.streams import export_everything
from common import context
from common.ids import uuid7
from common.tests.connections import connect_as, connect_as_superuser, raw_app

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

EVENTS = ("audit_change_event", "audit_security_event", "audit_security_origin")
TABLES = (*EVENTS, "audit_export_batch")
STATEMENTS = {
    "UPDATE": "UPDATE {table} SET id = id",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
    "INSERT": "INSERT INTO {table} SELECT * FROM {table}",
}
PARTITIONS = """
    SELECT inhrelid::regclass::text FROM pg_inherits
    WHERE inhparent = ANY (ARRAY['audit_change_event', 'audit_security_event',
                                 'audit_security_origin']::regclass[])
"""
NOTE = """
    SELECT audit_note('data_exported', %s, NULL, '', '', '', NULL, %s::jsonb, NULL, '')
"""


@pytest.fixture(autouse=True)
def ada() -> User:
    """Each table of the stream has rows of hers."""
    user = make_user("ada")
    token = context.origin.set(context.Origin("192.0.2.7", "a browser"))
    record(SecurityKind.LOGIN_SUCCEEDED, user_id=user.pk, actor_id=user.pk)
    context.origin.reset(token)
    export_everything()
    return user


def contents() -> dict[str, list[Any]]:
    with connect_as_superuser() as superuser:
        return {
            table: superuser.execute(
                f"SELECT t::text FROM {table} t ORDER BY 1".encode()
            ).fetchall()
            for table in TABLES
        }


@pytest.fixture
def unchanged() -> Iterator[None]:
    before = contents()
    assert all(before.values())
    yield
    assert contents() == before


def statement(verb: str, table: str) -> sql.Composed:
    return sql.SQL(STATEMENTS[verb]).format(table=sql.Identifier(table))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("verb", STATEMENTS)
def test_the_application_writes_no_table_of_the_stream(
    unchanged: None, ada: User, table: str, verb: str
) -> None:
    with raw_app(ada.pk) as app, pytest.raises(errors.InsufficientPrivilege):
        app.execute(statement(verb, table))


@pytest.mark.parametrize("table", EVENTS)
@pytest.mark.parametrize("verb", STATEMENTS)
def test_the_operator_writes_no_event(unchanged: None, table: str, verb: str) -> None:
    with connect_as("operator") as operator, pytest.raises(errors.InsufficientPrivilege):
        operator.execute(statement(verb, table))


@pytest.mark.parametrize("verb", ["DELETE", "TRUNCATE", "UPDATE"])
def test_the_operator_changes_no_file_that_is_written(unchanged: None, verb: str) -> None:
    refusal = errors.RestrictViolation if verb == "UPDATE" else errors.InsufficientPrivilege

    with connect_as("operator") as operator, pytest.raises(refusal):
        operator.execute(statement(verb, "audit_export_batch"))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE", "TRUNCATE"])
@pytest.mark.parametrize("role", ["owner", "superuser"])
def test_those_who_have_the_privilege_are_refused(
    unchanged: None, role: str, verb: str, table: str
) -> None:
    with (
        connect_as("owner") if role == "owner" else connect_as_superuser() as connection,
        pytest.raises(errors.RestrictViolation, match="is refused"),
    ):
        connection.execute(statement(verb, table))


def test_no_partition_answers_to_its_own_name(unchanged: None, ada: User) -> None:
    with connect_as_superuser() as superuser:
        parts = [str(name) for (name,) in superuser.execute(PARTITIONS.encode()).fetchall()]
    assert len(parts) == 15
    for part in parts:
        for text in (*STATEMENTS.values(), "SELECT count(*) FROM {table}"):
            with connect_as("operator") as operator, pytest.raises(errors.InsufficientPrivilege):
                operator.execute(sql.SQL(text).format(table=sql.Identifier(part)))
            with raw_app(ada.pk) as app, pytest.raises(errors.InsufficientPrivilege):
                app.execute(sql.SQL(text).format(table=sql.Identifier(part)))
    with connect_as("owner") as owner:
        for part in parts:
            assert one(owner, f"SELECT count(*) FROM {part}") == 0
            with pytest.raises(errors.RestrictViolation):
                owner.execute(statement("TRUNCATE", part))


@pytest.mark.parametrize("table", [*EVENTS, "audit_activity"])
def test_each_person_reads_their_own_events_and_nobody_elses(ada: User, table: str) -> None:
    query = f"SELECT count(*), count(*) FILTER (WHERE user_id = %s) FROM {table}".encode()

    with raw_app(ada.pk) as app:
        mine = app.execute(query, [ada.pk]).fetchone()
    with raw_app(uuid7()) as app:
        of_a_stranger = app.execute(query, [ada.pk]).fetchone()
    with raw_app() as app:
        of_nobody = app.execute(query, [ada.pk]).fetchone()

    assert mine is not None
    assert mine[0] == mine[1] != 0
    assert of_a_stranger == of_nobody == (0, 0)


@pytest.mark.parametrize("role", ["default", "operator"])
@pytest.mark.parametrize(
    "weakening",
    [
        "SET session_replication_role = replica",
        "ALTER TABLE audit_change_event DISABLE TRIGGER ALL",
        "ALTER TABLE audit_change_event NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE accounts_user DISABLE TRIGGER capture",
        "ALTER TABLE dedup_conversation DISABLE TRIGGER ALL",
        "ALTER TABLE audit_security_event DROP CONSTRAINT security_details_plain",
        "DROP TRIGGER capture ON dedup_conversation",
        "DROP TRIGGER append_only ON audit_change_event",
        "DROP TABLE audit_security_origin",
        "DROP FUNCTION accounts_user_capture() CASCADE",
        (
            "CREATE OR REPLACE FUNCTION accounts_user_capture() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NULL; END'"
        ),
        (
            "CREATE OR REPLACE FUNCTION audit_is_plain(details jsonb) RETURNS boolean LANGUAGE sql"
            " AS 'SELECT true'"
        ),
        (
            "ALTER FUNCTION audit_note(text, uuid, uuid, text, text, text, uuid, jsonb, inet,"
            " text) OWNER TO app"
        ),
        (
            "CREATE TRIGGER mine AFTER INSERT ON dedup_conversation FOR EACH ROW"
            " EXECUTE FUNCTION dedup_conversation_capture()"
        ),
        "CREATE FUNCTION public.uuidv7() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'",
        "SET ROLE definer",
        "SET ROLE owner",
        "SET SESSION AUTHORIZATION owner",
        "ALTER TABLE audit_change_event DETACH PARTITION audit_change_event_default",
    ],
)
def test_nobody_who_serves_requests_can_weaken_the_stream(
    unchanged: None, role: str, weakening: str
) -> None:
    with connect_as(role) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute(weakening.encode())

    assert isinstance(refused.value, errors.InsufficientPrivilege)


def test_the_application_cannot_switch_policies_off(unchanged: None) -> None:
    with connect_as("default") as app, pytest.raises(errors.InsufficientPrivilege):
        app.execute("SET row_security = off; SELECT * FROM audit_change_event LIMIT 1")


@pytest.mark.parametrize("role", ["default", "operator"])
@pytest.mark.parametrize(
    "function", [*(f"{table}_capture()" for table in ROWS), "audit_capture_truncate()"]
)
def test_the_functions_that_capture_are_called_by_triggers_only(role: str, function: str) -> None:
    with connect_as(role) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(f"SELECT {function}".encode())


@pytest.mark.parametrize(
    "call", ["audit_make_partitions(1)", "audit_drop_partitions(2557, 90, true)"]
)
def test_the_application_neither_makes_nor_drops_partitions(unchanged: None, call: str) -> None:
    with connect_as("default") as app, pytest.raises(errors.InsufficientPrivilege):
        app.execute(f"SELECT {call}".encode())


@pytest.mark.parametrize(
    "days", [(364, 90), (0, 90), (-1, 90), (2557, 0), (None, 90), (2557, None)]
)
def test_the_operator_cannot_ask_for_too_few_days(
    unchanged: None, days: tuple[int | None, int | None]
) -> None:
    with connect_as("operator") as operator, pytest.raises(errors.InvalidParameterValue):
        operator.execute("SELECT audit_drop_partitions(%s, %s, false)", days)


def note(details: str, user: UUID) -> None:
    with raw_app() as app:
        app.execute(NOTE.encode(), [user, details])


@pytest.mark.parametrize(
    "details",
    [
        {"to": "ada@example.org"},
        {"wish": "to be left alone"},
        {"deep": {"deeper": ["fine", {"deepest": "not fine"}]}},
        {"list": ["fine", "not fine"]},
        {"line": "two\nlines"},
        {"line": "ends\n"},
        {"long": "x" * 101},
        {"letters": "Grüße"},
        {"a wish": 1},
        {"ada@example.org": 1},
        {"deep": [{"a wish": 1}]},
        {"": 1},
        {"x" * 64: 1},
        ["fine"],
        "fine",
        7,
        None,
    ],
)
def test_the_database_refuses_what_looks_like_words(
    unchanged: None, ada: User, details: Any
) -> None:
    with pytest.raises(errors.CheckViolation, match="security_details_plain"):
        note(json.dumps(details), ada.pk)


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"messages": 3, "savings": 0.5, "whole": True, "until": None},
        {"scope": "archives:read", "page": "dedup_import_changelist"},
        {"at": "2026-11-21T14:00:00+00:00", "row": "01a1fe86-fbd9-7e1f-b499-df9e0fc02c0d"},
        {"parts": ["audit_change_event_2019_01"], "deep": {"deeper": [{"n": 1}]}, "empty": ""},
    ],
)
def test_numbers_codes_and_keys_are_kept(ada: User, details: Any) -> None:
    note(json.dumps(details), ada.pk)

    with connect_as_superuser() as superuser:
        latest = "SELECT details FROM audit_security_event ORDER BY id DESC LIMIT 1"
        assert one(superuser, latest) == details
