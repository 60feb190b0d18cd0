"""Settings that frontends keep for people."""

import json
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils.dateparse import parse_datetime
from psycopg import errors
from rest_framework.test import APIClient

from accounts.choices import Scope
from accounts.models import Preference, User
from accounts.services import preferences
from accounts.services.preferences import change_preferences, set_preference
from accounts.tests.factories import client_of, logged_in_client_of, make_user
from common.api.parsing import LARGEST_BODY_BYTES
from common.errors import InvalidInputError
from common.tenancy import acting_as
from common.tests.connections import raw_app
from common.tests.races import at_once

pytestmark = pytest.mark.django_db

URL = "/api/v1/preferences/"


@pytest.fixture
def ada() -> User:
    return make_user("ada")


@pytest.fixture
def client(ada: User) -> APIClient:
    return client_of(ada)


def kept_by(user: User) -> dict[str, Any]:
    with acting_as(user.pk):
        return dict(Preference.objects.values_list("key", "value"))


def put(client: APIClient, key: str, value: Any) -> Any:
    return client.put(f"{URL}{key}/", {"value": value})


def send(client: APIClient, path: str, body: str, verb: str = "PUT") -> Any:
    return client.generic(verb, path, body, content_type="application/json")


# --- One --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "dark",
        "",
        0,
        -1.5,
        False,
        True,
        [],
        {},
        {"mail": {"weekly": None, "daily": ["mon", 7]}},
        "ж𝄞",
    ],
)
def test_a_preference_is_shown_as_it_was_set(ada: User, client: APIClient, value: Any) -> None:
    answer = put(client, "theme", value)

    assert answer.status_code == 200
    assert sorted(answer.json()) == ["key", "updated_at", "value"]
    assert (answer.json()["key"], answer.json()["value"]) == ("theme", value)
    assert client.get(f"{URL}theme/").json() == answer.json()
    assert client.get(URL).json() == {
        "theme": {"value": value, "updated_at": answer.json()["updated_at"]}
    }
    assert kept_by(ada) == {"theme": value}


def test_to_set_it_again_takes_its_place(ada: User, client: APIClient) -> None:
    first = put(client, "theme", {"name": "dark", "contrast": 2}).json()

    second = put(client, "theme", {"name": "light"}).json()

    assert kept_by(ada) == {"theme": {"name": "light"}}
    before, after = parse_datetime(first["updated_at"]), parse_datetime(second["updated_at"])
    assert before is not None
    assert after is not None
    assert before < after


def test_a_forgotten_preference_is_gone(ada: User, client: APIClient) -> None:
    put(client, "theme", "dark")
    put(client, "language", "fr")

    answers = [client.delete(f"{URL}theme/") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 404]
    assert answers[1].json()["code"] == "not_found"
    assert client.get(f"{URL}theme/").status_code == 404
    assert kept_by(ada) == {"language": "fr"}


@pytest.mark.parametrize("key", ["t", "default_view", "notifications.mail.weekly", "v2", "k" * 100])
def test_names_may_have_letters_digits_dots_and_underscores(
    ada: User, client: APIClient, key: str
) -> None:
    assert put(client, key, 1).status_code == 200
    assert kept_by(ada) == {key: 1}


@pytest.mark.parametrize(
    "key", ["Theme", "2fa", "_x", ".x", "a-b", "a b", "é", "k" * 101, "a%00", "a%0A", "a:b"]
)
def test_another_name_is_refused(ada: User, client: APIClient, key: str) -> None:
    answer = put(client, key, 1)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert answer.json()["errors"][0]["field"] == "key"
    assert client.get(f"{URL}{key}/").status_code == 404
    assert kept_by(ada) == {}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("null", "null"),
        (r'"a\u0000b"', "invalid"),
        (r'"\ud800"', "invalid"),
        (r'{"\udfff": 1}', "invalid"),
        (r'[[{"a": "\u0000"}]]', "invalid"),
        ("1e999", "invalid"),
        ("[-1e999]", "invalid"),
        ("[" * 33 + "]" * 33, "invalid"),
        ('{"a":' * 32 + "[1]" + "}" * 32, "invalid"),
    ],
)
def test_a_value_that_cannot_be_kept_is_refused(
    ada: User, client: APIClient, value: str, code: str
) -> None:
    put(client, "theme", "dark")

    answer = send(client, f"{URL}theme/", f'{{"value": {value}}}')

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [("value", code)]
    assert kept_by(ada) == {"theme": "dark"}


