import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from psycopg.errors import UniqueViolation

from accounts.choices import (
    AccountStatus,
    NotificationOutcome,
    SubscriptionProvider,
    SubscriptionStatus,
    Tier,
)
from accounts.errors import (
    CancelInStoreError,
    InvalidReceiptError,
    NothingToCancelError,
    ReceiptOfAnotherAccountError,
)
from accounts.models import ReceivedNotification, Subscription, User
from accounts.periods import lock_periods, settle
from accounts.querysets import SubscriptionQuerySet
from accounts.selectors.subscriptions import current_subscription
from accounts.stores import store_of
from accounts.stores.contract import StoreNotification, StorePurchase, digest_of
from common.locks import lock
from common.tenancy import acting_as, as_operator

logger = logging.getLogger(__name__)

ONE_ACCOUNT = "subscription_of_one_account"
NOTIFICATION_ONCE = "notification_once"


def start_free_subscription(*, user_id: UUID) -> Subscription:
    """Afterwards the person has an active subscription: the one they had, or a free year."""
    with acting_as(user_id):
        settle([user_id], lock_periods(user_id))
        return _current(user_id)


def verify_receipt(*, provider: SubscriptionProvider, receipt: str) -> StorePurchase:
    """The purchase that the receipt proves; asks the store, so that it is no transaction's part.

    Raises UnknownStoreError, InvalidReceiptError, PurchasePendingError and StoreUnavailableError.
    """
    return store_of(provider).verify_receipt(receipt)


def apply_receipt(*, user_id: UUID, provider: SubscriptionProvider, receipt: str) -> Subscription:
    """`verify_receipt` and `apply_purchase`."""
    purchase = verify_receipt(provider=provider, receipt=receipt)
    return apply_purchase(user_id=user_id, purchase=purchase)


def apply_purchase(*, user_id: UUID, purchase: StorePurchase) -> Subscription:
    """Afterwards the person has what they bought: premium is in force, and what was free is over.

    A second purchase waits until the first one is over. One that is known already, in this state
    or a later one, changes nothing. Returns the subscription that is in force. Raises
    ReceiptOfAnotherAccountError, and InvalidReceiptError for a purchase that was over or taken
    back before anybody handed it in; then nothing is written.
    """
    if purchase.account not in (None, user_id):
        raise _of_another_account()
    with acting_as(user_id):
        _lock_purchase(purchase)
        at = lock_periods(user_id)
        known = _row_of(user_id, purchase)
        if known is None and not _opens(purchase, at):
            raise InvalidReceiptError("The purchase is over.")
        _apply(user_id, purchase, known, at)
        return _current(user_id)


def receive_notification(
    *, provider: SubscriptionProvider, body: Mapping[str, Any], headers: Mapping[str, str]
) -> NotificationOutcome:
    """Afterwards what the store says is so, once, however often and in whatever order it says it.

    A message about nobody's purchase is taken and noted: the app hands in the receipt when it
    can, which opens nothing if the money went back. Raises UnknownStoreError,
    InvalidNotificationError and StoreUnavailableError; then the store has to repeat it.
    """
    notification = store_of(provider).verify_notification(body, headers)
    try:
        outcome = _treat(provider, notification)
    except IntegrityError as error:
        if _constraint_of(error) != NOTIFICATION_ONCE:
            raise
        # Another delivery of it was quicker.
        outcome = _treated(provider, notification) or NotificationOutcome.OUTDATED
    logger.info("a message of %s was taken: %s", provider.value, outcome.value)
    return outcome


def cancel_subscription(*, user_id: UUID) -> Subscription:
    """Afterwards premium ends when what is paid for is over. Raises NothingToCancelError, and
    CancelInStoreError where only the store can do that."""
    with acting_as(user_id):
        at = lock_periods(user_id)
        current = current_subscription(user_id)
        if current is None or current.tier == Tier.FREE or not current.renews:
            raise NothingToCancelError("There is no subscription that would be renewed.")
        if current.provider != SubscriptionProvider.LOCAL:
            raise CancelInStoreError("Cancel it where it was bought; the store tells us.")
        Subscription.objects.filter(pk=current.pk).update(
            renews=False, cancelled_at=at, updated_at=at
        )
        return _current(user_id)


