"""Google Play: its messages say that something changed, and its API says what."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import jwt
from django.conf import settings
from django.utils import timezone
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.service_account import Credentials
from requests import RequestException

from accounts.choices import Plan, SubscriptionProvider
from accounts.errors import (
    InvalidNotificationError,
    InvalidReceiptError,
    PurchasePendingError,
    StoreUnavailableError,
)
from accounts.stores.contract import StoreNotification, StorePurchase, account_of, plan_of

SCOPE = "https://www.googleapis.com/auth/androidpublisher"
ISSUERS = ["https://accounts.google.com", "accounts.google.com"]
# Pub/Sub delivers again what was not answered within ten seconds.
PATIENCE_SECONDS = 5
CLOCK_SKEW_SECONDS = 10

UNPAID = {"SUBSCRIPTION_STATE_PENDING", "SUBSCRIPTION_STATE_PENDING_PURCHASE_CANCELED"}
OPEN = {
    "SUBSCRIPTION_STATE_ACTIVE",
    "SUBSCRIPTION_STATE_IN_GRACE_PERIOD",
    # Will not be renewed, and lasts until its end.
    "SUBSCRIPTION_STATE_CANCELED",
}
REVOKED = 12
NO_SUCH_PURCHASE = {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}


def configured() -> "GooglePlay | None":
    if not settings.GOOGLE_PACKAGE_NAME:
        return None
    return GooglePlay(
        settings.GOOGLE_PACKAGE_NAME,
        _credentials(settings.GOOGLE_SERVICE_ACCOUNT),
        _keys(settings.GOOGLE_KEYS_URL),
    )


@cache
def _credentials(service_account: str) -> Credentials:
    """One for the process: it keeps its access token until that is old."""
    made: Credentials = Credentials.from_service_account_info(  # type: ignore[no-untyped-call]  # has no types
        json.loads(service_account), scopes=[SCOPE]
    )
    return made


@cache
def _keys(url: str) -> jwt.PyJWKClient:
    """One for the process: it asks again when a message names a key that it has not seen."""
    return jwt.PyJWKClient(url, timeout=PATIENCE_SECONDS)


class GooglePlay:
    """A receipt is a purchase token."""

    def __init__(self, package: str, credentials: Credentials, keys: jwt.PyJWKClient) -> None:
        self._package, self._credentials, self._keys = package, credentials, keys

    def verify_receipt(self, receipt: str) -> StorePurchase:
        stated_at, state = self._ask(receipt)
        if state.get("subscriptionState") in UNPAID:
            raise PurchasePendingError("Google waits for the payment: try again when it is made.")
        purchase = _purchase(receipt, state, stated_at)
        if purchase is None:
            raise InvalidReceiptError("The receipt is for nothing that is sold here.")
        return purchase

    def verify_notification(
        self, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> StoreNotification:
        self._prove(headers.get("Authorization", ""))
        message_id, said = _message_of(body)
        if said.get("packageName") != self._package:
            raise InvalidNotificationError("The message is about another app.")
        token, revoked = _token_of(said)
        if not token:
            return StoreNotification(message_id, None)
        try:
            stated_at, state = self._ask(token)
        except InvalidReceiptError:
            # Purchases that ended long ago are forgotten by the store.
            return StoreNotification(message_id, None)
        if state.get("subscriptionState") in UNPAID:
            return StoreNotification(message_id, None)
        return StoreNotification(message_id, _purchase(token, state, stated_at, revoked=revoked))

    def _prove(self, authorization: str) -> None:
        """The message was pushed by Google, for us, by the account that we gave it."""
        scheme, _, token = authorization.partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise jwt.InvalidTokenError(scheme)
            claims = jwt.decode(
                token,
                self._keys.get_signing_key_from_jwt(token).key,
                ["RS256"],
                audience=settings.GOOGLE_PUSH_AUDIENCE,
                issuer=ISSUERS,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["exp", "iat", "aud", "iss"]},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise StoreUnavailableError("Google's keys cannot be read: try again.") from error
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidNotificationError("The bearer token is not Google's for us.") from error
        if claims.get("email") != settings.GOOGLE_PUSH_ACCOUNT or not claims.get("email_verified"):
            raise InvalidNotificationError("The bearer token is another account's.")

    def _ask(self, token: str) -> tuple[datetime, Mapping[str, Any]]:
        """What Google Play knows of the purchase, and when it was asked."""
        stated_at = timezone.now()
        url = (
            f"{settings.GOOGLE_PLAY_URL}/androidpublisher/v3/applications/{self._package}"
            f"/purchases/subscriptionsv2/tokens/{quote(token, safe='')}"
        )
        try:
            with AuthorizedSession(self._credentials) as session:  # type: ignore[no-untyped-call]  # has no types
                answer = session.request(  # type: ignore[no-untyped-call]  # has no types
                    "GET", url, timeout=PATIENCE_SECONDS, max_allowed_time=PATIENCE_SECONDS
                )
                if answer.status_code in NO_SUCH_PURCHASE:
                    raise InvalidReceiptError("Google knows no such purchase.")
                answer.raise_for_status()
                return stated_at, answer.json()
        except (RequestException, GoogleAuthError) as error:
            raise StoreUnavailableError("Google does not answer: try again later.") from error


def _message_of(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The id of a Pub/Sub message and what is in it."""
    try:
        message = body["message"]
        said = json.loads(base64.b64decode(message["data"]))
        return str(message["messageId"]), dict(said)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidNotificationError("The message is not in the form of Pub/Sub.") from error


def _token_of(said: Mapping[str, Any]) -> tuple[str, bool]:
    """The purchase that the message is about, or nothing, and whether it was taken back."""
    about = said.get("subscriptionNotification") or {}
    if about:
        return str(about.get("purchaseToken", "")), about.get("notificationType") == REVOKED
    voided = said.get("voidedPurchaseNotification") or {}
    # Whether a refund ends the access says the state of the purchase.
    return str(voided.get("purchaseToken", "")), False


def _purchase(
    token: str, state: Mapping[str, Any], stated_at: datetime, *, revoked: bool = False
) -> StorePurchase | None:
    """None for what is no subscription of ours."""
    items = sorted(_items_of_ours(state.get("lineItems", [])), key=lambda item: item[0])
    if not items or "startTime" not in state:
        return None
    ends_at, plan, renews = items[-1]
    if state.get("subscriptionState") not in OPEN:
        ends_at = min(ends_at, stated_at)
    accounts = state.get("externalAccountIdentifiers", {})
    return StorePurchase(
        provider=SubscriptionProvider.GOOGLE,
        external_id=token,
        plan=plan,
        purchased_at=datetime.fromisoformat(state["startTime"]),
        ends_at=ends_at,
        stated_at=stated_at,
        renews=renews,
        revoked=revoked,
        account=account_of(accounts.get("obfuscatedExternalAccountId")),
        replaces=state.get("linkedPurchaseToken", ""),
    )


def _items_of_ours(
    items: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[datetime, Plan, bool]]:
    """End, plan and renewal of each item that is sold here."""
    for item in items:
        product, offer = item.get("productId", ""), item.get("offerDetails", {})
        plan = plan_of(f"{product}/{offer.get('basePlanId', '')}") or plan_of(product)
        if plan is not None and "expiryTime" in item:
            renews = bool(item.get("autoRenewingPlan", {}).get("autoRenewEnabled"))
            yield datetime.fromisoformat(item["expiryTime"]), plan, renews
