"""Signing in with an ID token of Google or Apple: verified, for us, fresh, and once."""

import hashlib
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import cachecontrol.controller
import jwt
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.test import override_settings

from accounts.identity.social import KEYS_SECONDS
from accounts.models import Consent, DeviceSession, User
from accounts.tests.phones import (
    ADDRESS,
    ALL_CONSENTS,
    PASSWORD,
    Phone,
    code_in,
    deliver_mail,
    person_of,
    registered,
)
from accounts.tests.providers import CLIENT_ID, ISSUERS, SETTINGS, Provider, new_key
from common.tenancy import acting_as

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["google", "apple"])
def provider(request: pytest.FixtureRequest, settings: object) -> Iterator[Provider]:
    settings.SOCIALACCOUNT_PROVIDERS = SETTINGS  # type: ignore[attr-defined]
    found = Provider(request.param)
    with found.publishing():
        yield found


def nonce_for(phone: Phone) -> str:
    return str(phone.call("post", "/api/v1/auth/nonce/").json()["nonce"])


def offer(phone: Phone, provider: Provider, id_token: str) -> int:
    token = {"client_id": CLIENT_ID, "id_token": id_token}
    body = {"provider": provider.name, "process": "login", "token": token}
    return int(phone.call("post", "auth/provider/token", body).status_code)


def sign_in(phone: Phone, provider: Provider, **claims: Any) -> int:
    return offer(phone, provider, provider.id_token(nonce_for(phone), **claims))


def sign_up(phone: Phone, provider: Provider, **claims: Any) -> None:
    assert sign_in(phone, provider, **claims) == 401
    answer = phone.call(
        "post", "auth/provider/signup", {"email": ADDRESS, "consents": ALL_CONSENTS}
    )
    assert answer.status_code == 200, answer.content


def test_a_person_signs_up_and_comes_back(provider: Provider) -> None:
    sign_up(Phone(), provider, name="Ada Lovelace" if provider.name == "google" else None)
    tablet = Phone("tablet")

    assert sign_in(tablet, provider) == 200

    account = tablet.call("get", "/api/v1/account/").json()
    assert account["addresses"] == [{"email": ADDRESS, "verified": True, "primary": True}]
    user = User.objects.get()
    with acting_as(user.pk):
        assert Consent.objects.count() == 5
    assert [session.method for session in DeviceSession.objects.order_by("pk")] == [
        "socialaccount",
        "socialaccount",
    ]
    social = SocialAccount.objects.get()
    assert (social.provider, social.uid, social.extra_data) == (
        provider.name,
        f"{provider.name}-subject-1",
        {},
    )


def test_nobody_comes_in_without_consents(provider: Provider) -> None:
    phone = Phone()
    assert sign_in(phone, provider) == 401

    answer = phone.call("post", "auth/provider/signup", {"email": ADDRESS, "consents": {}})

    assert answer.status_code == 400
    assert not User.objects.exists()
    assert not SocialAccount.objects.exists()


def test_an_id_token_counts_once(provider: Provider) -> None:
    sign_up(Phone(), provider)
    phone, thief = Phone("phone 2"), Phone("thief")
    id_token = provider.id_token(nonce_for(phone))

    assert offer(phone, provider, id_token) == 200
    assert offer(thief, provider, id_token) == 400

    assert thief.access_token == ""


def test_a_client_may_give_the_digest_of_the_nonce(provider: Provider) -> None:
    sign_up(Phone(), provider)
    phone = Phone("phone 2")
    digest = hashlib.sha256(nonce_for(phone).encode()).hexdigest()

    assert offer(phone, provider, provider.id_token(digest)) == 200
    assert offer(Phone("thief"), provider, provider.id_token(digest)) == 400


@pytest.mark.parametrize("nonce", [None, "", "made up", "0" * 64])
def test_a_token_without_a_nonce_of_ours_is_refused(provider: Provider, nonce: str | None) -> None:
    phone = Phone()

    assert offer(phone, provider, provider.id_token(nonce)) == 400

    assert not User.objects.exists()
    assert phone.call("get", "auth/provider/signup").status_code == 409


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "another-app"},
        {"iss": "https://accounts.example.org"},
        {"exp": int(time.time()) - 60},
    ],
)
def test_a_token_for_others_from_others_or_of_yesterday_is_refused(
    provider: Provider, wrong: dict[str, object]
) -> None:
    assert sign_in(Phone(), provider, **wrong) == 400