def _treat(provider: SubscriptionProvider, notification: StoreNotification) -> NotificationOutcome:
    purchase = notification.purchase
    if purchase is None:
        return _note(provider, notification, NotificationOutcome.IGNORED)
    with transaction.atomic():
        _lock_purchase(purchase)
        owner = _owner_of(purchase)
        if owner is None:
            return _note(provider, notification, NotificationOutcome.UNKNOWN_ACCOUNT)
        with acting_as(owner):
            at = lock_periods(owner)
            known = _row_of(owner, purchase)
            applied = (known is not None or _opens(purchase, at)) and _apply(
                owner, purchase, known, at
            )
            outcome = NotificationOutcome.APPLIED if applied else NotificationOutcome.OUTDATED
            # Of two deliveries one can note it. What the other one did is rolled back.
            return _note(provider, notification, outcome)


def _treated(
    provider: SubscriptionProvider, notification: StoreNotification
) -> NotificationOutcome | None:
    found = ReceivedNotification.objects.filter(
        provider=provider, notification_id=notification.id
    ).first()
    return NotificationOutcome(found.outcome) if found else None


def _note(
    provider: SubscriptionProvider, notification: StoreNotification, outcome: NotificationOutcome
) -> NotificationOutcome:
    purchase = notification.purchase
    said = purchase and {
        "purchase_digest": purchase.digest,
        "purchased_at": purchase.purchased_at,
        "stated_at": purchase.stated_at,
        "revoked": purchase.revoked,
    }
    with transaction.atomic():
        ReceivedNotification.objects.create(
            provider=provider, notification_id=notification.id, outcome=outcome, **(said or {})
        )
    return outcome


def _lock_purchase(purchase: StorePurchase) -> None:
    """Nobody else hands it in or tells of it until the transaction ends; before `lock_periods`."""
    lock(f"purchase:{purchase.provider}:{purchase.digest.hex()}")


def _opens(purchase: StorePurchase, at: datetime) -> bool:
    """Whether a purchase that nobody has goes on at `at`, by all that the store has said of it.

    Some receipts stay well signed after the money went back.
    """
    last = (
        ReceivedNotification.objects.filter(
            provider=purchase.provider, purchase_digest=purchase.digest
        )
        .order_by("-purchased_at", "-stated_at")
        .first()
    )
    taken_back = last is not None and last.revoked and not _says_more(purchase, last)
    return purchase.grants(at) and not taken_back


def _owner_of(purchase: StorePurchase) -> UUID | None:
    """Whose purchase it is known to be, or else the person that the app named to the store."""
    with as_operator("find whose purchase a store speaks of"):
        known = _bought(Subscription.objects.all(), purchase)
        owner: UUID | None = known.user_id if known else _person(purchase.account)
        return owner


def _person(account: UUID | None) -> UUID | None:
    people = User.objects.exclude(account_status=AccountStatus.DELETED).filter(pk=account)
    found: UUID | None = people.values_list("pk", flat=True).first()
    return found


def _row_of(user_id: UUID, purchase: StorePurchase) -> Subscription | None:
    """The person's row of the purchase, or of the one that it took the place of."""
    return _bought(Subscription.objects.visible_to(user_id), purchase)


def _bought(rows: SubscriptionQuerySet, purchase: StorePurchase) -> Subscription | None:
    digests = [purchase.digest, *([digest_of(purchase.replaces)] if purchase.replaces else [])]
    found = rows.filter(provider=purchase.provider, external_digest__in=digests).defer(
        "external_id"
    )
    # Rather itself than the one that it took the place of.
    return min(found, key=lambda row: row.external_digest != purchase.digest, default=None)


