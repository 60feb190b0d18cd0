"""A second factor: turned on after a fresh proof, asked for at the next login."""

import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value

from accounts.models import DeviceSession
from accounts.tests.phones import PASSWORD, Phone, person_of, registered
from audit.choices import SecurityKind
from common.tests.connections import connect_as_superuser
from tests.events import security

pytestmark = pytest.mark.django_db(transaction=True)

TOTP = "account/authenticators/totp"
STEP_SECONDS = 30


def totp(secret: str, steps_ahead: int = 0) -> str:
    return str(
        format_hotp_value(hotp_value(secret, int(time.time()) // STEP_SECONDS + steps_ahead))
    )


def turn_on(phone: Phone) -> str:
    """The secret, which an authenticator app would keep."""
    assert phone.call("post", "auth/reauthenticate", {"password": PASSWORD}).status_code == 200
    asked = phone.call("get", TOTP)
    assert asked.status_code == 404
    secret = str(asked.json()["meta"]["secret"])
    answer = phone.call("post", TOTP, {"code": totp(secret)})
    assert answer.status_code == 200, answer.content
    return secret


def test_a_login_asks_for_the_code(settings: object) -> None:
    phone = registered()
    secret = turn_on(phone)
    tablet = Phone("tablet")

    first = tablet.log_in()

    assert first.status_code == 401
    assert [flow["id"] for flow in first.json()["data"]["flows"] if flow.get("is_pending")] == [
        "mfa_authenticate"
    ]
    assert tablet.access_token == ""
    wrong = tablet.call("post", "auth/2fa/authenticate", {"code": "000000"})
    assert wrong.status_code == 400
    right = tablet.call("post", "auth/2fa/authenticate", {"code": totp(secret, 1)})
    assert right.status_code == 200, right.content
    assert tablet.call("get", "/api/v1/account/").status_code == 200
    assert len(security(SecurityKind.SECOND_FACTOR_CHANGED)) >= 1


def test_a_recovery_code_works_once() -> None:
    phone = registered()
    turn_on(phone)
    codes = phone.call("get", "account/authenticators/recovery-codes").json()["data"]
    code = codes["unused_codes"][0]

    def use(device: Phone) -> int:
        device.log_in()
        return int(device.call("post", "auth/2fa/authenticate", {"code": code}).status_code)

    assert len(codes["unused_codes"]) == 10
    assert use(Phone("tablet")) == 200
    assert use(Phone("laptop")) == 400


def test_secrets_are_sealed_with_a_key_of_the_person(settings: object) -> None:
    phone = registered()
    secret = turn_on(phone)
    phone.call("get", "account/authenticators/recovery-codes")

    stored = Authenticator.objects.filter(user=person_of(phone)).values_list("data", flat=True)

    text = " ".join(str(data) for data in stored)
    assert secret not in text
    with connect_as_superuser() as database:
        purposes = database.execute("SELECT purpose FROM accounts_datakey").fetchall()
    assert ("second_factors",) in purposes


def test_an_old_proof_opens_no_second_factor(settings: object) -> None:
    phone = registered()
    phone.call("post", "auth/reauthenticate", {"password": PASSWORD})
    secret = str(phone.call("get", TOTP).json()["meta"]["secret"])
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0  # type: ignore[attr-defined]

    refused = phone.call("post", TOTP, {"code": totp(secret)})

    assert refused.status_code == 401
    assert "reauthenticate" in [flow["id"] for flow in refused.json()["data"]["flows"]]
    assert not Authenticator.objects.exists()


def test_a_new_proof_is_noted() -> None:
    phone = registered()
    before = DeviceSession.objects.get().proved_at

    answer = phone.call("post", "auth/reauthenticate", {"password": PASSWORD})

    assert answer.status_code == 200, answer.content
    assert DeviceSession.objects.get().proved_at > before
    assert phone.call("post", "auth/reauthenticate", {"password": "wrong"}).status_code == 400


def test_codes_cannot_be_guessed_for_long() -> None:
    phone = registered()
    secret = turn_on(phone)
    guesser = Phone("guesser")
    guesser.log_in()

    guesses = [guesser.call("post", "auth/2fa/authenticate", {"code": "000000"}) for _ in range(6)]
    right = guesser.call("post", "auth/2fa/authenticate", {"code": totp(secret, 1)})

    assert [answer.status_code for answer in guesses] == [400] * 6
    assert right.status_code == 400
    assert right.json()["errors"][0]["code"] == "too_many_login_attempts"
