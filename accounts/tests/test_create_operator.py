import io
import sys

import pytest
from django.core.management import CommandError, call_command

from accounts.choices import Role
from accounts.errors import UsernameTakenError, WeakPasswordError
from accounts.models import User
from accounts.services.users import create_operator, find_user
from accounts.tests.factories import PASSWORD, make_operator, make_user
from common.errors import InvalidInputError, NotFoundError
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"])


def test_an_operator_has_the_role_and_the_password() -> None:
    create_operator(username="grace", password=PASSWORD, role=Role.ADMIN)

    grace = User.objects.get()
    assert (grace.username, grace.role, grace.account_status) == ("grace", "admin", "active")
    assert grace.password.startswith("argon2$argon2id$")
    assert grace.check_password(PASSWORD)
    assert (grace.is_staff, grace.is_superuser) == (True, False)


@pytest.mark.parametrize("password", ["", "short", "password123", "1234567890123", "grace-hopper"])
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(WeakPasswordError) as caught:
        create_operator(username="grace-hopper", password=password)

    assert caught.value.detail
    assert not User.objects.exists()


@pytest.mark.parametrize("name", ["grace", "GRACE"])
def test_a_taken_name_is_refused_in_any_case_and_changes_nothing(name: str) -> None:
    before = make_operator("grace").password

    with pytest.raises(UsernameTakenError) as caught:
        create_operator(username=name, password="another " + PASSWORD)

    assert caught.value.detail == f"Choose another username than {name}."
    assert User.objects.get().password == before


def test_the_name_of_a_plain_user_is_taken_too_and_gains_no_role() -> None:
    make_user("ada")

    with pytest.raises(UsernameTakenError):
        create_operator(username="ada", password=PASSWORD)

    assert User.objects.get().role == "user"


@pytest.mark.parametrize("name", ["", "with space", "grace@example.org", "x" * 151, "new\nline"])
def test_a_name_that_nobody_could_type_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        create_operator(username=name, password=PASSWORD)

    assert not User.objects.exists()


def test_four_at_once_make_one() -> None:
    names = ["grace", "Grace", "grace", "GRACE"]

    outcomes = at_once(
        [lambda name=name: create_operator(username=name, password=PASSWORD) for name in names]  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    )

    assert sum(isinstance(outcome, User) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, UsernameTakenError) for outcome in outcomes) == 3
    assert User.objects.count() == 1


def test_the_command_reads_the_password_from_standard_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))

    call_command("create_operator", "grace", stdout=output)

    assert output.getvalue() == "grace may now log in.\n"
    assert User.objects.get().check_password(PASSWORD)
    assert User.objects.get().role == "superadmin"


def test_the_command_says_why_it_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))

    with pytest.raises(CommandError, match="too short"):
        call_command("create_operator", "grace")

    assert not User.objects.exists()


def test_an_unknown_user_is_named() -> None:
    with pytest.raises(NotFoundError) as caught:
        find_user("nobody")

    assert caught.value.detail == "There is no user called nobody."
    assert caught.value.code == "unknown_user"
