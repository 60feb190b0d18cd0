"""Passkeys by API: added after a fresh proof; they log in, are a second factor, prove it anew."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from pytest_django import Settings

from accounts.models import DeviceSession
from accounts.tests.passkeys import ORIGIN, Passkey
from accounts.tests.phones import (
    ADDRESS,
    ALL_CONSENTS,
    PASSWORD,
    Phone,
    deliver_mail,
    person_of,
    registered,
)
from accounts.tests.test_fresh_proof import make_proof_stale
from audit.choices import SecurityKind
from tests.events import security, values

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = "account/authenticators/webauthn"
LOGIN = "auth/webauthn/login"
SECOND = "auth/webauthn/authenticate"
AGAIN = "auth/webauthn/reauthenticate"
ANDROID = "android:apk-key-hash:r7dH3pKD1ZqBTsj5Av7v1g2n"


@pytest.fixture(autouse=True)
def origins(settings: Settings) -> None:
    settings.PASSKEY_ORIGINS = [ORIGIN, ANDROID]
    # Every test comes from the same address.
    settings.MFA_RATE_LIMITS = False


def proved(name: str = "phone", email: str = ADDRESS) -> Phone:
    """A phone whose person has just said the password again."""
    deliver_mail()
    phone = registered(name, email)
    assert phone.call("post", "auth/reauthenticate", {"password": PASSWORD}).status_code == 200
    return phone


@pytest.fixture
def phone() -> Phone:
    return proved()


def add(phone: Phone, key: Passkey) -> Any:
    asked = phone.call("get", f"{KEYS}?passwordless")
    assert asked.status_code == 200, asked.content
    options = asked.json()["data"]["creation_options"]
    return phone.call("post", KEYS, {"name": "Ada's key", "credential": key.created(options)})


def prove(phone: Phone, door: str, key: Passkey) -> Any:
    asked = phone.call("get", door)
    assert asked.status_code == 200, asked.content
    options = asked.json()["data"]["request_options"]
    return phone.call("post", door, {"credential": key.proof(options)})


def opens(phone: Phone) -> int:
    return int(phone.call("get", "/api/v1/account/").status_code)


@pytest.fixture
def key(phone: Phone) -> Passkey:
    key = Passkey()
    assert add(phone, key).status_code == 200
    return key


# --- Adding and removing ----------------------------------------------------------------------


def test_a_passkey_is_added_and_shown(phone: Phone) -> None:
    answer = add(phone, Passkey())

    assert answer.status_code == 200, answer.content
    assert answer.json()["data"]["is_passwordless"] is True
    listed = phone.call("get", "account/authenticators").json()["data"]
    assert [each["name"] for each in listed if each["type"] == "webauthn"] == ["Ada's key"]
    ada = person_of(phone).pk
    assert set(values(security(SecurityKind.SECOND_FACTOR_CHANGED), "user_id", "actor_id")) == {
        (ada, ada)
    }


def test_it_is_added_after_a_fresh_proof_only(phone: Phone) -> None:
    key = Passkey()
    options = phone.call("get", f"{KEYS}?passwordless").json()["data"]["creation_options"]
    make_proof_stale()

    asked = phone.call("get", KEYS)
    answer = phone.call("post", KEYS, {"name": "x", "credential": key.created(options)})

    assert (asked.status_code, answer.status_code) == (401, 401)
    assert not Authenticator.objects.exists()


@pytest.mark.parametrize(
    "origin", ["https://evil.example.org", "https://testserver.example.org", "http://testserver"]
)
def test_of_another_page_none_is_taken(phone: Phone, origin: str) -> None:
    assert add(phone, Passkey(origin)).status_code == 400
    assert not Authenticator.objects.exists()


def test_an_app_that_is_named_in_the_settings_has_passkeys(phone: Phone) -> None:
    key = Passkey(ANDROID)
    assert add(phone, key).status_code == 200

    assert prove(Phone("tablet"), LOGIN, key).status_code == 200


def test_options_are_answered_once_and_by_whoever_asked(phone: Phone) -> None:
    stranger = proved("stranger", "stranger@example.org")
    key = Passkey()
    options = phone.call("get", f"{KEYS}?passwordless").json()["data"]["creation_options"]
    body = {"name": "x", "credential": key.created(options)}

    assert stranger.call("post", KEYS, body).status_code == 400
    assert phone.call("post", KEYS, body).status_code == 200
    assert phone.call("post", KEYS, body).status_code == 400

    assert Authenticator.objects.filter(type="webauthn").count() == 1


def test_one_that_was_removed_opens_nothing(phone: Phone, key: Passkey) -> None:
    listed = phone.call("get", "account/authenticators").json()["data"]
    (named,) = [each["id"] for each in listed if each["type"] == "webauthn"]

    assert phone.call("delete", KEYS, {"authenticators": [named]}).status_code == 200

    tablet = Phone("tablet")
    assert prove(tablet, LOGIN, key).status_code == 400
    assert tablet.access_token == ""


def test_nobody_removes_one_of_a_strangers(phone: Phone, key: Passkey) -> None:
    stranger = proved("stranger", "stranger@example.org")
    listed = phone.call("get", "account/authenticators").json()["data"]
    (named,) = [each["id"] for each in listed if each["type"] == "webauthn"]

    stranger.call("delete", KEYS, {"authenticators": [named]})

    assert prove(Phone("tablet"), LOGIN, key).status_code == 200


# --- Logging in -------------------------------------------------------------------------------


def test_a_passkey_logs_in_alone(phone: Phone, key: Passkey) -> None:
    tablet = Phone("tablet")

    answer = prove(tablet, LOGIN, key)

    assert answer.status_code == 200, answer.content
    assert answer.json()["data"]["user"]["id"] == str(person_of(phone).pk)
    assert (opens(tablet), tablet.refresh().status_code) == (200, 200)
    assert DeviceSession.objects.order_by("-created_at")[0].method == "mfa"


def test_what_logged_in_once_does_not_again(phone: Phone, key: Passkey) -> None:
    tablet = Phone("tablet")
    options = tablet.call("get", LOGIN).json()["data"]["request_options"]
    body = {"credential": key.proof(options)}
    waiting = tablet.session_token
    assert tablet.call("post", LOGIN, body).status_code == 200

    thieves = [Phone("thief"), Phone("thief", session_token=waiting)]

    for thief in thieves:
        assert thief.call("post", LOGIN, body).status_code in {400, 410}
        assert thief.access_token == ""
    assert DeviceSession.objects.count() == 2


def spoiled(key: Passkey, how: str) -> Passkey:
    """One that says it is this key, and cannot prove it or was not made for this."""
    if how == "another private key":
        return Passkey(credential_id=key.credential_id, user_handle=key.user_handle)
    if how == "an unknown key":
        return Passkey(user_handle=key.user_handle)
    return Passkey(
        "https://evil.example.org" if how == "another page" else ORIGIN,
        verifies=how != "nobody was asked for",
        private=key.private,
        credential_id=key.credential_id,
        user_handle=key.user_handle,
    )


@pytest.mark.parametrize(
    "how", ["another private key", "an unknown key", "another page", "nobody was asked for"]
)
def test_what_proves_nothing_opens_nothing(phone: Phone, key: Passkey, how: str) -> None:
    thief = Phone("thief")

    assert prove(thief, LOGIN, spoiled(key, how)).status_code == 400

    assert thief.access_token == ""
    assert DeviceSession.objects.count() == 1
    assert prove(Phone("tablet"), LOGIN, spoiled(key, "nothing")).status_code == 200


def test_nobody_signs_up_with_one() -> None:
    body = {"email": "new@example.org", "consents": ALL_CONSENTS}

    assert Phone().call("post", "auth/webauthn/signup", body).status_code == 404


# --- After a password, and again --------------------------------------------------------------


def test_a_passkey_is_a_second_factor(phone: Phone, key: Passkey) -> None:
    tablet = Phone("tablet")
    first = tablet.log_in()
    pending = [flow for flow in first.json()["data"]["flows"] if flow.get("is_pending")]
    assert (first.status_code, [flow["id"] for flow in pending]) == (401, ["mfa_authenticate"])
    assert "webauthn" in pending[0]["types"]
    assert tablet.access_token == ""

    answer = prove(tablet, SECOND, key)

    assert answer.status_code == 200, answer.content
    assert opens(tablet) == 200


def test_the_key_of_somebody_else_is_none(phone: Phone, key: Passkey) -> None:
    stranger = proved("stranger", "stranger@example.org")
    theirs = Passkey()
    assert add(stranger, theirs).status_code == 200
    tablet = Phone("tablet")
    tablet.log_in()

    assert prove(tablet, SECOND, theirs).status_code == 400

    assert tablet.access_token == ""
    assert prove(tablet, SECOND, key).status_code == 200


def test_a_passkey_proves_it_anew(phone: Phone, key: Passkey) -> None:
    make_proof_stale()
    before = DeviceSession.objects.get().proved_at
    another = {"email": "another@example.org"}
    assert phone.call("post", "account/email", another).status_code == 401

    assert prove(phone, AGAIN, spoiled(key, "another private key")).status_code == 400
    assert DeviceSession.objects.get().proved_at == before
    assert prove(phone, AGAIN, key).status_code == 200

    assert DeviceSession.objects.get().proved_at > before
    assert phone.call("post", "account/email", another).status_code == 200
