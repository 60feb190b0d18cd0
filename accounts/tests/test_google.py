"""Google Play: its messages are proved by a token, and purchases looked up at its API.

A small server on this machine stands in for Google: keys, access tokens and purchases.
"""

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import RSAAlgorithm
from rest_framework.test import APIClient

from accounts.choices import Plan, SubscriptionProvider
from accounts.errors import (
    InvalidNotificationError,
    InvalidReceiptError,
    PurchasePendingError,
    StoreUnavailableError,
)
from accounts.selectors.subscriptions import is_premium
from accounts.services.subscriptions import start_free_subscription
from accounts.stores import store_of
from accounts.stores.contract import StoreNotification, StorePurchase
from accounts.tests.consents import agree_to_everything
from accounts.tests.factories import client_of, make_user
from accounts.tests.purchases import periods_of
from common.ids import uuid7

PACKAGE = "com.example.commonplace"
AUDIENCE = "https://commonplace.example/google"
PUSHER = "pusher@example.iam.gserviceaccount.com"
TOKEN = "purchase/token-1"
NOW = datetime.now(UTC).replace(microsecond=0)
GOOGLE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Play(BaseHTTPRequestHandler):
    """Google, as far as we talk to it."""

    purchases: dict[str, dict[str, Any]] = {}
    failing = 0
    asked: list[str] = []

    def do_GET(self) -> None:
        if self.path == "/keys":
            key = RSAAlgorithm.to_jwk(GOOGLE.public_key(), as_dict=True)
            self._answer(200, {"keys": [{**key, "kid": "k1", "use": "sig", "alg": "RS256"}]})
            return
        beginning = f"/androidpublisher/v3/applications/{PACKAGE}/purchases/subscriptionsv2/tokens/"
        assert self.path.startswith(beginning), self.path
        assert self.headers["Authorization"] == "Bearer access-1"
        token = unquote(self.path.removeprefix(beginning))
        Play.asked.append(token)
        if Play.failing:
            self._answer(Play.failing, {})
        elif token in Play.purchases:
            self._answer(200, Play.purchases[token])
        else:
            self._answer(404, {"error": {"code": 404}})

    def do_POST(self) -> None:
        assert self.path == "/token"
        self._answer(200, {"access_token": "access-1", "expires_in": 3600, "token_type": "Bearer"})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Play)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def our_app(settings: Any, address: str) -> None:
    Play.purchases, Play.failing, Play.asked = {}, 0, []
    secret = GOOGLE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    settings.GOOGLE_PACKAGE_NAME = PACKAGE
    settings.GOOGLE_SERVICE_ACCOUNT = json.dumps(
        {
            "type": "service_account",
            "client_email": "reader@example.iam.gserviceaccount.com",
            "private_key": secret,
            "token_uri": f"{address}/token",
        }
    )
    settings.GOOGLE_PUSH_AUDIENCE = AUDIENCE
    settings.GOOGLE_PUSH_ACCOUNT = PUSHER
    settings.GOOGLE_KEYS_URL = f"{address}/keys"
    settings.GOOGLE_PLAY_URL = address
    settings.STORE_PRODUCTS = {"plus": "yearly", "plus/month": "monthly"}


def time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", ".123Z")


def purchase(state: str = "ACTIVE", *, days: int = 30, **values: Any) -> dict[str, Any]:
    item = {
        "productId": "plus",
        "expiryTime": time(NOW + timedelta(days=days)),
        "autoRenewingPlan": {"autoRenewEnabled": True},
        "offerDetails": {"basePlanId": "month"},
    }
    return {
        "startTime": time(NOW),
        "subscriptionState": f"SUBSCRIPTION_STATE_{state}",
        "lineItems": [{**item, **values.pop("item", {})}],
        **values,
    }


def bearer(key: rsa.RSAPrivateKey = GOOGLE, **values: Any) -> dict[str, str]:
    claims = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "email": PUSHER,
        "email_verified": True,
        "iat": NOW - timedelta(minutes=1),
        "exp": NOW + timedelta(hours=1),
        **values,
    }
    given = {name: value for name, value in claims.items() if value is not None}
    return {"Authorization": f"Bearer {jwt.encode(given, key, 'RS256', {'kid': 'k1'})}"}


def pushed(message_id: str = "m1", **values: Any) -> dict[str, Any]:
    said = {
        "version": "1.0",
        "packageName": PACKAGE,
        "eventTimeMillis": "1",
        **(values or {"subscriptionNotification": {"notificationType": 2, "purchaseToken": TOKEN}}),
    }
    data = base64.b64encode(json.dumps(said).encode()).decode()
    return {"message": {"data": data, "messageId": message_id}, "subscription": "s"}


def read(receipt: str = TOKEN) -> StorePurchase:
    return store_of(SubscriptionProvider.GOOGLE).verify_receipt(receipt)


def heard(body: dict[str, Any], headers: dict[str, str] | None = None) -> StoreNotification:
    given = bearer() if headers is None else headers
    return store_of(SubscriptionProvider.GOOGLE).verify_notification(body, given)


