"""Stores that sell subscriptions, behind one interface.

A store is one module with one object of the shape in `contract.py`.
"""

from accounts.choices import SubscriptionProvider
from accounts.errors import UnknownStoreError
from accounts.stores import apple, google, local
from accounts.stores.contract import Store


def store_of(provider: SubscriptionProvider) -> Store:
    """The store of that name. Raises UnknownStoreError unless it is configured here."""
    made = {
        SubscriptionProvider.APPLE: apple.configured,
        SubscriptionProvider.GOOGLE: google.configured,
        SubscriptionProvider.LOCAL: local.configured,
    }.get(provider)
    store = made() if made else None
    if store is None:
        raise UnknownStoreError(f"Purchases of {provider.label} are not taken here.")
    return store
