"""The sweeps that end subscriptions, and what happens at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

import pytest
from django.db import connections
from django.utils import timezone

from accounts.errors import ReceiptOfAnotherAccountError
from accounts.models import ReceivedNotification, Subscription, User
from accounts.periods import lock_periods, settle_due
from accounts.selectors.subscriptions import is_premium
from accounts.services.subscriptions import apply_purchase, start_free_subscription
from accounts.tasks import (
    expire_subscriptions,
    forget_store_notifications,
    renew_free_subscriptions,
)
from accounts.tests.factories import make_user
from accounts.tests.purchases import periods_of, purchase_of, rows_of, run_out
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

FREE, PREMIUM = "free", "premium"


@pytest.fixture
def ada() -> User:
    ada = make_user("ada")
    start_free_subscription(user_id=ada.pk)
    return ada


@contextmanager
def busy_with(user: User) -> Iterator[None]:
    """Meanwhile somebody else changes the person's periods and does not come to an end."""
    locked, done = Event(), Event()

    def hold() -> None:
        with acting_as(user.pk):
            lock_periods(user.pk)
            locked.set()
            done.wait(60)
        connections.close_all()

    thread = Thread(target=hold)
    thread.start()
    try:
        assert locked.wait(60)
        yield
    finally:
        done.set()
        thread.join()


def test_a_free_year_that_is_over_is_followed_by_the_next_without_a_gap(ada: User) -> None:
    ended = timezone.now() - timedelta(days=3)
    run_out(ada, ended)

    expire_subscriptions.apply(throw=True)
    expire_subscriptions.apply(throw=True)

    assert periods_of(ada) == [(FREE, "expired"), (FREE, "active")]
    before, after = rows_of(ada)
    assert (before.ends_at, after.starts_at) == (ended, ended)
    assert after.ends_at > timezone.now() + timedelta(days=364)


def test_what_is_not_over_is_left_alone(ada: User) -> None:
    before = rows_of(ada)[0].updated_at

    expire_subscriptions.apply(throw=True)
    renew_free_subscriptions.apply(throw=True)

    assert periods_of(ada) == [(FREE, "active")]
    assert rows_of(ada)[0].updated_at == before


def test_premium_that_is_over_is_followed_by_a_free_year(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))
    run_out(ada)
    assert is_premium(ada) is False

    expire_subscriptions.apply(throw=True)

    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "expired"), (FREE, "active")]


def test_premium_that_is_over_is_followed_by_the_purchase_that_waits(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "first"))
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "second"))
    run_out(ada)

    expire_subscriptions.apply(throw=True)

    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "expired"), (PREMIUM, "active")]
    free, first, second = rows_of(ada)
    assert second.starts_at == max(free.ends_at, first.ends_at)


def test_who_has_none_is_given_a_free_year_once(ada: User) -> None:
    bob, gone = make_user("bob"), make_user("gone")
    with as_operator("test"):
        User.objects.filter(pk=gone.pk).update(account_status="deleted")

    renew_free_subscriptions.apply(throw=True)
    renew_free_subscriptions.apply(throw=True)

    assert periods_of(bob) == [(FREE, "active")]
    assert periods_of(gone) == []
    assert periods_of(ada) == [(FREE, "active")]


def test_a_person_who_is_busy_comes_next_time_and_holds_up_nobody(ada: User) -> None:
    bob = make_user("bob")
    start_free_subscription(user_id=bob.pk)
    run_out(ada)
    run_out(bob)

    with busy_with(ada):
        expire_subscriptions.apply(throw=True)
        assert (len(periods_of(ada)), len(periods_of(bob))) == (1, 2)
    expire_subscriptions.apply(throw=True)

    assert (len(periods_of(ada)), len(periods_of(bob))) == (2, 2)


def test_a_sweep_takes_so_many_at_once_those_longest_over_first(ada: User) -> None:
    bob = make_user("bob")
    start_free_subscription(user_id=bob.pk)
    run_out(ada, timezone.now() - timedelta(days=1))
    run_out(bob, timezone.now() - timedelta(days=2))

    with as_operator("test"):
        assert settle_due(most=1) == 1

    assert (len(periods_of(ada)), len(periods_of(bob))) == (1, 2)


def test_two_upgrades_at_once_are_one_that_is_active_and_one_that_waits(ada: User) -> None:
    results = at_once(
        [
            lambda: apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "first")),
            lambda: apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "second")),
        ]
    )

    assert all(isinstance(result, Subscription) for result in results)
    assert len(set(results)) == 1
    assert sorted(periods_of(ada)) == [
        (FREE, "expired"), (PREMIUM, "active"), (PREMIUM, "pending"),
    ]  # fmt: skip


def test_eight_times_the_same_receipt_at_once_is_one_purchase(ada: User) -> None:
    purchase = purchase_of(ada)

    results = at_once([lambda: apply_purchase(user_id=ada.pk, purchase=purchase)] * 8)

    assert len({result.pk for result in results if isinstance(result, Subscription)}) == 1
    assert [result for result in results if isinstance(result, Exception)] == []
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active")]


def test_one_purchase_claimed_by_two_accounts_at_once_is_one_accounts(ada: User) -> None:
    bob = make_user("bob")
    start_free_subscription(user_id=bob.pk)

    results = at_once(
        [
            lambda: apply_purchase(user_id=ada.pk, purchase=purchase_of(None)),
            lambda: apply_purchase(user_id=bob.pk, purchase=purchase_of(None)),
        ]
    )

    kinds = sorted(type(result).__name__ for result in results)
    assert kinds == [ReceiptOfAnotherAccountError.__name__, Subscription.__name__]
    assert sorted([periods_of(ada), periods_of(bob)]) == [
        [(FREE, "active")], [(FREE, "expired"), (PREMIUM, "active")],
    ]  # fmt: skip


@pytest.mark.parametrize("round_", range(5))
def test_an_upgrade_while_the_sweep_ends_the_free_year_is_premium(ada: User, round_: int) -> None:
    run_out(ada)

    def sweep() -> None:
        with as_operator("sweep"):
            settle_due()

    results = at_once(
        [
            sweep,
            lambda: apply_purchase(user_id=ada.pk, purchase=purchase_of(ada)),
            sweep,
        ]
    )

    assert [result for result in results if isinstance(result, Exception)] == []
    expire_subscriptions.apply(throw=True)
    assert is_premium(ada) is True
    active = [tier for tier, status in periods_of(ada) if status == "active"]
    assert active == [PREMIUM]
    assert periods_of(ada)[0] == (FREE, "expired")


def test_eight_who_begin_at_once_have_one_free_year() -> None:
    bob = make_user("bob")

    results = at_once([lambda: start_free_subscription(user_id=bob.pk)] * 8)

    assert len(set(results)) == 1
    assert periods_of(bob) == [(FREE, "active")]


def test_traces_of_messages_are_forgotten_after_a_while() -> None:
    for number in (1, 3):
        ReceivedNotification.objects.create(
            provider="local", notification_id=str(number), outcome="ignored"
        )
    with connect_as_superuser() as superuser:
        superuser.execute(
            "UPDATE accounts_receivednotification"
            " SET received_at = now() - interval '1 day' * (402 - notification_id::int)"
        )

    forget_store_notifications.apply(throw=True)
    forget_store_notifications.apply(throw=True)

    left = ReceivedNotification.objects.values_list("notification_id", flat=True)
    assert list(left) == ["3"]
