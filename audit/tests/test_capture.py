"""Every change of a captured table is an event, in the same transaction and without words."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import transaction

from accounts.models import User
from accounts.tests.factories import make_user
from audit.tests.captured import (
    OTHERWISE,
    ROWS,
    TABLES,
    captured_tables,
    columns_of,
    events_seen_by,
    insert,
    insert_one_of_each,
    placement_of,
    without_checks,
)
from common import context
from common.ids import uuid7
from common.tenancy import acting_as, as_operator
from common.tests.connections import Connection, connect_as_superuser

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

CAPTURED = sorted(ROWS)
EXEMPT = {
    "accounts_biometricchallenge": "lives for five minutes",
    "accounts_keycheck": "proofs of the house's keys: only added to",
    "accounts_erasure": "a log of its own: only added to",
    "accounts_preference": "settings of a screen: words, and often changed",
    "accounts_receivednotification": "traces of stores' messages, which name nobody",
    "account_emailaddress": "addresses, of which no stream keeps anything",
    "account_emailconfirmation": "allauth's own, never used: codes wait in sessions",
    "accounts_devicesession": "a log of its own; logins are security events",
    "accounts_outgoingmail": "lives until the mail is sent",
    "accounts_recordedanswer": "lives for two days",
    "accounts_storedsession": "state of sessions; logins are security events",
    "audit_change_event": "the stream itself",
    "audit_export_batch": "tells of the stream's files; final once written",
    "audit_security_event": "the stream itself",
    "audit_security_origin": "addresses and agents, which no stream keeps",
    "auth_group": "Django's own, never used",
    "auth_group_permissions": "Django's own, never used",
    "auth_permission": "Django's names of what can be done to models",
    "dedup_alias": "a log of its own: only added to",
    "dedup_deduplicationlog": "a log of its own: only added to",
    "dedup_message": "a log of its own: only added to",
    "dedup_observation": "a log of its own: only added to",
    "dedup_placement": "follows from messages",
    "dedup_record": "a log of its own: only added to",
    "dedup_revision": "a log of its own: only added to",
    "dedup_segment": "follows from messages",
    "dedup_watermark": "follows from messages",
    "django_admin_log": "a log of its own: only added to",
    "django_content_type": "Django's names of models",
    "django_migrations": "Django's own",
    "django_session": "Django's own, never used",
    "mfa_authenticator": "allauth's own; changes are security events",
    "socialaccount_socialaccount": "allauth's own; logins are security events",
    "socialaccount_socialapp": "allauth's own, never used: providers are settings",
    "socialaccount_socialtoken": "allauth's own, never used",
}
# Columns of text whose values are kept: each is a closed set of codes.
CLOSED_SETS = {
    "accounts_consent": {"type", "method", "source"},
    "accounts_datakey": {"purpose", "provider", "key_id"},
    "accounts_erasurerequest": {"status"},
    "accounts_exportrequest": {"status"},
    "accounts_subscription": {"tier", "plan", "status", "provider"},
    "accounts_biometrickey": {"kind", "status"},
    "accounts_user": {"role", "account_status"},
    "accounts_personalaccesstoken": {"scopes"},
    "dedup_artifact": set(),
    "dedup_conversation": {"source"},
    "dedup_import": {"wanted_source", "source", "status", "error_code"},
}
# Not by the model: the public codes of errors, which code writes, and names that settings give.
WITHOUT_CHOICES = {("dedup_import", "error_code"), ("accounts_datakey", "key_id")}
WORDS = {"character varying", "character varying[]", "text", "jsonb", "json", "bytea", "tsvector"}


@pytest.fixture
def superuser(db: None) -> Iterator[Connection]:
    """In a transaction that leaves nothing."""
    with connect_as_superuser() as connection, connection.transaction(force_rollback=True):
        yield connection


def test_every_table_is_captured_or_exempt_for_a_reason(superuser: Connection) -> None:
    tables = {str(name) for (name,) in superuser.execute(TABLES.encode()).fetchall()}

    assert captured_tables(superuser) == CAPTURED
    assert set(CAPTURED) | set(EXEMPT) == tables
    assert not set(CAPTURED) & set(EXEMPT)


@pytest.mark.parametrize("table", CAPTURED)
def test_every_column_is_placed_once_and_no_words_are_kept(
    superuser: Connection, table: str
) -> None:
    columns, placed = columns_of(superuser, table), placement_of(superuser, table)

    assert sorted([*placed.values, *placed.names, *placed.silent]) == sorted(columns)
    of_text = {name for name in placed.values if columns[name] in WORDS}
    assert of_text == CLOSED_SETS[table]


@pytest.mark.parametrize(
    ("table", "column"), [(table, name) for table, names in CLOSED_SETS.items() for name in names]
)
def test_what_is_kept_of_text_is_a_closed_set(table: str, column: str) -> None:
    model = next(model for model in apps.get_models() if model._meta.db_table == table)
    field: Any = model._meta.get_field(column)
    choices = getattr(field, "base_field", field).choices

    assert bool(choices) is ((table, column) not in WITHOUT_CHOICES)


@pytest.mark.parametrize("table", CAPTURED)
def test_a_row_that_is_added_is_an_event(superuser: Connection, table: str) -> None:
    rows = insert_one_of_each(superuser)

    (event,) = [event for event in events_seen_by(superuser) if event["table_name"] == table]
    assert (event["operation"], event["row_id"]) == ("INSERT", rows[table])
    assert (event["old"], event["changed"]) == (None, None)
    assert sorted(event["new"]) == sorted(placement_of(superuser, table).values)
    assert event["new"]["id"] == str(rows[table])
    assert event["user_id"] == rows["accounts_user"]
    assert (event["actor_id"], event["request_id"], event["reason"]) == (None, "", "")
    assert "secret" not in json.dumps(event, default=str)
    assert "lovelace" not in json.dumps(event, default=str)


@pytest.mark.parametrize("table", CAPTURED)
def test_each_column_that_changes_is_named_and_only_values_are_told(
    superuser: Connection, table: str
) -> None:
    rows, placed = insert_one_of_each(superuser), placement_of(superuser, table)
    without_checks(superuser)

    for column, kind in columns_of(superuser, table).items():
        before = events_seen_by(superuser)
        otherwise = OTHERWISE[kind].replace("{column}", column)
        if column in placed.values:
            otherwise = otherwise.replace("a wish", "a code")
        superuser.execute(f"UPDATE {table} SET {column} = {otherwise}".encode())
        added = events_seen_by(superuser)[len(before) :]

        if column in placed.silent:
            assert added == []
            continue
        (event,) = added
        assert (event["operation"], event["changed"]) == ("UPDATE", [column])
        differing = {name for name in event["new"] if event["old"][name] != event["new"][name]}
        assert differing == ({column} if column in placed.values else set())
        if column in placed.names:
            assert "wish" not in json.dumps(event, default=str)
        assert column == "id" or event["row_id"] in {rows[table], UUID(event["new"]["id"])}


@pytest.mark.parametrize("table", CAPTURED)
def test_an_update_that_changes_nothing_is_no_event(superuser: Connection, table: str) -> None:
    insert_one_of_each(superuser)
    before = events_seen_by(superuser)

    for column in columns_of(superuser, table):
        superuser.execute(f"UPDATE {table} SET {column} = {column}".encode())

    assert events_seen_by(superuser) == before


@pytest.mark.parametrize("table", CAPTURED)
def test_a_row_that_is_deleted_leaves_its_values(superuser: Connection, table: str) -> None:
    rows = insert_one_of_each(superuser)
    added = next(event for event in events_seen_by(superuser) if event["table_name"] == table)
    without_checks(superuser)

    superuser.execute(f"DELETE FROM {table}".encode())

    event = events_seen_by(superuser)[-1]
    assert (event["operation"], event["row_id"]) == ("DELETE", rows[table])
    assert (event["old"], event["new"], event["changed"]) == (added["new"], None, None)
    assert event["user_id"] == rows["accounts_user"]


@pytest.mark.parametrize("table", CAPTURED)
def test_a_table_that_is_emptied_says_so(superuser: Connection, table: str) -> None:
    insert_one_of_each(superuser)
    superuser.execute(b"SET CONSTRAINTS ALL IMMEDIATE")
    # Otherwise the tables that hang on it refuse.
    for (name,) in superuser.execute(
        b"SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'append_only_truncate'"
    ).fetchall():
        superuser.execute(f"ALTER TABLE {name} DISABLE TRIGGER append_only_truncate".encode())

    superuser.execute(f"TRUNCATE {table} CASCADE".encode())

    emptied = [event for event in events_seen_by(superuser) if event["operation"] == "TRUNCATE"]
    (event,) = [event for event in emptied if event["table_name"] == table]
    assert (event["row_id"], event["old"], event["new"], event["user_id"]) == (None,) * 4
    assert event["role"] != ""


def test_many_rows_at_once_are_as_many_events(superuser: Connection) -> None:
    owner = insert(superuser, "accounts_user")

    superuser.execute(
        "INSERT INTO dedup_artifact (user_id, sha256, size, stored_as)"
        " SELECT %s, sha256(n::text::bytea), n, '' FROM generate_series(1, 500) AS n",
        [owner],
    )
    superuser.execute("UPDATE dedup_artifact SET size = size + 1 WHERE size <= 200")

    events = [
        event for event in events_seen_by(superuser) if event["table_name"] == "dedup_artifact"
    ]
    assert [event["operation"] for event in events] == ["INSERT"] * 500 + ["UPDATE"] * 200
    assert sorted(event["new"]["size"] for event in events[:500]) == list(range(1, 501))
    assert len({event["row_id"] for event in events}) == 500
    assert {event["new"]["size"] - event["old"]["size"] for event in events[500:]} == {1}


def test_an_upsert_is_what_it_did(superuser: Connection) -> None:
    owner = insert(superuser, "accounts_user")
    upsert = """
        INSERT INTO dedup_artifact (user_id, sha256, size, stored_as) VALUES (%s, 'x', %s, '')
        ON CONFLICT (user_id, sha256) DO UPDATE SET size = excluded.size
    """

    superuser.execute(upsert.encode(), [owner, 1])
    superuser.execute(upsert.encode(), [owner, 2])
    superuser.execute(upsert.encode(), [owner, 2])
    superuser.execute(upsert.partition("DO")[0].encode() + b"DO NOTHING", [owner, 3])

    events = [
        event for event in events_seen_by(superuser) if event["table_name"] == "dedup_artifact"
    ]
    assert [(event["operation"], event["new"]["size"]) for event in events] == [
        ("INSERT", 1),
        ("UPDATE", 2),
    ]


def events() -> list[dict[str, Any]]:
    with connect_as_superuser() as connection:
        return events_seen_by(connection)


def test_what_is_rolled_back_was_never_an_event() -> None:
    ada = make_user("ada")
    before = events()

    with acting_as(ada.pk):
        with transaction.atomic():
            User.objects.filter(pk=ada.pk).update(metadata={"a": 1})
            transaction.set_rollback(True)
        User.objects.filter(pk=ada.pk).update(metadata={"b": 1})
    with pytest.raises(ZeroDivisionError), acting_as(ada.pk):
        User.objects.filter(pk=ada.pk).update(password=str(1 // (ada.pk.int - ada.pk.int)))

    added = events()[len(before) :]
    assert [event["changed"] for event in added] == [["metadata"]]


def test_a_person_is_the_actor_of_what_their_request_changes() -> None:
    ada = make_user("ada")
    before = events()

    with context.request_context() as request, acting_as(ada.pk):
        User.objects.filter(pk=ada.pk).update(metadata={"a": 1})

    (event,) = events()[len(before) :]
    assert (event["user_id"], event["actor_id"], event["role"]) == (ada.pk, ada.pk, "app")
    assert (event["request_id"], event["reason"]) == (request, "")


def test_an_operator_is_the_actor_with_a_reason_and_a_request() -> None:
    ada, operator = make_user("ada"), uuid7()
    before = events()

    with context.request_context() as request, as_operator("ticket 7: locked out", operator):
        User.objects.filter(pk=ada.pk).update(account_status="suspended")
    with as_operator("a sweep"):
        User.objects.filter(pk=ada.pk).update(account_status="active")

    first, second = events()[len(before) :]
    assert (first["user_id"], first["actor_id"], first["role"]) == (ada.pk, operator, "operator")
    assert (first["request_id"], first["reason"]) == (request, "ticket 7: locked out")
    assert (first["old"]["account_status"], first["new"]["account_status"]) == (
        "active",
        "suspended",
    )
    assert (second["actor_id"], second["role"], second["reason"]) == (None, "operator", "a sweep")
    assert second["request_id"] == ""


def test_a_request_leaves_nothing_on_the_connection_for_the_next() -> None:
    ada = make_user("ada")
    with context.request_context(), acting_as(ada.pk):
        User.objects.filter(pk=ada.pk).update(metadata={"a": 1})

    bob = make_user("bob")

    event = events()[-1]
    assert (event["row_id"], event["operation"]) == (bob.pk, "INSERT")
    assert (event["actor_id"], event["request_id"]) == (None, "")


def test_a_reason_longer_than_an_event_holds_stops_no_work() -> None:
    ada = make_user("ada")

    with as_operator("why " * 200):
        User.objects.filter(pk=ada.pk).update(account_status="suspended")

    assert events()[-1]["reason"] == ("why " * 200)[:300]
