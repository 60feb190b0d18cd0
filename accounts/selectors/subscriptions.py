from uuid import UUID

from django.utils import timezone

from accounts.choices import SubscriptionStatus, Tier
from accounts.models import Subscription, User
from common.tenancy import acting_as


def current_subscription(user_id: UUID) -> Subscription | None:
    """The one active subscription of the person; None until the sweep has given them one."""
    found: Subscription | None = (
        Subscription.objects.visible_to(user_id).active().without_seals().first()
    )
    return found


def is_premium(user: User) -> bool:
    """Whether premium is in force; one query."""
    with acting_as(user.pk):
        return opens_premium(current_subscription(user.pk))


def opens_premium(subscription: Subscription | None) -> bool:
    return (
        subscription is not None
        and subscription.tier == Tier.PREMIUM
        and subscription.status == SubscriptionStatus.ACTIVE
        and subscription.ends_at > timezone.now()
    )


def renewing_subscription(user_id: UUID) -> Subscription | None:
    """A purchase that the store will charge for again: it has to be cancelled before an erasure."""
    found: Subscription | None = (
        Subscription.objects.visible_to(user_id)
        .filter(
            tier=Tier.PREMIUM,
            renews=True,
            status__in=[SubscriptionStatus.ACTIVE, SubscriptionStatus.PENDING],
            ends_at__gt=timezone.now(),
        )
        .without_seals()
        .first()
    )
    return found
