import pytest

from accounts.choices import Scope
from accounts.tests.factories import client_of, make_user

pytestmark = pytest.mark.django_db


def test_a_person_reads_their_own_account() -> None:
    user = make_user("ada")

    answer = client_of(user).get("/api/v1/account/")

    assert answer.status_code == 200
    assert answer.json()["id"] == str(user.pk)
    assert answer.json()["username"] == "ada"
    assert answer.json()["role"] == "user"
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_a_token_without_the_scope_is_refused() -> None:
    answer = client_of(make_user(), Scope.ARCHIVES_READ).get("/api/v1/account/")

    assert answer.status_code == 403
    assert answer.json()["code"] == "permission_denied"
