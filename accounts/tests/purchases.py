"""Purchases at the local store, for tests."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from accounts.choices import Plan, SubscriptionProvider
from accounts.models import Subscription, User
from accounts.stores import local
from accounts.stores.contract import StorePurchase
from accounts.stores.local import LocalStore
from common.tenancy import acting_as


def local_store() -> LocalStore:
    store = local.configured()
    assert store is not None
    return store


def purchase_of(user: User | None, external_id: str = "purchase-1", **values: Any) -> StorePurchase:
    """A month bought and stated just now, unless said otherwise."""
    now = timezone.now()
    given: dict[str, Any] = {
        "provider": SubscriptionProvider.LOCAL,
        "external_id": external_id,
        "plan": Plan.MONTHLY,
        "purchased_at": now,
        "ends_at": now + timedelta(days=30),
        "stated_at": now,
        "renews": True,
        "account": user.pk if user else None,
    }
    return StorePurchase(**{**given, **values})


def periods_of(user: User) -> list[tuple[str, str]]:
    """Tier and status of each of the person's subscriptions, oldest first."""
    with acting_as(user.pk):
        rows = Subscription.objects.order_by("id")
        return [(row.tier, row.status) for row in rows]


def rows_of(user: User) -> list[Subscription]:
    with acting_as(user.pk):
        return list(Subscription.objects.order_by("id").without_seals())


def run_out(user: User, at: datetime | None = None) -> None:
    """The active subscription of the person began long ago and ended at `at`, a second ago."""
    ended = at or timezone.now() - timedelta(seconds=1)
    with acting_as(user.pk):
        changed = Subscription.objects.active().update(
            starts_at=ended - timedelta(days=30), ends_at=ended
        )
    assert changed == 1
