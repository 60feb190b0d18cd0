"""Sign-ups that nobody finished are erased after some days, and their addresses are free again."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts import erasing, unconfirmed
from accounts.choices import AccountStatus, Role
from accounts.models import Consent, DataKey, Erasure, User
from accounts.services.registration import complete_registration
from accounts.tasks import erase_unconfirmed_accounts
from accounts.tests.factories import client_of, make_operator, make_user
from accounts.tests.phones import ALL_CONSENTS, PASSWORD, Phone, deliver_mail, person_of, registered
from audit.choices import SecurityKind
from audit.models import SecurityEvent
from common.privacy import delete_files, what_is_left
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

WHOLE = AccountStatus.ACTIVE
GONE = AccountStatus.DELETED


def signed_up(name: str = "thief") -> tuple[Phone, User]:
    """With an address that is not confirmed."""
    phone = Phone(name)
    assert phone.sign_up(f"{name}@example.org").status_code == 401
    return phone, User.objects.latest("pk")


def days_ago(days: float, *users: User) -> None:
    with connect_as_superuser() as superuser:
        superuser.execute(
            "UPDATE accounts_user SET created_at = now() - interval '1 day' * %s"
            " WHERE id = ANY(%s)",
            [days, [user.pk for user in users]],
        )


def sweep() -> None:
    erase_unconfirmed_accounts.apply(throw=True)


def status_of(user: User) -> str:
    return str(User.objects.get(pk=user.pk).account_status)


def left_of(user_id: UUID) -> dict[str, int]:
    with as_operator("test"):
        return what_is_left([user_id]).get(user_id, {})


def test_whoever_never_confirms_an_address_is_erased_after_some_days() -> None:
    _, bob = signed_up()
    days_ago(7.1, bob)
    assert left_of(bob.pk)["account_emailaddress"] == 1

    for _ in range(2):
        sweep()

    assert (status_of(bob), left_of(bob.pk)) == (GONE, {})
    assert User.objects.get(pk=bob.pk).username.startswith("erased-")
    with as_operator("test"):
        assert not DataKey.objects.filter(user=bob, wrapped__isnull=False).exists()
        # Nobody has to be told by whom it was given: where it came from is unreadable.
        assert Consent.objects.filter(user=bob).exists()
        (event,) = SecurityEvent.objects.filter(kind=SecurityKind.PERSON_ERASED)
    assert event.user_id == bob.pk


def test_the_ledger_of_erasures_does_not_list_them() -> None:
    _, bob = signed_up()
    days_ago(7.1, bob)

    sweep()

    with as_operator("test"):
        assert Erasure.objects.count() == 0
    assert not default_storage.exists(f"erasures/{bob.pk}.json")


def test_an_address_that_somebody_else_signed_up_with_is_free_again() -> None:
    _, thief = signed_up("ada")
    deliver_mail()
    days_ago(7.1, thief)

    sweep()

    ada = registered(email="ada@example.org")
    assert person_of(ada).pk != thief.pk
    assert Phone().log_in("ada@example.org").status_code == 200


def test_before_their_days_are_over_nothing_happens() -> None:
    phone, bob = signed_up()
    days_ago(6.9, bob)

    sweep()

    assert status_of(bob) == WHOLE
    assert phone.confirm().status_code == 200


def test_whoever_has_confirmed_an_address_stays() -> None:
    phone = registered()
    user = person_of(phone)
    with as_operator("test"):
        # As after a confirmation that logged nobody in.
        User.objects.filter(pk=user.pk).update(last_login=None)
    days_ago(400, user)

    sweep()

    assert status_of(user) == WHOLE
    assert Phone("other").log_in().status_code == 200


def test_operators_and_whoever_was_logged_in_or_was_given_something_stay() -> None:
    boss, seen, given = make_operator(role=Role.ADMIN), make_user(), make_user()
    client_of(given)
    with as_operator("test"):
        User.objects.filter(pk=seen.pk).update(last_login=timezone.now())
    days_ago(400, boss, seen, given)

    sweep()

    assert [status_of(user) for user in (boss, seen, given)] == [WHOLE] * 3
    assert left_of(given.pk)["accounts_personalaccesstoken"] == 1


def test_whoever_the_house_brought_stays() -> None:
    brought = make_user()
    days_ago(400, brought)

    sweep()

    assert status_of(brought) == WHOLE


def test_a_provider_that_named_no_address_makes_no_difference() -> None:
    bob = make_user()
    with acting_as(bob.pk):
        complete_registration(user_id=bob.pk, consents=ALL_CONSENTS)
    with as_operator("test"):
        assert not EmailAddress.objects.exists()
    with connect_as_superuser() as superuser:
        superuser.execute(
            "INSERT INTO socialaccount_socialaccount"
            " (provider, uid, last_login, date_joined, extra_data, user_id)"
            " VALUES ('google', '1', now(), now(), '{}', %s)",
            [bob.pk],
        )
    days_ago(8, bob)

    sweep()

    assert status_of(bob) == GONE
    assert not SocialAccount.objects.exists()


class Killed(BaseException):
    """As if the process had ended."""


def test_killed_anywhere_it_ends_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, bob = signed_up()
    days_ago(8, bob)

    def kill(*_: object) -> None:
        raise Killed

    for place in ("destroy_keys", "erasing_steps", "delete_files", "blank_user"):
        with monkeypatch.context() as patch:
            patch.setattr(erasing, place, kill)
            with pytest.raises(Killed):
                unconfirmed.erase_unconfirmed()
    sweep()

    assert (status_of(bob), left_of(bob.pk)) == (GONE, {})


def test_one_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, bob), (_, carol) = signed_up("bob"), signed_up("carol")
    days_ago(8, bob, carol)

    def fail(user_id: UUID) -> int:
        if user_id == bob.pk:
            raise OSError("no such disk")
        return delete_files(user_id)

    monkeypatch.setattr(erasing, "delete_files", fail)

    sweep()

    # Closed already, it is tried again.
    assert (status_of(bob), status_of(carol)) == (AccountStatus.DEACTIVATED, GONE)
    monkeypatch.undo()
    sweep()
    assert status_of(bob) == GONE


def test_confirmed_at_the_last_moment_it_is_whole_or_gone() -> None:
    phone, bob = signed_up()
    days_ago(8, bob)

    at_once([phone.confirm, sweep])

    if status_of(bob) == WHOLE:
        assert Phone().log_in("thief@example.org", PASSWORD).status_code == 200
    else:
        assert (status_of(bob), left_of(bob.pk)) == (GONE, {})


def test_confirmed_while_the_sweep_looks_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    phone, bob = signed_up()
    days_ago(8, bob)
    found = unconfirmed.who_is_due

    def late(before: datetime) -> Iterator[UUID]:
        due = list(found(before))
        assert due == [bob.pk]
        at_once([phone.confirm])
        yield from due

    monkeypatch.setattr(unconfirmed, "who_is_due", late)

    sweep()

    assert status_of(bob) == WHOLE
    assert person_of(phone).pk == bob.pk


def test_days_are_counted_as_the_settings_say(settings: Any) -> None:
    settings.UNCONFIRMED_DAYS = 30
    _, bob = signed_up()
    days_ago(29, bob)
    sweep()
    assert status_of(bob) == WHOLE

    days_ago(31, bob)
    sweep()

    assert status_of(bob) == GONE
