"""What somebody does at the doors of identity is theirs, and their own activity tells of it."""

from collections.abc import Callable

import pytest

from accounts.tests.phones import (
    ADDRESS,
    PASSWORD,
    Phone,
    code_in,
    deliver_mail,
    person_of,
    registered,
)
from accounts.tests.test_second_factors import turn_on
from audit.choices import SecurityKind
from tests.events import security, values

pytestmark = pytest.mark.django_db(transaction=True)

ACTIVITY = "/api/v1/activity/"
NEW_PASSWORD = "a quite different horse"
SECOND = "ada.king@example.org"


# Each returns a device on which its person is logged in afterwards.
Act = Callable[[Phone], Phone]


def say_the_password(phone: Phone) -> Phone:
    assert phone.call("post", "auth/reauthenticate", {"password": PASSWORD}).status_code == 200
    return phone


def change_the_password(phone: Phone) -> Phone:
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert phone.call("post", "account/password/change", body).status_code == 200
    return phone


def reset_the_password(phone: Phone) -> Phone:
    finder = Phone("finder")
    finder.call("post", "auth/password/request", {"email": ADDRESS})
    body = {"key": code_in(deliver_mail()[-1]), "password": NEW_PASSWORD}
    assert finder.call("post", "auth/password/reset", body).status_code == 401
    assert finder.log_in(password=NEW_PASSWORD).status_code == 200
    return finder


def add_an_address(phone: Phone) -> Phone:
    say_the_password(phone)
    assert phone.call("post", "account/email", {"email": SECOND}).status_code == 200
    body = {"key": code_in(deliver_mail()[-1])}
    assert phone.call("post", "auth/email/verify", body).status_code == 200
    return phone


def end_the_others(phone: Phone) -> Phone:
    Phone("tablet").log_in()
    assert phone.call("post", "/api/v1/sessions/revoke-others/").json() == {"ended": 1}
    return phone


def turn_on_a_second_factor(phone: Phone) -> Phone:
    turn_on(phone)
    return phone


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        (SecurityKind.REAUTHENTICATED, say_the_password),
        (SecurityKind.PASSWORD_CHANGED, change_the_password),
        (SecurityKind.PASSWORD_RESET, reset_the_password),
        (SecurityKind.EMAIL_CHANGED, add_an_address),
        (SecurityKind.EMAIL_CONFIRMED, add_an_address),
        (SecurityKind.SESSION_ENDED, end_the_others),
        (SecurityKind.SECOND_FACTOR_CHANGED, turn_on_a_second_factor),
    ],
)
def test_what_somebody_does_is_theirs_and_they_are_told(kind: SecurityKind, act: Act) -> None:
    phone = registered()
    stranger = registered("stranger", "stranger@example.org")
    deliver_mail()
    ada, before = person_of(phone).pk, len(security(kind))

    reader = act(phone)

    noted = security(kind)[before:]
    assert set(values(noted, "user_id", "actor_id")) == {(ada, ada)}
    ids = {str(event["id"]) for event in noted}
    assert ids <= ids_told_to(reader)
    assert not ids & ids_told_to(stranger)


def test_a_wrong_code_is_told_to_whose_account_it_was_for() -> None:
    phone = registered()
    turn_on(phone)
    thief = Phone("thief")
    thief.log_in()

    assert thief.call("post", "auth/2fa/authenticate", {"code": "000000"}).status_code == 400

    (noted,) = security(SecurityKind.SECOND_FACTOR_FAILED)
    assert noted["user_id"] == person_of(phone).pk
    assert str(noted["id"]) in ids_told_to(phone)


def ids_told_to(phone: Phone) -> set[str]:
    answer = phone.call("get", ACTIVITY)
    assert answer.status_code == 200, answer.content
    return {row["id"] for row in answer.json()["results"]}
