"""Logging in and out, on several devices, and what ends a login."""

from datetime import timedelta

import bcrypt
import pytest
from django.contrib.auth.hashers import identify_hasher
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.choices import AccountStatus, Role, SessionEnd
from accounts.models import DeviceSession, StoredSession, User
from accounts.session_tokens import GRACE
from accounts.tests.factories import make_user
from accounts.tests.phones import (
    ADDRESS,
    PASSWORD,
    Phone,
    code_in,
    deliver_mail,
    person_of,
    registered,
)
from audit.choices import SecurityKind
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser
from common.tests.races import at_once
from tests.events import security

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

ACCOUNT = "/api/v1/account/"
SESSIONS = "/api/v1/sessions/"


@pytest.fixture
def phone() -> Phone:
    return registered()


def opens(phone: Phone) -> int:
    return int(phone.call("get", ACCOUNT).status_code)


def set_status(user: User, status: AccountStatus) -> None:
    with as_operator("test"):
        User.objects.filter(pk=user.pk).update(account_status=status)


def test_two_devices_have_a_session_each(phone: Phone) -> None:
    tablet = Phone("tablet")

    assert tablet.log_in().status_code == 200

    seen = tablet.call("get", SESSIONS).json()["results"]
    assert [(row["device_name"], row["is_current"], row["is_going_on"]) for row in seen] == [
        ("tablet", True, True),
        ("phone", False, True),
    ]
    assert seen[0]["agent"] == "Commonplace/1 (Ada's iPhone)"
    assert (opens(phone), opens(tablet)) == (200, 200)


def test_a_login_on_the_same_device_replaces_the_one_before(phone: Phone) -> None:
    again = Phone("phone")

    again.log_in()

    assert (opens(phone), opens(again)) == (401, 200)
    assert phone.refresh().status_code == 400
    ended = DeviceSession.objects.exclude(ended_at=None).get()
    assert ended.ended_because == SessionEnd.REPLACED


def test_a_revoked_session_opens_nothing_from_that_moment(phone: Phone) -> None:
    tablet = Phone("tablet")
    tablet.log_in()
    (other,) = [row["id"] for row in tablet.call("get", SESSIONS).json()["results"][1:]]

    assert tablet.call("post", f"{SESSIONS}{other}/revoke/").status_code == 204

    assert (opens(phone), opens(tablet)) == (401, 200)
    assert phone.refresh().status_code == 400
    assert phone.call("get", "auth/session").status_code == 410
    assert StoredSession.objects.count() == 1


def test_all_others_are_revoked_at_once(phone: Phone) -> None:
    others = [Phone(f"device {number}") for number in range(3)]
    for other in others:
        other.log_in()

    answer = phone.call("post", f"{SESSIONS}revoke-others/")

    assert answer.json() == {"ended": 3}
    assert [opens(other) for other in others] == [401, 401, 401]
    assert opens(phone) == 200


def test_nobody_revokes_the_session_of_a_stranger(phone: Phone) -> None:
    stranger = registered("stranger", "stranger@example.org")
    (session,) = [row["id"] for row in phone.call("get", SESSIONS).json()["results"]]

    assert stranger.call("post", f"{SESSIONS}{session}/revoke/").status_code == 404
    assert stranger.call("get", f"{SESSIONS}{session}/").status_code == 404

    assert opens(phone) == 200


def test_logging_out_ends_the_session(phone: Phone) -> None:
    access = phone.access_token

    assert phone.log_out().status_code == 401

    phone.access_token = access
    assert opens(phone) == 401
    assert phone.refresh().status_code == 400


@pytest.mark.parametrize(
    "status", [AccountStatus.SUSPENDED, AccountStatus.DEACTIVATED, AccountStatus.DELETED]
)
def test_an_account_that_is_not_active_opens_nothing(phone: Phone, status: AccountStatus) -> None:
    user = person_of(phone)

    set_status(user, status)

    assert opens(phone) == 401
    assert phone.refresh().status_code == 400
    assert phone.call("get", "account/email").status_code in {401, 410}


