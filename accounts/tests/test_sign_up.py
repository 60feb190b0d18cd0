"""Signing up: by address and password, with everything that belongs to an account."""

import pytest
from allauth.account.models import EmailAddress

from accounts.models import Consent, DeviceSession, Subscription, User
from accounts.services import registration
from accounts.tests.phones import ADDRESS, ALL_CONSENTS, PASSWORD, Phone, deliver_mail, registered
from common.tenancy import acting_as
from common.tests.connections import connect_as_superuser

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


def test_a_sign_up_that_fails_in_the_middle_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phone = Phone()
    phone.client.raise_request_exception = False

    def fail(**_: object) -> None:
        # By now the user, the address, the keys and the consents are written.
        assert Consent.objects.count() == len(ALL_CONSENTS)
        raise RuntimeError

    monkeypatch.setattr(registration, "start_free_subscription", fail)

    assert phone.sign_up(full_name="Ada Lovelace").status_code == 500

    with connect_as_superuser() as database:
        for table in (
            "accounts_user", "account_emailaddress", "accounts_datakey", "accounts_consent",
            "accounts_subscription", "accounts_devicesession", "accounts_storedsession",
            "accounts_outgoingmail", "audit_change_event",
        ):  # fmt: skip
            found = database.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert found == (0,), table
    monkeypatch.undo()
    assert Phone("again").sign_up().status_code == 401


@pytest.mark.parametrize(
    ("password", "like"),
    [(ADDRESS, "email"), ("Lovelace, Ada King", "full_name"), ("countess.of.l", "username")],
)
def test_a_password_is_not_what_somebody_is_called(password: str, like: str) -> None:
    phone = Phone()

    answer = phone.sign_up(
        password=password, username="countess.of.lovelace", full_name="Ada King Lovelace"
    )

    assert answer.status_code == 400
    assert [(error["param"], error["code"]) for error in answer.json()["errors"]] == [
        ("password", "password_too_similar")
    ]
    assert User.objects.count() == 0


@pytest.mark.parametrize("password", [ADDRESS, "Ada King Lovelace"])
def test_nor_is_it_when_it_is_changed(password: str) -> None:
    phone = registered(full_name="Ada King Lovelace")
    body = {"current_password": PASSWORD, "new_password": password}

    answer = phone.call("post", "account/password/change", body)

    assert answer.status_code == 400
    assert [error["code"] for error in answer.json()["errors"]] == ["password_too_similar"]


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
