"""Signing up: by address and password, with everything that belongs to an account."""

import pytest
from allauth.account.models import EmailAddress

from accounts.models import Consent, DeviceSession, Subscription, User
from accounts.tests.phones import ADDRESS, ALL_CONSENTS, PASSWORD, Phone, deliver_mail, registered
from common.tenancy import acting_as

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_person_signs_up_confirms_and_is_in() -> None:
    phone = Phone()

    begun = phone.sign_up(full_name="Ada Lovelace", given_name="Ada", family_name="Lovelace")
    confirmed = phone.confirm()

    assert begun.status_code == 401
    flows = {flow["id"]: flow for flow in begun.json()["data"]["flows"]}
    assert flows["verify_email"]["is_pending"]
    assert confirmed.status_code == 200
    account = phone.call("get", "/api/v1/account/").json()
    assert account["full_name"] == "Ada Lovelace"
    assert account["addresses"] == [{"email": ADDRESS, "verified": True, "primary": True}]
    user = User.objects.get(pk=account["id"])
    assert user.username == f"user-{user.pk.hex[-12:]}"
    with acting_as(user.pk):
        assert set(Consent.objects.values_list("type", "given")) == {
            (kind, True) for kind in ALL_CONSENTS
        }
        assert [(s.tier, s.status) for s in Subscription.objects.all()] == [("free", "active")]
    session = DeviceSession.objects.get()
    assert (session.device_id, session.platform, session.user_id) == (
        phone.device_id,
        "ios",
        user.pk,
    )


def test_nothing_is_left_of_a_sign_up_without_every_consent() -> None:
    phone = Phone()
    some = dict.fromkeys(list(ALL_CONSENTS)[:4], 1)

    refused = phone.sign_up(consents=some)

    assert refused.status_code == 400
    assert [(error["param"], error["code"]) for error in refused.json()["errors"]] == [
        ("consents", "required")
    ]
    assert not User.objects.exists()
    assert not EmailAddress.objects.exists()
    assert deliver_mail() == []


def test_an_address_that_is_taken_is_told_to_its_owner_only() -> None:
    registered()
    stranger, newcomer = Phone("stranger"), Phone("newcomer")

    taken = stranger.sign_up()
    (to_owner,) = deliver_mail()
    free = newcomer.sign_up("somebody.else@example.org")

    assert taken.status_code == free.status_code == 401
    assert taken.json()["data"] == free.json()["data"]
    assert to_owner.to == [ADDRESS]
    assert "already" in str(to_owner.subject).lower()
    assert User.objects.count() == 2
    assert PASSWORD not in str(to_owner.body)