def test_the_token_of_somebody_who_is_gone_opens_nothing(phone: Phone) -> None:
    user = person_of(phone)
    with as_operator("test"):
        DeviceSession.objects.filter(user=user).delete()

    assert opens(phone) == 401
    assert phone.call("get", "account/email").status_code in {401, 410}


def test_an_access_token_runs_out(phone: Phone, settings: object) -> None:
    settings.ACCESS_TOKEN_SECONDS = -1  # type: ignore[attr-defined]
    phone.refresh()
    assert opens(phone) == 401

    settings.ACCESS_TOKEN_SECONDS = 900  # type: ignore[attr-defined]
    assert phone.refresh().status_code == 200
    assert opens(phone) == 200


def test_a_refresh_token_is_exchanged(phone: Phone) -> None:
    former = phone.refresh_token

    answer = phone.refresh()

    assert answer.status_code == 200
    assert phone.refresh_token != former
    assert opens(phone) == 200


def test_eight_refreshes_at_once_have_one_successor(phone: Phone) -> None:
    token, name = phone.refresh_token, phone.name

    def refresh() -> str:
        device = Phone(name, refresh_token=token)
        assert device.refresh().status_code == 200
        return device.refresh_token

    successors = at_once([refresh] * 8)

    assert len(set(successors)) == 1
    assert DeviceSession.objects.get().generation == 1


def test_a_lost_answer_is_given_again_and_a_late_replay_ends_the_session(phone: Phone) -> None:
    former = phone.refresh_token
    phone.refresh()
    successor = phone.refresh_token

    repeated = Phone(refresh_token=former)
    assert repeated.refresh().status_code == 200
    assert repeated.refresh_token == successor

    with acting_as(DeviceSession.objects.get().user_id):
        DeviceSession.objects.update(rotated_at=timezone.now() - GRACE - timedelta(seconds=1))
    thief = Phone(refresh_token=former)
    assert thief.refresh().status_code == 400

    assert phone.refresh().status_code == 400
    assert opens(phone) == 401
    assert DeviceSession.objects.get().ended_because == SessionEnd.REFRESH_REUSED
    assert len(security(SecurityKind.REFRESH_REUSED)) == 1


def test_an_older_token_ends_the_session_even_within_the_grace(phone: Phone) -> None:
    first = phone.refresh_token
    phone.refresh()
    phone.refresh()

    assert Phone(refresh_token=first).refresh().status_code == 400

    assert opens(phone) == 401


@pytest.mark.parametrize("spoil", ["", "x", "cpr_", "cpr_AAAA", "cpr_" + "A" * 70, "cpr_é"])
def test_what_is_no_refresh_token_ends_nothing(phone: Phone, spoil: str) -> None:
    assert Phone(refresh_token=spoil).refresh().status_code == 400
    assert opens(phone) == 200


def test_a_session_ends_after_its_longest_time_however_often_it_is_refreshed(phone: Phone) -> None:
    soon = timezone.now() + timedelta(hours=1)
    with connect_as_superuser() as database:
        database.execute(
            "UPDATE accounts_devicesession SET latest_at = %s, expires_at = %s", [soon, soon]
        )

    assert phone.refresh().status_code == 200

    assert DeviceSession.objects.get().expires_at == soon


def test_a_changed_password_ends_every_other_session(phone: Phone) -> None:
    tablet = Phone("tablet")
    tablet.log_in()

    answer = phone.call(
        "post",
        "account/password/change",
        {"current_password": PASSWORD, "new_password": "a quite different horse"},
    )

    assert answer.status_code == 200, answer.content
    assert (opens(phone), opens(tablet)) == (200, 401)
    assert Phone("new").log_in(password=PASSWORD).status_code == 400
    assert Phone("new").log_in(password="a quite different horse").status_code == 200


def test_a_reset_password_ends_every_session(phone: Phone) -> None:
    finder = Phone("finder")
    assert finder.call("post", "auth/password/request", {"email": ADDRESS}).status_code == 401
    (message,) = deliver_mail()

    answer = finder.call(
        "post",
        "auth/password/reset",
        {"key": code_in(message), "password": "a quite different horse"},
    )

    assert answer.status_code == 401, answer.content
    assert opens(phone) == 401
    assert Phone("new").log_in(password="a quite different horse").status_code == 200


