"""What the database itself refuses about accounts, whatever the code does."""

import pytest
from psycopg import errors

from accounts.models import User
from accounts.tests.factories import make_operator, make_user
from common.tests.connections import connect_as, connect_as_superuser

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
    "change", ["role = 'superadmin'", "account_status = 'active'", "username = 'eve'"]
)
def test_app_changes_nobodys_standing_or_name(change: str) -> None:
    make_user("ada")

    with connect_as("default") as raw, pytest.raises(errors.InsufficientPrivilege):
        raw.execute(f"UPDATE accounts_user SET {change}".encode())

    ada = User.objects.get()
    assert (ada.username, ada.role, ada.account_status) == ("ada", "user", "active")


def test_app_cannot_take_over_an_operator_by_its_password() -> None:
    before = make_operator("grace").password
    make_user("ada")

    with connect_as("default") as raw:
        changed = raw.execute("UPDATE accounts_user SET password = 'known'").rowcount

    assert changed == 1
    assert User.objects.get(username="grace").password == before
    assert User.objects.get(username="ada").password == "known"


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