@pytest.mark.parametrize("depth", [100, 900, 950, 980, 1_000, 100_000])
def test_a_body_that_is_nested_without_end_is_refused(
    ada: User, client: APIClient, depth: int
) -> None:
    body = '{"value": ' + "[" * depth + "]" * depth + "}"

    assert send(client, f"{URL}theme/", body).status_code == 400
    assert send(client, URL, body, "PATCH").status_code == 400
    assert kept_by(ada) == {}


@pytest.mark.parametrize("body", ["", "{}", "[]", '"x"', "7", "null", "{", '{"value": NaN}'])
def test_a_body_without_a_value_is_refused(ada: User, client: APIClient, body: str) -> None:
    assert send(client, f"{URL}theme/", body).status_code == 400
    assert kept_by(ada) == {}


@pytest.mark.parametrize("letter", ["x", "é", '"'])
def test_a_value_has_at_most_16384_bytes(ada: User, client: APIClient, letter: str) -> None:
    of_one = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
    longest = letter * ((16_384 - 2) // of_one)

    assert put(client, "theme", longest).status_code == 200
    answer = put(client, "theme", longest + letter)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "too_large")
    assert kept_by(ada) == {"theme": longest}


def test_numbers_count_as_the_database_writes_them(ada: User, client: APIClient) -> None:
    assert put(client, "theme", [1e300] * 50).status_code == 200
    assert put(client, "theme", [1e300] * 60).status_code == 400
    assert kept_by(ada) == {"theme": [10**300] * 50}


def test_a_body_has_at_most_four_mebibytes(ada: User, client: APIClient) -> None:
    answer = send(client, URL, " " * (LARGEST_BODY_BYTES + 1), "PATCH")

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


# --- Several ----------------------------------------------------------------------------------


def test_a_patch_sets_forgets_and_leaves_alone(ada: User, client: APIClient) -> None:
    change_preferences(
        user_id=ada.pk, changes={"theme": {"name": "dark", "size": 2}, "language": "fr", "view": 1}
    )
    changes = {"theme": {"name": None}, "language": None, "unknown": None, "notifications": True}

    answer = client.patch(URL, changes)

    assert answer.status_code == 200
    expected = {"theme": {"name": None}, "view": 1, "notifications": True}
    assert {key: entry["value"] for key, entry in answer.json().items()} == expected
    assert list(answer.json()) == sorted(expected)
    assert kept_by(ada) == expected
    assert client.get(URL).json() == answer.json()


def test_an_empty_patch_changes_nothing(ada: User, client: APIClient) -> None:
    put(client, "theme", "dark")
    before = client.get(URL).json()

    assert client.patch(URL, {}).json() == before


@pytest.mark.parametrize(
    "bad",
    [{"Theme": 1}, {"Theme": None}, {"a": "x" * 16_383}, {"a": "\0"}, {"a": "\ud800"}],
)
def test_a_patch_with_one_bad_change_changes_nothing(
    ada: User, client: APIClient, bad: dict[str, Any]
) -> None:
    change_preferences(user_id=ada.pk, changes={"theme": "dark", "language": "fr"})

    answer = send(client, URL, json.dumps({"theme": "light", "language": None, **bad}), "PATCH")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert kept_by(ada) == {"theme": "dark", "language": "fr"}


@pytest.mark.parametrize("body", ["[]", '"x"', "7", "null", "{"])
def test_a_patch_is_an_object(ada: User, client: APIClient, body: str) -> None:
    put(client, "theme", "dark")

    assert send(client, URL, body, "PATCH").status_code == 400
    assert kept_by(ada) == {"theme": "dark"}


def test_a_person_has_at_most_200(ada: User, client: APIClient) -> None:
    full = {f"key{number}": number for number in range(200)}
    assert client.patch(URL, full).status_code == 200

    for answer in (put(client, "more", 1), client.patch(URL, {"key0": "other", "more": 1})):
        assert (answer.status_code, answer.json()["code"]) == (409, "too_many_preferences")
    assert client.patch(URL, {f"k{n}": 1 for n in range(201)}).status_code == 409
    assert kept_by(ada) == full
    # What is there may change, and one may take another's place.
    assert put(client, "key0", "other").status_code == 200
    assert client.patch(URL, {"key1": None, "more": 1}).status_code == 200
    assert put(client_of(make_user("bob")), "theme", "dark").status_code == 200
    assert len(kept_by(ada)) == 200


# --- Whose ------------------------------------------------------------------------------------


def test_each_has_their_own(ada: User, client: APIClient) -> None:
    bob = make_user("bob")
    stranger = client_of(bob)
    put(client, "theme", "dark")

    assert stranger.get(URL).json() == {}
    assert stranger.get(f"{URL}theme/").status_code == 404
    assert stranger.delete(f"{URL}theme/").status_code == 404
    assert stranger.patch(URL, {"theme": None}).json() == {}
    assert put(stranger, "theme", "light").status_code == 200
    assert (kept_by(ada), kept_by(bob)) == ({"theme": "dark"}, {"theme": "light"})


