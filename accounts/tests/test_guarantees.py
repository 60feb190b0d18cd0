"""What the database itself refuses about accounts, whatever the code does."""

from uuid import UUID

import pytest
from psycopg import errors

from accounts.models import PersonalAccessToken, User
from accounts.services.access_tokens import issue_token
from accounts.tests.factories import make_operator, make_user
from common.ids import uuid7
from common.tests.connections import Connection, connect_as, connect_as_superuser, raw_app

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"])

INSERT = "INSERT INTO accounts_user (username, password, role, account_status, metadata)"
INSERT += " VALUES (%s, '', %s, %s, '{}')"


@pytest.mark.parametrize(
    ("role", "status"),
    [("admin", "active"), ("superadmin", "active"), ("user", "suspended"), ("admin", "deleted")],
)
def test_app_makes_nobody_but_plain_active_users(role: str, status: str) -> None:
    with connect_as("default") as raw, pytest.raises(errors.InsufficientPrivilege):
        raw.execute(INSERT.encode(), ["eve", role, status])

    assert not User.objects.exists()


@pytest.mark.parametrize(
    "change", ["role = 'superadmin'", "account_status = 'active'", "created_at = now()"]
)
def test_app_changes_nobodys_standing(change: str) -> None:
    make_user("ada")

    with connect_as("default") as raw, pytest.raises(errors.InsufficientPrivilege):
        raw.execute(f"UPDATE accounts_user SET {change}".encode())

    ada = User.objects.get()
    assert (ada.username, ada.role, ada.account_status) == ("ada", "user", "active")


def test_app_cannot_take_over_an_operator_by_its_password() -> None:
    grace = make_operator("grace")

    for person in (None, grace.pk):
        with raw_app(person) as raw:
            assert raw.execute("UPDATE accounts_user SET password = 'known'").rowcount == 0

    assert User.objects.get().password == grace.password


def test_a_person_changes_the_password_of_nobody_else() -> None:
    ada, bob = make_user("ada"), make_user("bob")

    with raw_app() as raw:
        assert raw.execute("UPDATE accounts_user SET password = 'known'").rowcount == 0
    with raw_app(ada.pk) as raw:
        assert raw.execute("UPDATE accounts_user SET password = 'known'").rowcount == 1

    assert User.objects.get(pk=ada.pk).password == "known"
    assert User.objects.get(pk=bob.pk).password == bob.password


def test_app_deletes_nobody() -> None:
    make_user("ada")

    with connect_as("default") as raw, pytest.raises(errors.InsufficientPrivilege):
        raw.execute("DELETE FROM accounts_user")

    assert User.objects.count() == 1


@pytest.mark.parametrize("name", ["ada", "Ada", "ADA"])
def test_a_username_is_unique_in_any_case(name: str) -> None:
    make_user("ada")

    with connect_as("default") as raw, pytest.raises(errors.UniqueViolation):
        raw.execute(INSERT.encode(), [name, "user", "active"])

    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("role", "status"), [("owner", "active"), ("user", "gone"), ("", "active")]
)
def test_nobody_has_a_role_or_a_status_that_is_unknown(role: str, status: str) -> None:
    with connect_as_superuser() as raw, pytest.raises(errors.CheckViolation):
        raw.execute(INSERT.encode(), ["eve", role, status])


def insert_token(raw: Connection, user_id: UUID) -> None:
    statement = "INSERT INTO accounts_personalaccesstoken (id, user_id, name, digest, hint, scopes)"
    statement += " VALUES (%s, %s, 'forged', %s, 'cp_', '{account:read}')"
    raw.execute(statement.encode(), [uuid7(), user_id, b"0" * 32])


def test_a_person_makes_tokens_for_nobody_else() -> None:
    grace, ada = make_operator("grace"), make_user("ada")

    for person in (None, ada.pk):
        with pytest.raises(errors.InsufficientPrivilege), raw_app(person) as raw:
            insert_token(raw, grace.pk)
    with raw_app(ada.pk) as raw:
        insert_token(raw, ada.pk)

    assert PersonalAccessToken.objects.get().user_id == ada.pk


def test_a_revoked_token_is_never_opened_again() -> None:
    ada = make_user("ada")
    issue_token(user=ada, name="laptop")
    with raw_app(ada.pk) as raw:
        raw.execute("UPDATE accounts_personalaccesstoken SET revoked_at = now()")
    revoked_at = PersonalAccessToken.objects.get().revoked_at

    for person in (None, ada.pk):
        for change in ("revoked_at = NULL", "revoked_at = now()", "last_used_at = now()"):
            with raw_app(person) as raw:
                statement = f"UPDATE accounts_personalaccesstoken SET {change}"
                assert raw.execute(statement.encode()).rowcount == 0

    token = PersonalAccessToken.objects.get()
    assert revoked_at is not None
    assert (token.revoked_at, token.last_used_at) == (revoked_at, None)


def test_only_its_owner_revokes_a_token_and_its_use_is_noted_for_anybody() -> None:
    ada, bob = make_user("ada"), make_user("bob")
    issue_token(user=ada, name="laptop")

    for person in (None, bob.pk):
        with pytest.raises(errors.InsufficientPrivilege), raw_app(person) as raw:
            raw.execute("UPDATE accounts_personalaccesstoken SET revoked_at = now()")
    with raw_app() as raw:
        raw.execute("UPDATE accounts_personalaccesstoken SET last_used_at = now()")

    token = PersonalAccessToken.objects.get()
    assert token.revoked_at is None
    assert token.last_used_at is not None


def test_app_deletes_no_token() -> None:
    ada = make_user("ada")
    issue_token(user=ada, name="laptop")

    with pytest.raises(errors.InsufficientPrivilege), raw_app(ada.pk) as raw:
        raw.execute("DELETE FROM accounts_personalaccesstoken")

    assert PersonalAccessToken.objects.count() == 1
