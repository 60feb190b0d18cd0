"""What a store says of a purchase, and what a module for one gives."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings

from accounts.choices import Plan, SubscriptionProvider
from common.encryption.lookup import seal_for_lookup

DIGEST_OF = "accounts_subscription.external_digest"


@dataclass(frozen=True)
class StorePurchase:
    """One subscription at a store, as the store itself stated it at `stated_at`.

    `external_id` stays the same through renewals; `replaces` is the id of the purchase that this
    one took the place of, or empty. `purchased_at` is when the period that ends at `ends_at` was
    bought. `renews` is None where the store does not say. `revoked` means that the money went
    back, and access ends at once. `account` is the person's id, if the app handed it to the store.
    """

    provider: SubscriptionProvider
    external_id: str
    plan: Plan
    purchased_at: datetime
    ends_at: datetime
    stated_at: datetime
    renews: bool | None = None
    revoked: bool = False
    account: UUID | None = None
    replaces: str = ""

    @property
    def digest(self) -> bytes:
        return digest_of(self.external_id)

    def grants(self, at: datetime) -> bool:
        return not self.revoked and self.ends_at > at


@dataclass(frozen=True)
class StoreNotification:
    """A message from a store; without a purchase it is about nothing that we keep."""

    id: str
    purchase: StorePurchase | None


class Store(Protocol):
    """Both raise for whatever is not proved to be the store's own word.

    `verify_receipt` raises InvalidReceiptError and PurchasePendingError, `verify_notification`
    InvalidNotificationError, both StoreUnavailableError. They may use the network, so they are
    called outside of transactions.
    """

    def verify_receipt(self, receipt: str) -> StorePurchase: ...

    def verify_notification(
        self, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> StoreNotification: ...


def digest_of(external_id: str) -> bytes:
    """What a purchase is found by. Some stores just count: a bare hash of a number is guessed."""
    return hashlib.sha256(seal_for_lookup(external_id, DIGEST_OF).encode()).digest()


def plan_of(product: str | None) -> Plan | None:
    """The plan that a store's product stands for; None for what is not sold here."""
    plan = settings.STORE_PRODUCTS.get(product or "")
    return Plan(plan) if plan else None


def account_of(text: str | None) -> UUID | None:
    """The person that the app named to the store, if what it named is an id."""
    try:
        return UUID(text or "")
    except ValueError:
        return None