def _apply(
    user_id: UUID, purchase: StorePurchase, known: Subscription | None, at: datetime
) -> bool:
    """Afterwards the person's periods follow from the purchase; False if more was known already.

    Another account's purchase cannot be seen from here: its unique digest refuses.
    """
    if known is not None and not _says_more(purchase, known):
        return False
    row = known or Subscription(
        user_id=user_id,
        tier=Tier.PREMIUM,
        status=SubscriptionStatus.PENDING,
        provider=purchase.provider,
        starts_at=at,
    )
    _copy_statement(row, purchase, at)
    if purchase.revoked:
        _take_back(row, at)
    elif purchase.grants(at):
        _grant(row, purchase, at)
    else:
        _end(row, purchase, at)
    try:
        row.save(force_insert=known is None)
    except IntegrityError as error:
        if _constraint_of(error) == ONE_ACCOUNT:
            raise _of_another_account() from error
        raise
    settle([user_id], at)
    return True


def _says_more(purchase: StorePurchase, known: Subscription | ReceivedNotification) -> bool:
    """A later period counts more than a later statement: an old period may be stated again."""
    before = (known.purchased_at, known.stated_at)
    return before < (purchase.purchased_at, purchase.stated_at)


def _copy_statement(row: Subscription, purchase: StorePurchase, at: datetime) -> None:
    row.plan = purchase.plan
    row.purchased_at, row.stated_at, row.updated_at = purchase.purchased_at, purchase.stated_at, at
    if row.external_digest != purchase.digest:
        row.external_id, row.external_digest = purchase.external_id, purchase.digest
    if purchase.renews is not None:
        row.renews = purchase.renews
    row.cancelled_at = None if row.renews else row.cancelled_at or at


def _take_back(row: Subscription, at: datetime) -> None:
    """The money went back: what is left of the period is over."""
    row.renews, row.cancelled_at = False, row.cancelled_at or at
    if row.status == SubscriptionStatus.ACTIVE:
        row.ends_at = max(row.starts_at, min(row.ends_at, at))
    elif row.status == SubscriptionStatus.PENDING:
        row.starts_at = row.ends_at = at
    row.status = SubscriptionStatus.CANCELLED


def _end(row: Subscription, purchase: StorePurchase, at: datetime) -> None:
    if row.status == SubscriptionStatus.ACTIVE:
        row.ends_at = max(row.starts_at, min(purchase.ends_at, at))
    elif row.status == SubscriptionStatus.PENDING:
        # It was never in force.
        row.starts_at = row.ends_at = at
        row.status = SubscriptionStatus.EXPIRED


def _grant(row: Subscription, purchase: StorePurchase, at: datetime) -> None:
    """In force from here on, unless another purchase is; what was free is over."""
    row.ends_at = purchase.ends_at
    if row.status == SubscriptionStatus.ACTIVE:
        return
    current = Subscription.objects.visible_to(row.user_id).active().without_seals().first()
    if current is not None and current.tier == Tier.PREMIUM and current.ends_at > at:
        row.status, row.starts_at = SubscriptionStatus.PENDING, at
        return
    row.status, row.starts_at = SubscriptionStatus.ACTIVE, at
    if current is not None:
        # Never before its start, should the clocks of two machines differ.
        current.ends_at = row.starts_at = max(current.starts_at, min(current.ends_at, at))
        current.status, current.updated_at = SubscriptionStatus.EXPIRED, at
        current.save(update_fields=["status", "ends_at", "updated_at"])


def _current(user_id: UUID) -> Subscription:
    return Subscription.objects.visible_to(user_id).active().without_seals().get()


def _of_another_account() -> ReceiptOfAnotherAccountError:
    return ReceiptOfAnotherAccountError("Log in with the account that bought it.")


def _constraint_of(error: IntegrityError) -> str | None:
    cause = error.__cause__
    return cause.diag.constraint_name if isinstance(cause, UniqueViolation) else None
