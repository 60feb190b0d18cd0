"""The API's base views: a person sees their own, a stranger's is not there."""

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.factories import client_of, make_user
from common.tenancy import acting_as
from tests.things import keep_key, keys_seen, setting

pytestmark = pytest.mark.urls("tests.urls")


@pytest.fixture
def ada(db: None) -> User:
    return make_user("ada")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob")


@pytest.mark.django_db
@pytest.mark.parametrize("resource", ["keys", "careless"])
def test_two_requests_in_one_transaction_see_each_their_own(
    ada: User, bob: User, resource: str
) -> None:
    keep_key(ada.pk, "of ada")
    keep_key(bob.pk, "of bob")

    for _ in range(2):
        for person in (ada, bob):
            answer = client_of(person).get(f"/api/{resource}/")

            assert answer.status_code == 200
            assert [row["key"] for row in answer.json()["results"]] == [f"of {person.username}"]
            assert setting() == ""


@pytest.mark.django_db
@pytest.mark.parametrize("resource", ["keys", "careless"])
def test_a_strangers_row_is_not_there(ada: User, bob: User, resource: str) -> None:
    row = keep_key(ada.pk, "of ada")

    mine = client_of(ada).get(f"/api/{resource}/{row.pk}/")
    theirs = client_of(bob).get(f"/api/{resource}/{row.pk}/")

    assert (mine.status_code, mine.json()["key"]) == (200, "of ada")
    assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_a_view_that_writes_for_another_is_refused_by_the_database_as_missing(
    ada: User, bob: User
) -> None:
    answer = client_of(ada).post("/api/keys/", {"user_id": str(bob.pk)})

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert answer.json()["detail"] == "There is no such thing, or it is not yours."
    for person in (ada, bob):
        with acting_as(person.pk):
            assert keys_seen() == []


@pytest.mark.django_db(transaction=True)
def test_two_streams_read_in_turns_bring_each_their_own(ada: User, bob: User) -> None:
    for number in range(3):
        keep_key(ada.pk, f"ada {number}")
        keep_key(bob.pk, f"bob {number}")

    streams = [client_of(person).get("/api/stream/") for person in (ada, bob)]
    turns = list(zip(*streams, strict=True))

    assert turns == [
        (f"ada {number}\n".encode(), f"bob {number}\n".encode()) for number in range(3)
    ]


@pytest.mark.django_db
def test_without_a_token_nothing_is_shown(ada: User) -> None:
    answer = APIClient().get("/api/keys/")

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Bearer realm="commonplace"'
    assert answer.json()["code"] == "not_authenticated"
