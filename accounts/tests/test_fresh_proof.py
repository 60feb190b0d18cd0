"""What a stolen login must not reach: it needs a proof that is fresh."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.utils import timezone

from accounts.identity.sealing import open_secret, seal_secret
from accounts.identity.sessions import SessionStore
from accounts.models import DeviceSession, User
from accounts.tests.factories import make_user
from accounts.tests.phones import (
    ADDRESS,
    ALL_CONSENTS,
    PASSWORD,
    Phone,
    deliver_mail,
    person_of,
    registered,
)
from accounts.tests.providers import CLIENT_ID, SETTINGS, Provider
from accounts.tests.test_second_factors import totp, turn_on
from common.encryption.errors import DecryptionError
from common.tenancy import acting_as
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True)

EVIL = "evil@example.org"
SECOND = "ada.king@example.org"


@pytest.fixture
def phone() -> Phone:
    phone = registered()
    phone.call("post", "auth/reauthenticate", {"password": PASSWORD})
    return phone


@pytest.fixture
def google(settings: object) -> Iterator[Provider]:
    settings.SOCIALACCOUNT_PROVIDERS = SETTINGS  # type: ignore[attr-defined]
    provider = Provider("google")
    with provider.publishing():
        yield provider


def offer(phone: Phone, provider: Provider, process: str) -> int:
    nonce = phone.call("post", "/api/v1/auth/nonce/").json()["nonce"]
    token = {"client_id": CLIENT_ID, "id_token": provider.id_token(nonce)}
    body = {"provider": "google", "process": process, "token": token}
    return int(phone.call("post", "auth/provider/token", body).status_code)


def make_proof_stale() -> None:
    """As if every login had been an hour ago."""
    hour = timedelta(hours=1)
    for session in DeviceSession.objects.all():
        with acting_as(session.user_id):
            DeviceSession.objects.filter(pk=session.pk).update(proved_at=timezone.now() - hour)
        store = SessionStore.of_login(session.pk)
        assert store is not None
        records = store.get(AUTHENTICATION_METHODS_SESSION_KEY, [])
        for record in records:
            record["at"] -= hour.total_seconds()
        store[AUTHENTICATION_METHODS_SESSION_KEY] = records
        store.save()


def test_addresses_are_changed_after_a_fresh_proof_only(phone: Phone) -> None:
    with acting_as(person_of(phone).pk):
        EmailAddress.objects.create(user=person_of(phone), email=SECOND, verified=True)
    changes = [
        ("post", {"email": EVIL}),
        ("patch", {"email": SECOND, "primary": True}),
        ("delete", {"email": SECOND}),
    ]
    make_proof_stale()

    refused = [phone.call(verb, "account/email", body) for verb, body in changes]

    assert [answer.status_code for answer in refused] == [401, 401, 401]
    found = EmailAddress.objects.order_by("pk").values_list("email", "primary")
    assert list(found) == [(ADDRESS, True), (SECOND, False)]
    assert deliver_mail() == []
    # Else nothing of the above says that the proof was what was missing.
    phone.call("post", "auth/reauthenticate", {"password": PASSWORD})
    allowed = [phone.call(verb, "account/email", body) for verb, body in changes[:2]]
    allowed.append(phone.call("delete", "account/email", {"email": ADDRESS}))
    assert [answer.status_code for answer in allowed] == [200, 200, 200]


def test_an_account_of_a_provider_is_connected_after_a_fresh_proof_only(
    phone: Phone, google: Provider
) -> None:
    make_proof_stale()
    assert offer(phone, google, "connect") == 401
    assert not SocialAccount.objects.exists()

    phone.call("post", "auth/reauthenticate", {"password": PASSWORD})
    assert offer(phone, google, "connect") == 200
    assert SocialAccount.objects.get().user_id == person_of(phone).pk


def test_somebody_without_a_password_sets_one_right_after_a_login_only(google: Provider) -> None:
    phone = Phone()
    offer(phone, google, "login")
    phone.call("post", "auth/provider/signup", {"email": ADDRESS, "consents": ALL_CONSENTS})
    change = {"new_password": "a quite different horse"}
    make_proof_stale()

    assert phone.call("post", "account/password/change", change).status_code == 401
    assert not User.objects.get().has_usable_password()

    assert offer(Phone("new"), google, "login") == 200
    assert phone.call("post", "account/password/change", change).status_code == 401
    new = Phone("newer")
    offer(new, google, "login")
    assert new.call("post", "account/password/change", change).status_code == 200


def test_the_last_confirmed_address_stays(phone: Phone) -> None:
    answer = phone.call("delete", "account/email", {"email": ADDRESS})

    assert answer.status_code == 400
    assert EmailAddress.objects.get().email == ADDRESS


def test_a_code_opens_one_login_however_long_it_would_be_accepted(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = turn_on(phone)
    code = totp(secret, 1)
    kept: list[float] = []
    from django.core.cache import cache  # noqa: PLC0415 - the one that is looked at

    real = cache.add

    def add(key: str, value: object, timeout: float | None = None, **more: object) -> bool:
        if "totp.used" in key:
            kept.append(timeout or 0)
        return bool(real(key, value, timeout=timeout))

    monkeypatch.setattr(cache, "add", add)
    tablet, thief = Phone("tablet"), Phone("thief")
    tablet.log_in()
    thief.log_in()

    assert tablet.call("post", "auth/2fa/authenticate", {"code": code}).status_code == 200
    assert thief.call("post", "auth/2fa/authenticate", {"code": code}).status_code == 400

    # Two steps of clocks that are behind, two of those that are ahead, and its own.
    assert kept == [150, 150]


def test_the_secret_of_a_second_factor_opens_nobody_elses_account(phone: Phone) -> None:
    ada, bob = person_of(phone), make_user()
    turn_on(phone)
    text = Authenticator.objects.get(type="totp").data["secret"]

    with acting_as(bob.pk), pytest.raises(DecryptionError):
        open_secret(bob.pk, text)
    with acting_as(bob.pk), pytest.raises(DecryptionError):
        open_secret(None, text)
    with acting_as(ada.pk):
        assert open_secret(ada.pk, seal_secret(ada.pk, "saffron")) == "saffron"


def test_eight_sign_ups_at_once_make_one_whole_account() -> None:
    def sign_up() -> int:
        return int(Phone().sign_up(username="ada").status_code)

    answers = at_once([sign_up] * 8)

    assert set(answers) <= {401, 400}
    user = User.objects.get()
    assert EmailAddress.objects.get().user_id == user.pk
    assert user.username == "ada"