def test_a_purchase_token_is_looked_up() -> None:
    account = uuid7()
    Play.purchases[TOKEN] = purchase(
        externalAccountIdentifiers={"obfuscatedExternalAccountId": str(account)},
        linkedPurchaseToken="older",
    )

    found = read()

    assert (found.external_id, found.replaces, found.account) == (TOKEN, "older", account)
    assert (found.plan, found.renews, found.revoked) == (Plan.MONTHLY, True, False)
    assert found.ends_at == NOW + timedelta(days=30, milliseconds=123)
    assert found.purchased_at == NOW + timedelta(milliseconds=123)
    assert abs(found.stated_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert Play.asked == [TOKEN]


def test_a_product_has_the_plan_of_its_base_plan_or_its_own() -> None:
    Play.purchases[TOKEN] = purchase(item={"offerDetails": {"basePlanId": "other"}})

    assert read().plan == Plan.YEARLY


@pytest.mark.parametrize(
    ("state", "grants"),
    [
        ("ACTIVE", True), ("IN_GRACE_PERIOD", True), ("CANCELED", True), ("ON_HOLD", False),
        ("PAUSED", False), ("EXPIRED", False), ("SOMETHING_NEW", False),
    ],
)  # fmt: skip
def test_only_some_states_open_anything(state: str, *, grants: bool) -> None:
    Play.purchases[TOKEN] = purchase(state)

    assert read().grants(datetime.now(UTC)) is grants


def test_what_is_not_paid_yet_is_told_so() -> None:
    Play.purchases[TOKEN] = purchase("PENDING")

    with pytest.raises(PurchasePendingError):
        read()
    assert heard(pushed()).purchase is None


@pytest.mark.parametrize("item", [{"productId": "sticker"}, {"expiryTime": None}])
def test_what_is_not_sold_here_is_refused(item: dict[str, Any]) -> None:
    found = purchase(item=item)
    found["lineItems"] = [
        {name: value for name, value in line.items() if value is not None}
        for line in found["lineItems"]
    ]
    Play.purchases[TOKEN] = found

    with pytest.raises(InvalidReceiptError):
        read()


def test_what_google_does_not_know_is_no_receipt() -> None:
    with pytest.raises(InvalidReceiptError):
        read("../../../made/up")
    assert Play.asked == ["../../../made/up"]
    assert heard(pushed()).purchase is None


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_when_google_does_not_answer_it_is_tried_again(status: int) -> None:
    Play.failing = status

    with pytest.raises(StoreUnavailableError):
        read()
    with pytest.raises(StoreUnavailableError):
        heard(pushed())


def test_when_nobody_listens_it_is_tried_again(settings: Any) -> None:
    settings.GOOGLE_PLAY_URL = "http://127.0.0.1:9"
    with pytest.raises(StoreUnavailableError):
        read()

    settings.GOOGLE_KEYS_URL = "http://127.0.0.1:9/keys"
    with pytest.raises(StoreUnavailableError):
        heard(pushed())


def test_a_message_brings_the_state_that_google_has() -> None:
    Play.purchases[TOKEN] = purchase()

    said = heard(pushed("m7"))

    assert said.id == "m7"
    assert said.purchase is not None
    assert said.purchase.external_id == TOKEN


def test_a_message_of_a_revocation_ends_it_at_once() -> None:
    Play.purchases[TOKEN] = purchase("EXPIRED", days=0)
    body = pushed(subscriptionNotification={"notificationType": 12, "purchaseToken": TOKEN})

    said = heard(body)

    assert said.purchase is not None
    assert said.purchase.revoked is True


def test_messages_about_something_else_are_about_no_purchase() -> None:
    assert heard(pushed(testNotification={"version": "1.0"})).purchase is None
    assert heard(pushed(oneTimeProductNotification={"purchaseToken": TOKEN})).purchase is None
    assert Play.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer x"},
        {"Authorization": bearer()["Authorization"].replace("Bearer", "Basic")},
        bearer(STRANGER),
        bearer(iss="https://accounts.example"),
        bearer(aud="https://commonplace.example/other"),
        bearer(aud=None),
        bearer(exp=NOW - timedelta(minutes=5)),
        bearer(email="somebody@example.com"),
        bearer(email_verified=False),
        {"Authorization": "Bearer " + jwt.encode({"aud": AUDIENCE}, "k" * 40, "HS256")},
        {"Authorization": "Bearer " + jwt.encode({"aud": AUDIENCE}, "", "none")},
    ],
)
def test_a_message_that_google_did_not_push_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidNotificationError):
        heard(pushed(), headers)
    assert Play.asked == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "x"},
        {"message": {"data": "!", "messageId": "1"}},
        {"message": {"data": "W10=", "messageId": "1"}},
        {"message": {"messageId": "1"}},
        {"message": {"data": "NQ==", "messageId": "1"}},
        pushed(packageName="com.example.other"),
    ],
)
def test_a_message_of_another_form_or_app_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidNotificationError):
        heard(body)
    assert Play.asked == []


@pytest.mark.django_db(transaction=True, databases=["default", "operator"])
def test_a_subscription_from_purchase_to_revocation() -> None:
    ada = make_user("ada")
    agree_to_everything(ada)
    start_free_subscription(user_id=ada.pk)
    Play.purchases[TOKEN] = purchase(
        externalAccountIdentifiers={"obfuscatedExternalAccountId": str(ada.pk)}
    )
    body = {"provider": "google", "receipt": TOKEN}
    bought = client_of(ada).post("/api/v1/subscription/receipts/", body)
    assert (bought.status_code, bought.json()["premium"]) == (200, True)

    Play.purchases[TOKEN] = purchase("EXPIRED", days=0)
    revoked = pushed(subscriptionNotification={"notificationType": 12, "purchaseToken": TOKEN})
    route = "/api/v1/subscription/notifications/google/"
    assert APIClient().post(route, revoked).status_code == 400
    answer = APIClient().post(route, revoked, headers=bearer())

    assert answer.json() == {"outcome": "applied"}
    assert is_premium(ada) is False
    assert periods_of(ada) == [("free", "expired"), ("premium", "cancelled"), ("free", "active")]
