"""A store of our own for development: it signs what one asks it to sign."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import jwt
from django.conf import settings

from accounts.choices import Plan, SubscriptionProvider
from accounts.errors import InvalidNotificationError, InvalidReceiptError
from accounts.stores.contract import StoreNotification, StorePurchase, account_of
from common.ids import uuid7

ALGORITHM = "HS256"
RECEIPT, NOTIFICATION = "receipt", "notification"


def configured() -> "LocalStore | None":
    if not settings.STORE_LOCAL:
        return None
    return LocalStore(hmac.digest(settings.SECRET_KEY.encode(), b"accounts.stores.local", sha256))


@dataclass(frozen=True)
class LocalStore:
    key: bytes

    def sign_receipt(self, purchase: StorePurchase) -> str:
        return self._sign(RECEIPT, _words_of(purchase))

    def sign_notification(
        self, purchase: StorePurchase | None, *, notification_id: str = ""
    ) -> dict[str, str]:
        """The body that is posted to the route for notifications."""
        said = _words_of(purchase) if purchase else {}
        signed = self._sign(NOTIFICATION, {**said, "id": notification_id or str(uuid7())})
        return {"signedPayload": signed}

    def verify_receipt(self, receipt: str) -> StorePurchase:
        try:
            return _purchase(self._read(RECEIPT, receipt))
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError) as error:
            raise InvalidReceiptError("The receipt was not signed here.") from error

    def verify_notification(
        self, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> StoreNotification:
        try:
            said = self._read(NOTIFICATION, str(body.get("signedPayload")))
            purchase = _purchase(said) if "external_id" in said else None
            return StoreNotification(str(said["id"]), purchase)
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError) as error:
            raise InvalidNotificationError("The message was not signed here.") from error

    def _sign(self, kind: str, said: Mapping[str, Any]) -> str:
        return jwt.encode({**said, "kind": kind}, self.key, ALGORITHM)

    def _read(self, kind: str, signed: str) -> dict[str, Any]:
        said: dict[str, Any] = jwt.decode(signed, self.key, [ALGORITHM])
        if said["kind"] != kind:
            raise ValueError(kind)
        return said


def _words_of(purchase: StorePurchase) -> dict[str, Any]:
    return {
        "external_id": purchase.external_id,
        "plan": purchase.plan,
        "purchased_at": purchase.purchased_at.isoformat(),
        "ends_at": purchase.ends_at.isoformat(),
        "stated_at": purchase.stated_at.isoformat(),
        "renews": purchase.renews,
        "revoked": purchase.revoked,
        "account": str(purchase.account or ""),
        "replaces": purchase.replaces,
    }


def _purchase(said: Mapping[str, Any]) -> StorePurchase:
    return StorePurchase(
        provider=SubscriptionProvider.LOCAL,
        external_id=str(said["external_id"]),
        plan=Plan(said["plan"]),
        purchased_at=datetime.fromisoformat(said["purchased_at"]),
        ends_at=datetime.fromisoformat(said["ends_at"]),
        stated_at=datetime.fromisoformat(said["stated_at"]),
        renews=said["renews"],
        revoked=bool(said["revoked"]),
        account=account_of(said["account"]),
        replaces=str(said["replaces"]),
    )
