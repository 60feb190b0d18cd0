"""The App Store: what Apple has signed, verified by Apple's own library."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from appstoreserverlibrary.models.AutoRenewStatus import AutoRenewStatus
from appstoreserverlibrary.models.Data import Data
from appstoreserverlibrary.models.Environment import Environment
from appstoreserverlibrary.models.JWSRenewalInfoDecodedPayload import JWSRenewalInfoDecodedPayload
from appstoreserverlibrary.models.JWSTransactionDecodedPayload import JWSTransactionDecodedPayload
from appstoreserverlibrary.signed_data_verifier import (
    SignedDataVerifier,
    VerificationException,
    VerificationStatus,
)
from django.conf import settings

from accounts.choices import SubscriptionProvider
from accounts.errors import (
    InvalidNotificationError,
    InvalidReceiptError,
    StoreUnavailableError,
)
from accounts.stores.contract import StoreNotification, StorePurchase, account_of, plan_of
from common.errors import DomainError

ENVIRONMENTS = {"production": Environment.PRODUCTION, "sandbox": Environment.SANDBOX}


def configured() -> "AppStore | None":
    if not settings.APPLE_BUNDLE_ID:
        return None
    return AppStore(
        _verifier(
            settings.APPLE_BUNDLE_ID,
            settings.APPLE_APP_ID,
            settings.APPLE_ENVIRONMENT,
            tuple(settings.APPLE_ROOT_CERTIFICATES),
            online=settings.APPLE_ONLINE_CHECKS,
        )
    )


@cache
def _verifier(
    bundle_id: str, app_id: int, environment: str, roots: tuple[str, ...], *, online: bool
) -> SignedDataVerifier:
    """One for the process: it remembers for a while which certificates it has looked at."""
    return SignedDataVerifier(
        [Path(path).read_bytes() for path in roots],
        online,
        ENVIRONMENTS[environment],
        bundle_id,
        app_id or None,
    )


class AppStore:
    """A receipt is the signed transaction that StoreKit 2 gives the app."""

    def __init__(self, verifier: SignedDataVerifier) -> None:
        self._verifier = verifier

    def verify_receipt(self, receipt: str) -> StorePurchase:
        try:
            transaction = self._verifier.verify_and_decode_signed_transaction(receipt)
        except VerificationException as error:
            raise _refusal(error, InvalidReceiptError) from error
        purchase = _purchase(transaction, None, transaction.signedDate)
        if purchase is None:
            raise InvalidReceiptError("The receipt is for nothing that is sold here.")
        return purchase

    def verify_notification(
        self, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> StoreNotification:
        try:
            message = self._verifier.verify_and_decode_notification(str(body.get("signedPayload")))
            transaction, renewal = self._contents(message.data)
        except VerificationException as error:
            raise _refusal(error, InvalidNotificationError) from error
        if not message.notificationUUID:
            raise InvalidNotificationError("The message has no id.")
        purchase = transaction and _purchase(transaction, renewal, message.signedDate)
        return StoreNotification(message.notificationUUID, purchase or None)

    def _contents(
        self, data: Data | None
    ) -> tuple[JWSTransactionDecodedPayload | None, JWSRenewalInfoDecodedPayload | None]:
        """They are signed on their own, inside of what is signed."""
        transaction = renewal = None
        if data and data.signedTransactionInfo:
            signed = data.signedTransactionInfo
            transaction = self._verifier.verify_and_decode_signed_transaction(signed)
        if data and data.signedRenewalInfo:
            renewal = self._verifier.verify_and_decode_renewal_info(data.signedRenewalInfo)
        return transaction, renewal


def _purchase(
    transaction: JWSTransactionDecodedPayload,
    renewal: JWSRenewalInfoDecodedPayload | None,
    stated: int | None,
) -> StorePurchase | None:
    """None for what is no subscription of ours."""
    plan = plan_of(transaction.productId)
    times = (transaction.purchaseDate, transaction.expiresDate, stated)
    if plan is None or not transaction.originalTransactionId or None in times:
        return None
    purchased_at, ends_at, stated_at = (_time(milliseconds or 0) for milliseconds in times)
    if renewal and renewal.gracePeriodExpiresDate:
        # The store could not charge, and lets them go on until then.
        ends_at = max(ends_at, _time(renewal.gracePeriodExpiresDate))
    return StorePurchase(
        provider=SubscriptionProvider.APPLE,
        external_id=transaction.originalTransactionId,
        plan=plan,
        purchased_at=purchased_at,
        ends_at=ends_at,
        stated_at=stated_at,
        renews=renewal.autoRenewStatus == AutoRenewStatus.ON if renewal else None,
        revoked=transaction.revocationDate is not None,
        account=account_of(transaction.appAccountToken),
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _refusal(error: VerificationException, kind: type[DomainError]) -> DomainError:
    if error.status == VerificationStatus.RETRYABLE_VERIFICATION_FAILURE:
        return StoreUnavailableError("Apple's certificates cannot be looked up: try again later.")
    return kind(f"The signature is not good: {error.status.name.lower()}.")