def test_google_names_itself_in_two_ways() -> None:
    settings = override_settings(SOCIALACCOUNT_PROVIDERS=SETTINGS)
    google = Provider("google")
    with settings, google.publishing():
        assert sign_in(Phone(), google, iss="accounts.google.com") == 401
        assert sign_in(Phone("other"), google, iss="https://accounts.google.com") == 401
        assert sign_in(Phone("third"), google, iss="http://accounts.google.com") == 400


def test_a_token_that_somebody_else_signed_is_refused(provider: Provider) -> None:
    phone = Phone()

    assert offer(phone, provider, provider.id_token(nonce_for(phone), key=new_key())) == 400


def test_a_token_that_nobody_signed_is_refused(provider: Provider) -> None:
    phone = Phone()
    claims = {
        "iss": ISSUERS[provider.name],
        "aud": CLIENT_ID,
        "sub": "x",
        "nonce": nonce_for(phone),
    }
    unsigned = jwt.encode(
        {**claims, "exp": int(time.time()) + 60}, "", algorithm="none", headers={"kid": "key-1"}
    )

    assert offer(phone, provider, unsigned) == 400


def test_the_same_address_from_a_provider_opens_no_account_that_exists(provider: Provider) -> None:
    owner = registered()
    taker = Phone("taker")

    sign_in(taker, provider)
    answer = taker.call(
        "post", "auth/provider/signup", {"email": ADDRESS, "consents": ALL_CONSENTS}
    )

    assert answer.status_code != 200
    assert taker.access_token == ""
    assert not SocialAccount.objects.exists()
    assert EmailAddress.objects.get().user_id == person_of(owner).pk


def test_the_keys_of_a_provider_are_asked_for_once_in_a_while(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_up(Phone(), provider)
    assert [sign_in(Phone("tablet"), provider) for _ in range(3)] == [200] * 3
    assert provider.asked == 1

    later = time.time() + KEYS_SECONDS + 1
    monkeypatch.setattr(cachecontrol.controller, "time", mock.Mock(time=lambda: later))
    assert sign_in(Phone("tablet"), provider) == 200
    assert provider.asked == 2


def test_an_answer_without_keys_is_not_kept(provider: Provider) -> None:
    provider.status = 503
    assert sign_in(Phone(), provider) == 400
    provider.status = 200
    assert sign_in(Phone(), provider) == 401
    assert provider.asked == 2


@pytest.mark.parametrize("claimed", [None, "other@example.org"])
def test_the_address_that_is_typed_is_kept_and_has_to_be_confirmed(
    provider: Provider, claimed: str | None
) -> None:
    phone = Phone()
    assert sign_in(phone, provider, email=claimed, email_verified=False) == 401
    body = {"email": ADDRESS, "consents": ALL_CONSENTS}
    assert phone.call("post", "auth/provider/signup", body).status_code == 401
    (message,) = deliver_mail()
    assert message.to == [ADDRESS]

    body = {"key": code_in(message)}
    assert phone.call("post", "auth/email/verify", body).status_code == 200

    assert sign_in(Phone("tablet"), provider, email=claimed, email_verified=False) == 200
    account = phone.call("get", "/api/v1/account/").json()
    assert account["addresses"] == [{"email": ADDRESS, "verified": True, "primary": True}]


def test_whoever_signed_up_with_a_strangers_address_does_not_wait_inside(
    provider: Provider,
) -> None:
    thief = Phone("thief")
    assert sign_in(thief, provider, email=None) == 401
    body = {"email": ADDRESS, "consents": ALL_CONSENTS}
    assert thief.call("post", "auth/provider/signup", body).status_code == 401
    deliver_mail()
    owner = Phone("owner")
    owner.call("post", "auth/password/request", {"email": ADDRESS})
    (message,) = deliver_mail()

    reset = {"key": code_in(message), "password": PASSWORD}
    assert owner.call("post", "auth/password/reset", reset).status_code in {200, 401}

    assert not SocialAccount.objects.exists()
    assert owner.log_in().status_code == 200
    assert sign_in(Phone("thief again"), provider, email=None) == 401
    assert DeviceSession.objects.count() == 1


def test_a_reset_of_an_account_with_a_confirmed_address_leaves_the_provider(
    provider: Provider,
) -> None:
    sign_up(Phone(), provider)
    finder = Phone("finder")
    finder.call("post", "auth/password/request", {"email": ADDRESS})
    message = deliver_mail()[-1]

    reset = {"key": code_in(message), "password": PASSWORD}
    assert finder.call("post", "auth/password/reset", reset).status_code in {200, 401}

    assert sign_in(Phone("tablet"), provider) == 200
