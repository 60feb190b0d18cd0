"""Which subscription is in force: one at a time, and always one."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Max
from django.utils import timezone

from accounts.choices import SubscriptionProvider, SubscriptionStatus, Tier
from accounts.models import Subscription, User
from common.locks import lock, try_lock_each

FREE_PERIOD = timedelta(days=365)
MOST_AT_ONCE = 1000


def lock_periods(user_id: UUID) -> datetime:
    """Nobody else changes the person's periods until the transaction ends. Returns the time."""
    lock(_name_of_lock(user_id))
    return timezone.now()


def settle(user_ids: Sequence[UUID], at: datetime) -> int:
    """Afterwards each of these people has an active subscription; returns how many began.

    What has run out is expired. A purchase that waits comes next, or else a free year, and it
    begins where the last one ended. Their periods must be locked.
    """
    theirs = Subscription.objects.filter(user_id__in=user_ids)
    theirs.over(at).update(status=SubscriptionStatus.EXPIRED, updated_at=at)
    without = _without_active(user_ids)
    if not without:
        return 0
    began = _last_ends(without, at)
    waiting = theirs.filter(user_id__in=without).waiting(at)
    for row in waiting.order_by("user_id", "-ends_at").distinct("user_id").without_seals():
        Subscription.objects.filter(pk=row.pk).update(
            status=SubscriptionStatus.ACTIVE, starts_at=began[row.user_id], updated_at=at
        )
    still = _without_active(without)
    Subscription.objects.bulk_create(free_year(one, began[one], at) for one in still)
    return len(without)


def settle_due(most: int = MOST_AT_ONCE) -> int:
    """Settle people whose active subscription has run out; those who are busy come next time."""
    due = Subscription.objects.over(timezone.now()).order_by("ends_at")
    return _settle_free_ones([row.user_id for row in due.only("user_id")[:most]])


def settle_missing(most: int = MOST_AT_ONCE) -> int:
    """Settle people who have no active subscription at all."""
    lacking = User.objects.active().without_subscription().order_by("id")
    return _settle_free_ones(list(lacking.values_list("pk", flat=True)[:most]))


def free_year(user_id: UUID, starts_at: datetime, at: datetime) -> Subscription:
    """Not saved. It lasts a year from `at`, however long ago it should have begun."""
    return Subscription(
        user_id=user_id,
        tier=Tier.FREE,
        status=SubscriptionStatus.ACTIVE,
        provider=SubscriptionProvider.SYSTEM,
        starts_at=min(starts_at, at),
        ends_at=at + FREE_PERIOD,
    )


def _settle_free_ones(user_ids: Sequence[UUID]) -> int:
    """Somebody's upgrade may hold theirs: waiting for it would hold up everybody else."""
    people = {_name_of_lock(user_id): user_id for user_id in user_ids}
    return settle([people[name] for name in try_lock_each(people)], timezone.now())


def _name_of_lock(user_id: UUID) -> str:
    return f"subscription:{user_id}"


def _without_active(user_ids: Sequence[UUID]) -> list[UUID]:
    active = Subscription.objects.filter(user_id__in=user_ids).active()
    having = set(active.values_list("user_id", flat=True))
    return [user_id for user_id in user_ids if user_id not in having]


def _last_ends(user_ids: Sequence[UUID], at: datetime) -> dict[UUID, datetime]:
    """Where the history of each one stops, or `at` for those who have none."""
    past = Subscription.objects.filter(user_id__in=user_ids).exclude(
        status=SubscriptionStatus.PENDING
    )
    ends = past.values_list("user_id").annotate(Max("ends_at"))
    return {**dict.fromkeys(user_ids, at), **dict(ends)}
