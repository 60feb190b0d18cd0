import pytest

from accounts.choices import AccountStatus, Role, Scope
from accounts.tests.factories import client_of, logged_in_client_of, make_user

pytestmark = pytest.mark.django_db(transaction=True)

ROUTE = "/api/v1/account/"


def test_a_person_reads_their_own_account() -> None:
    user = make_user("ada")

    answer = client_of(user).get(ROUTE)

    assert answer.status_code == 200
    assert answer.json()["id"] == str(user.pk)
    assert answer.json()["username"] == "ada"
    assert answer.json()["role"] == "user"
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_a_token_without_the_scope_is_refused() -> None:
    answer = client_of(make_user(), Scope.ARCHIVES_READ).get(ROUTE)

    assert answer.status_code == 403
    assert answer.json()["code"] == "permission_denied"


def test_a_person_corrects_their_names_and_the_rest_stays() -> None:
    user = make_user("ada")
    client = logged_in_client_of(user)
    names = {"full_name": "Ada Lovelace", "given_name": "Ada", "family_name": "Lovelace"}

    first = client.patch(ROUTE, names)
    second = client.patch(ROUTE, {"username": "augusta", "family_name": "King"})
    third = client.patch(ROUTE, {"given_name": None})

    assert (first.status_code, second.status_code, third.status_code) == (200, 200, 200)
    expected = {**names, "username": "augusta", "given_name": None, "family_name": "King"}
    for said in (third.json(), client_of(user).get(ROUTE).json()):
        assert {name: said[name] for name in expected} == expected
    user.refresh_from_db()
    assert (user.username, user.full_name, user.family_name) == ("augusta", "Ada Lovelace", "King")


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"username": "bob"}, 409, "username_taken"),
        ({"username": "BOB"}, 409, "username_taken"),
        ({"username": "ada@example.org"}, 400, "invalid_input"),
        ({"username": ""}, 400, "invalid_input"),
        ({"username": "a" * 151}, 400, "invalid_input"),
        ({"full_name": "a" * 256}, 400, "invalid_input"),
    ],
    ids=str,
)
def test_what_cannot_be_taken_changes_nothing(
    given: dict[str, str], status: int, code: str
) -> None:
    make_user("bob")
    user = make_user("ada")

    answer = logged_in_client_of(user).patch(ROUTE, {"given_name": "Augusta", **given})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    user.refresh_from_db()
    assert (user.username, user.given_name, user.full_name) == ("ada", None, None)


def test_what_is_the_houses_to_say_nobody_says_of_themselves() -> None:
    user = make_user("ada")

    logged_in_client_of(user).patch(
        ROUTE, {"role": "superadmin", "account_status": "deleted", "id": "x"}
    )

    before = user.pk
    user.refresh_from_db()
    assert (user.pk, user.role, user.account_status) == (before, Role.USER, AccountStatus.ACTIVE)


@pytest.mark.parametrize(
    ("scope", "code"),
    [(Scope.ACCOUNT_WRITE, "login_required"), (Scope.ACCOUNT_READ, "permission_denied")],
)
def test_nobody_corrects_anything_with_a_personal_token(scope: Scope, code: str) -> None:
    user = make_user("ada")

    answer = client_of(user, scope).patch(ROUTE, {"username": "augusta"})

    assert (answer.status_code, answer.json()["code"]) == (403, code)
    user.refresh_from_db()
    assert user.username == "ada"
