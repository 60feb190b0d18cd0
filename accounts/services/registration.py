from collections.abc import Mapping
from uuid import UUID

from accounts.services.consents import accept_all_at_registration
from accounts.services.subscriptions import start_free_subscription


def complete_registration(*, user_id: UUID, consents: Mapping[str, int]) -> None:
    """Afterwards the person has their consents and a free subscription.

    Runs as the person, in the transaction that makes the user and the address: all of it stands,
    or nothing. Raises ConsentsMissingError and ConsentVersionOutdatedError.
    """
    accept_all_at_registration(user_id=user_id, versions=consents)
    start_free_subscription(user_id=user_id)