def test_a_token_needs_the_scope_and_a_login_has_it(ada: User) -> None:
    reader = client_of(ada, Scope.ACCOUNT_READ)
    login = logged_in_client_of(ada)
    assert put(login, "theme", "dark").status_code == 200

    assert reader.get(URL).status_code == 200
    refused = [
        put(reader, "theme", "light"),
        reader.delete(f"{URL}theme/"),
        reader.patch(URL, {"theme": None}),
        client_of(ada, Scope.ARCHIVES_READ).get(URL),
        client_of(ada, Scope.ACCOUNT_WRITE).get(f"{URL}theme/"),
    ]

    assert [answer.json()["code"] for answer in refused] == ["permission_denied"] * 5
    assert kept_by(ada) == {"theme": "dark"}


@pytest.mark.django_db(transaction=True)
def test_the_database_lets_nobody_change_a_strangers(ada: User) -> None:
    set_preference(user_id=ada.pk, key="theme", value="dark")
    bob = make_user("bob")

    with raw_app(bob.pk) as raw:
        assert raw.execute("UPDATE accounts_preference SET value = '1'").rowcount == 0
        assert raw.execute("DELETE FROM accounts_preference").rowcount == 0
    with pytest.raises(errors.InsufficientPrivilege), raw_app(bob.pk) as raw:
        raw.execute(
            "INSERT INTO accounts_preference (user_id, key, value, updated_at)"
            " VALUES (%s, 'view', '1', now())",
            [ada.pk],
        )
    with pytest.raises(errors.InsufficientPrivilege), raw_app(ada.pk) as raw:
        raw.execute("UPDATE accounts_preference SET key = 'view'")

    assert kept_by(ada) == {"theme": "dark"}


@pytest.mark.parametrize(
    ("key", "value"), [("Theme", "1"), ("", "1"), ("a\n", "1"), ("theme", f'"{"x" * 16_383}"')]
)
def test_the_database_keeps_no_other_name_and_no_larger_value(
    ada: User, key: str, value: str
) -> None:
    insert = "INSERT INTO accounts_preference (user_id, key, value, updated_at)"
    insert += " VALUES (%s, %s, %s, now())"

    with pytest.raises(Exception, match="preference_"), acting_as(ada.pk), transaction.atomic():
        connection.cursor().execute(insert, [ada.pk, key, value])


# --- At once, and how much --------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_many_who_set_one_at_once_leave_one(ada: User) -> None:
    def setting(number: int) -> Any:
        return lambda: set_preference(user_id=ada.pk, key="theme", value=number).key

    outcomes = at_once([setting(number) for number in range(8)])

    assert outcomes == ["theme"] * 8
    assert list(kept_by(ada)) == ["theme"]
    assert kept_by(ada)["theme"] in range(8)


@pytest.mark.django_db(transaction=True)
def test_many_at_once_do_not_pass_the_limit(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferences, "MOST_PREFERENCES", 5)

    def setting(number: int) -> Any:
        return lambda: set_preference(user_id=ada.pk, key=f"key{number}", value=1).key

    outcomes = at_once([setting(number) for number in range(8)])

    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        *["TooManyPreferencesError"] * 3, *["str"] * 5,
    ]  # fmt: skip
    assert len(kept_by(ada)) == 5


def test_none_is_no_value_of_a_service(ada: User) -> None:
    set_preference(user_id=ada.pk, key="theme", value="dark")

    with pytest.raises(InvalidInputError):
        set_preference(user_id=ada.pk, key="theme", value=None)

    assert kept_by(ada) == {"theme": "dark"}


def test_more_preferences_cost_no_more_queries(
    ada: User, client: APIClient, django_assert_num_queries: Any
) -> None:
    put(client, "theme", "dark")
    # Token; savepoint, setting before, setting, the rows, setting after, release.
    with django_assert_num_queries(7):
        client.get(URL)
    change_preferences(user_id=ada.pk, changes={f"key{number}": number for number in range(50)})

    with django_assert_num_queries(7):
        assert len(client.get(URL).json()) == 51


def test_several_are_set_by_one_statement(
    ada: User, client: APIClient, django_assert_num_queries: Any
) -> None:
    client.get(URL)

    # Twice acting_as (5 each) and the token; lock, upsert and count; the list.
    with django_assert_num_queries(15):
        client.patch(URL, {f"key{number}": number for number in range(50)})
