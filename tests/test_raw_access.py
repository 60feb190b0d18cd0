"""The database by itself, without Django: what the login `app` sees and may do."""

from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from accounts.tests.factories import make_user
from common.tests.connections import connect_as, connect_as_superuser, raw_app
from common.tests.races import at_once
from tests.things import insert_key, keys_seen_by

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"])

TENANT_TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid
    WHERE p.polname = 'tenant' ORDER BY 1
"""


@pytest.fixture
def ada() -> UUID:
    return UUID(str(make_user("ada").pk))


@pytest.fixture
def bob() -> UUID:
    return UUID(str(make_user("bob").pk))


def test_without_a_person_no_table_shows_a_row(ada: UUID) -> None:
    with raw_app(ada) as raw:
        insert_key(raw, ada, "k")
    with connect_as_superuser() as superuser:
        tables = [str(name) for (name,) in superuser.execute(TENANT_TABLES).fetchall()]

    assert len(tables) >= 13
    with raw_app() as raw:
        for table in tables:
            assert raw.execute(f"SELECT * FROM {table}".encode()).fetchall() == []


def test_without_a_person_nothing_is_inserted(ada: UUID) -> None:
    with pytest.raises(errors.InsufficientPrivilege), raw_app() as raw:
        insert_key(raw, ada, "k")

    with raw_app(ada) as raw:
        assert keys_seen_by(raw) == []


def test_an_empty_person_is_nobody(ada: UUID) -> None:
    with raw_app(ada) as raw:
        insert_key(raw, ada, "k")

    with raw_app("") as raw:
        assert keys_seen_by(raw) == []
    with pytest.raises(errors.InsufficientPrivilege), raw_app("") as raw:
        insert_key(raw, ada, "other")


@pytest.mark.parametrize("person", ["somebody", "' OR true --", "%", "null", " "])
def test_a_malformed_person_is_an_error_and_never_everybody(ada: UUID, person: str) -> None:
    with raw_app(ada) as raw:
        insert_key(raw, ada, "k")

    with pytest.raises(errors.InvalidTextRepresentation), raw_app(person) as raw:
        keys_seen_by(raw)


def test_a_row_cannot_be_given_to_or_taken_from_another(ada: UUID, bob: UUID) -> None:
    statement = "INSERT INTO dedup_conversation (user_id, source, native_key, parent_key, title,"
    statement += (
        " project, total_messages, metadata) VALUES (%s, 'claude_code', 'k', '', '', '', 0, '{}')"
    )
    with raw_app(ada) as raw:
        raw.execute(statement.encode(), [ada])

    with pytest.raises(errors.InsufficientPrivilege), raw_app(ada) as raw:
        raw.execute("UPDATE dedup_conversation SET user_id = %s", [bob])
    with raw_app(bob) as raw:
        assert raw.execute("UPDATE dedup_conversation SET title = 'mine'").rowcount == 0
    with raw_app(ada) as raw:
        assert raw.execute("SELECT user_id, title FROM dedup_conversation").fetchall() == [
            (ada, "")
        ]


def test_the_key_of_a_stranger_may_be_used_and_says_nothing(ada: UUID, bob: UUID) -> None:
    for person in (ada, bob):
        with raw_app(person) as raw:
            insert_key(raw, person, "the same")

    with pytest.raises(errors.UniqueViolation), raw_app(ada) as raw:
        insert_key(raw, ada, "the same")


# No policy stands in the way of these constraints, and nobody can guess what they compare.
SECRETS_OF_THEIR_OWN = {
    "accounts_erasurerequest: accounts_erasurerequest_token_digest_key",
    "accounts_exportrequest: accounts_exportrequest_link_digest_key",
    "accounts_subscription: subscription_of_one_account",
}


def test_no_unique_constraint_reaches_across_people() -> None:
    """Such a constraint would answer whether a stranger has something."""
    query = """
        SELECT format('%s: %s', c.conrelid::regclass, c.conname) FROM pg_constraint c
        JOIN pg_policy p ON p.polrelid = c.conrelid AND p.polname = 'tenant'
        WHERE c.contype = 'u' AND NOT EXISTS (
            SELECT FROM pg_attribute a
            LEFT JOIN pg_constraint f ON f.conrelid = c.conrelid AND f.contype = 'f'
                 AND a.attnum = ANY (f.conkey) AND array_length(f.conkey, 1) = 2
            WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
              AND (a.attname = 'user_id' OR f.oid IS NOT NULL))
    """
    with connect_as_superuser() as superuser:
        found = superuser.execute(query.encode()).fetchall()
    # Keyed digests of what only its owner and a store, or the house, can name.
    assert {str(name) for (name,) in found} == SECRETS_OF_THEIR_OWN


def test_logs_and_messages_cannot_be_changed_even_by_the_owner(ada: UUID) -> None:
    with raw_app(ada) as raw:
        raw.execute(
            "INSERT INTO dedup_record (user_id, sha256, raw) VALUES (%s, '\\x00', '\\x00')", [ada]
        )
    statements = (
        "UPDATE dedup_record SET raw = ''",
        "DELETE FROM dedup_record",
        "TRUNCATE dedup_record CASCADE",
    )

    for statement in statements:
        with connect_as("owner") as owner, pytest.raises(errors.RestrictViolation):
            owner.execute(statement.encode())
        with raw_app(ada) as raw, pytest.raises(errors.InsufficientPrivilege):
            raw.execute(statement.encode())
    with raw_app(ada) as raw:
        assert raw.execute("SELECT raw FROM dedup_record").fetchall() == [(b"\x00",)]


@pytest.mark.parametrize("role", ["operator", "owner", "definer", "backup", "postgres"])
def test_app_cannot_become_another_role(role: str) -> None:
    with raw_app() as raw, pytest.raises(errors.InsufficientPrivilege):
        raw.execute(f"SET ROLE {role}".encode())


@pytest.mark.parametrize(
    "statement",
    [
        "SET row_security = off; SELECT * FROM dedup_record",
        "ALTER TABLE dedup_record DISABLE ROW LEVEL SECURITY",
        "SET session_replication_role = replica",
        "CREATE TABLE public.mine ()",
        "SELECT * FROM django_admin_log",
        "SELECT * FROM auth_group",
        "DELETE FROM accounts_user",
        "COPY dedup_record TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_app_cannot_step_around_its_policies(statement: str) -> None:
    with raw_app(uuid4()) as raw, pytest.raises(psycopg.errors.InsufficientPrivilege):
        raw.execute(statement.encode())


def test_sixteen_sessions_with_a_person_each_never_meet() -> None:
    people = [make_user().pk for _ in range(16)]

    def live_of(person: UUID) -> Callable[[], list[list[object]]]:
        def live() -> list[list[object]]:
            seen = []
            with connect_as("default") as raw:
                for number in range(15):
                    with raw.transaction():
                        raw.execute("SELECT set_config('app.user_id', %s, true)", [str(person)])
                        insert_key(raw, person, f"{person} {number:02}")
                        seen.append(keys_seen_by(raw))
                    assert keys_seen_by(raw) == []
            return seen

        return live

    outcomes = at_once([live_of(person) for person in people])

    for person, seen in zip(people, outcomes, strict=True):
        assert seen == [[f"{person} {n:02}" for n in range(last + 1)] for last in range(15)]


def test_the_operator_sees_everything_and_writes_only_what_is_granted(ada: UUID, bob: UUID) -> None:
    for person in (ada, bob):
        with raw_app(person) as raw:
            insert_key(raw, person, f"of {person}")

    with connect_as("operator") as operator:
        assert len(keys_seen_by(operator)) == 2
        with pytest.raises(errors.InsufficientPrivilege):
            insert_key(operator, ada, "forged")
        with pytest.raises(errors.InsufficientPrivilege):
            operator.execute("UPDATE accounts_recordedanswer SET key = 'x'")
        with pytest.raises(errors.InsufficientPrivilege):
            operator.execute("DELETE FROM dedup_import")
        with pytest.raises(errors.InsufficientPrivilege):
            operator.execute("DELETE FROM accounts_user")
        assert operator.execute("DELETE FROM accounts_recordedanswer").rowcount == 2


def test_the_backup_role_reads_everything_and_the_metrics_role_no_row(ada: UUID) -> None:
    with raw_app(ada) as raw:
        insert_key(raw, ada, "k")

    with connect_as_superuser() as superuser:
        superuser.execute("SET ROLE backup")
        assert keys_seen_by(superuser) == ["k"]
        with pytest.raises(errors.InsufficientPrivilege):
            insert_key(superuser, ada, "forged")
        superuser.execute("SET ROLE metrics")
        with pytest.raises(errors.InsufficientPrivilege):
            keys_seen_by(superuser)