def test_a_reset_answers_alike_for_known_and_unknown_addresses(phone: Phone) -> None:
    known, unknown = Phone("a"), Phone("b")

    answers = [
        known.call("post", "auth/password/request", {"email": ADDRESS}),
        unknown.call("post", "auth/password/request", {"email": "nobody@example.org"}),
    ]

    assert [answer.status_code for answer in answers] == [401, 401]
    bodies = [answer.json() for answer in answers]
    for body in bodies:
        body["meta"].pop("session_token")
    assert bodies[0] == bodies[1]
    assert sorted(message.to[0] for message in deliver_mail()) == [ADDRESS, "nobody@example.org"]
    guess = {"key": "ABC-DEF", "password": "a quite different horse"}
    assert [
        who.call("post", "auth/password/reset", guess).status_code for who in (known, unknown)
    ] == [400, 400]


def test_an_imported_bcrypt_hash_is_accepted_and_made_argon2(phone: Phone) -> None:
    user = person_of(phone)
    imported = "bcrypt$$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"
    with acting_as(user.pk):
        User.objects.filter(pk=user.pk).update(password=imported)

    assert Phone("new").log_in(password="abc123xyz").status_code == 200

    user.refresh_from_db()
    assert identify_hasher(user.password).algorithm == "argon2"
    assert Phone("newer").log_in(password="abc123xyz").status_code == 200


def test_whoever_is_logged_in_has_no_token_but_those_that_are_exchanged(phone: Phone) -> None:
    tablet = Phone("tablet")

    answer = tablet.log_in()

    assert set(answer.json()["meta"]) == {
        "is_authenticated", "access_token", "refresh_token", "expires_in",
    }  # fmt: skip
    waiting = Phone("thief", session_token=phone.session_token)
    assert waiting.session_token
    assert opens(waiting) == 401
    assert waiting.call("get", "auth/session").status_code == 410


def test_of_an_imported_bcrypt_hash_the_first_72_bytes_count(phone: Phone) -> None:
    long = "a" * 71 + "é, and what bcrypt never looked at"
    user = person_of(phone)
    hashed = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()
    with acting_as(user.pk):
        User.objects.filter(pk=user.pk).update(password=f"bcrypt${hashed}")

    assert Phone("wrong").log_in(password="b" + long[1:]).status_code == 400
    assert Phone("new").log_in(password=long).status_code == 200

    user.refresh_from_db()
    assert identify_hasher(user.password).algorithm == "argon2"
    assert Phone("newer").log_in(password=long).status_code == 200
    assert Phone("wrong").log_in(password=long[:-1]).status_code == 400


@pytest.mark.parametrize("method", ["app", "browser"])
def test_nobody_is_sent_to_a_provider(method: str) -> None:
    body = {"provider": "google", "callback_url": "https://example.org/", "process": "login"}

    answer = APIClient().post(f"/api/v1/auth/{method}/v1/auth/provider/redirect", body)

    assert answer.status_code == 404


def test_somebody_who_became_an_operator_resets_nothing_here(phone: Phone) -> None:
    user = person_of(phone)
    with as_operator("a test promotes"):
        User.objects.filter(pk=user.pk).update(role=Role.ADMIN)
    finder = Phone("finder")
    finder.call("post", "auth/password/request", {"email": ADDRESS})
    body = {"key": code_in(deliver_mail()[-1]), "password": "a quite different horse"}

    assert finder.call("post", "auth/password/reset", body).status_code == 403

    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_an_operator_does_not_come_in_here() -> None:
    from accounts.tests.factories import PASSWORD as OPERATORS  # noqa: PLC0415
    from accounts.tests.factories import make_operator  # noqa: PLC0415

    operator = make_operator()
    answer = Phone().call(
        "post", "auth/login", {"username": operator.username, "password": OPERATORS}
    )

    assert answer.status_code in {400, 403}
    assert not DeviceSession.objects.exists()
    assert make_user().is_active
