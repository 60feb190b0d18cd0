"""The App Store: what Apple's chain signed for our app counts, and nothing else.

The certificates are made here, as Apple makes them; its own library verifies them.
"""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.choices import Plan, SubscriptionProvider
from accounts.errors import InvalidNotificationError, InvalidReceiptError
from accounts.models import User
from accounts.selectors.subscriptions import is_premium
from accounts.services.subscriptions import start_free_subscription
from accounts.stores import store_of
from accounts.stores.contract import StoreNotification, StorePurchase
from accounts.tests.consents import agree_to_everything
from accounts.tests.factories import client_of, make_user
from accounts.tests.purchases import periods_of, rows_of
from common.ids import uuid7

BUNDLE = "com.example.commonplace"
APP_ID = 41234
PRODUCT = "com.example.commonplace.month"
# What Apple marks the certificates of its chain with.
INTERMEDIATE_MARK = "1.2.840.113635.100.6.2.1"
LEAF_MARK = "1.2.840.113635.100.6.11.1"
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Certified:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def certify(name: str, issuer: Certified | None = None, mark: str = "") -> Certified:
    """A certificate of a CA, unless it has the mark of a leaf; a root, if nobody issues it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing = issuer.key if issuer else key
    is_ca = mark != LEAF_MARK
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + timedelta(days=400))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
    )
    if mark:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(mark), b"\x05\x00")
        builder = builder.add_extension(extension, critical=False)
    return Certified(builder.sign(signing, SHA256()), key)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True)
class Signer:
    """What signs in Apple's place: root, intermediate and leaf."""

    chain: tuple[Certified, Certified, Certified]

    @classmethod
    def made(cls, leaf_mark: str = LEAF_MARK) -> "Signer":
        root = certify("A root")
        middle = certify("An intermediate", root, INTERMEDIATE_MARK)
        return cls((certify("A leaf", middle, leaf_mark), middle, root))

    @property
    def root(self) -> bytes:
        return self.chain[2].certificate.public_bytes(Encoding.DER)

    def sign(self, payload: dict[str, Any], algorithm: str = "ES256") -> str:
        ders = [one.certificate.public_bytes(Encoding.DER) for one in self.chain]
        header = {"x5c": [base64.b64encode(der).decode() for der in ders]}
        return jwt.encode(payload, self.chain[0].key, algorithm, header)


def milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def transaction(**values: Any) -> dict[str, Any]:
    return {
        "transactionId": "20001",
        "originalTransactionId": "20000",
        "bundleId": BUNDLE,
        "productId": PRODUCT,
        "purchaseDate": milliseconds(NOW - timedelta(hours=1)),
        "expiresDate": milliseconds(NOW + timedelta(days=30)),
        "signedDate": milliseconds(NOW),
        "type": "Auto-Renewable Subscription",
        "environment": "Production",
        **values,
    }


APPLE = Signer.made()


@pytest.fixture(autouse=True)
def our_app(settings: Any, tmp_path: Path) -> None:
    root = tmp_path / "root.cer"
    root.write_bytes(APPLE.root)
    settings.APPLE_BUNDLE_ID = BUNDLE
    settings.APPLE_APP_ID = APP_ID
    settings.APPLE_ENVIRONMENT = "production"
    settings.APPLE_ROOT_CERTIFICATES = [str(root)]
    # Whether a certificate was revoked only Apple can say.
    settings.APPLE_ONLINE_CHECKS = False
    settings.STORE_PRODUCTS = {PRODUCT: "monthly", f"{PRODUCT}s": "yearly"}


def read(receipt: str) -> StorePurchase:
    return store_of(SubscriptionProvider.APPLE).verify_receipt(receipt)


def heard(body: dict[str, Any]) -> StoreNotification:
    return store_of(SubscriptionProvider.APPLE).verify_notification(body, {})


def notification(
    signer: Signer = APPLE,
    *,
    bought: dict[str, Any] | None = None,
    renewal: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    **values: Any,
) -> dict[str, Any]:
    contents = {"bundleId": BUNDLE, "appAppleId": APP_ID, "environment": "Production"}
    if bought is not None:
        contents["signedTransactionInfo"] = signer.sign(transaction(**bought))
    if renewal is not None:
        said = {"environment": "Production", "signedDate": milliseconds(NOW), **renewal}
        contents["signedRenewalInfo"] = signer.sign(said)
    payload = {
        "notificationType": "DID_RENEW",
        "notificationUUID": "4f1e0000-0000-4000-8000-000000000001",
        "version": "2.0",
        "signedDate": milliseconds(NOW + timedelta(minutes=1)),
        "data": {**contents, **(data or {})},
        **values,
    }
    return {"signedPayload": signer.sign(payload)}


def test_a_signed_transaction_is_a_purchase() -> None:
    account = uuid7()

    purchase = read(APPLE.sign(transaction(appAccountToken=str(account))))

    assert purchase == StorePurchase(
        provider=SubscriptionProvider.APPLE,
        external_id="20000",
        plan=Plan.MONTHLY,
        purchased_at=NOW - timedelta(hours=1),
        ends_at=NOW + timedelta(days=30),
        stated_at=NOW,
        renews=None,
        revoked=False,
        account=account,
    )


def test_a_transaction_that_was_taken_back_says_so() -> None:
    assert read(APPLE.sign(transaction(revocationDate=milliseconds(NOW)))).revoked is True
    assert read(APPLE.sign(transaction(productId=f"{PRODUCT}s"))).plan == Plan.YEARLY


@pytest.mark.parametrize(
    "values",
    [
        {"bundleId": "com.example.other"},
        {"environment": "Sandbox"},
        {"environment": "Xcode"},
        {"environment": "LocalTesting"},
        {"productId": "com.example.commonplace.sticker"},
        {"expiresDate": None},
        {"originalTransactionId": None},
    ],
)
def test_what_is_not_a_subscription_of_our_app_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidReceiptError):
        read(APPLE.sign(transaction(**values)))


def with_a_changed_word(receipt: str) -> str:
    header, payload, signature = receipt.split(".")
    words = base64.urlsafe_b64decode(payload + "==").replace(b"20000", b"20009")
    return f"{header}.{base64.urlsafe_b64encode(words).decode().rstrip('=')}.{signature}"


def test_what_apple_did_not_sign_is_refused() -> None:
    stranger, unmarked = Signer.made(), Signer.made(leaf_mark=INTERMEDIATE_MARK)
    mixed = Signer((stranger.chain[0], APPLE.chain[1], APPLE.chain[2]))
    short = jwt.encode(transaction(), APPLE.chain[0].key, "ES256")
    symmetric = jwt.encode(transaction(), "a secret of at least thirty-two bytes", "HS256")
    receipts = [
        stranger.sign(transaction()), unmarked.sign(transaction()), mixed.sign(transaction()),
        short, symmetric, with_a_changed_word(APPLE.sign(transaction())), "x", "a.b.c",
    ]  # fmt: skip

    for receipt in receipts:
        with pytest.raises(InvalidReceiptError):
            read(receipt)


def test_a_message_carries_the_purchase_and_whether_it_will_be_renewed() -> None:
    said = heard(notification(bought={}, renewal={"autoRenewStatus": 0}))

    assert said.id == "4f1e0000-0000-4000-8000-000000000001"
    assert said.purchase is not None
    assert (said.purchase.external_id, said.purchase.renews) == ("20000", False)
    assert said.purchase.stated_at == NOW + timedelta(minutes=1)
    again = heard(notification(bought={}, renewal={"autoRenewStatus": 1}))
    assert again.purchase is not None
    assert again.purchase.renews is True


def test_a_grace_period_makes_the_purchase_longer() -> None:
    grace = NOW + timedelta(days=46)
    renewal = {"autoRenewStatus": 1, "gracePeriodExpiresDate": milliseconds(grace)}

    said = heard(notification(bought={}, renewal=renewal))

    assert said.purchase is not None
    assert said.purchase.ends_at == grace


def test_a_message_without_a_transaction_is_about_no_purchase() -> None:
    assert heard(notification(notificationType="TEST")).purchase is None


@pytest.mark.parametrize(
    "body",
    [
        notification(Signer.made(), bought={}),
        notification(bought={}, data={"bundleId": "com.example.other"}),
        notification(bought={}, data={"appAppleId": 9}),
        notification(bought={}, data={"environment": "Sandbox"}),
        # Signed by Apple, around something that Apple did not sign.
        notification(data={"signedTransactionInfo": Signer.made().sign(transaction())}),
        notification(bought={}, notificationUUID=None),
        {"signedPayload": "x"},
        {},
    ],
)
def test_a_message_that_is_not_apples_about_our_app_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidNotificationError):
        heard(body)


@pytest.mark.django_db(transaction=True, databases=["default", "operator"])
def test_a_subscription_from_purchase_to_refund() -> None:
    ada: User = make_user("ada")
    agree_to_everything(ada)
    start_free_subscription(user_id=ada.pk)
    body = {"provider": "apple", "receipt": APPLE.sign(transaction(appAccountToken=str(ada.pk)))}
    bought = client_of(ada).post("/api/v1/subscription/receipts/", body)
    assert (bought.status_code, bought.json()["premium"]) == (200, True)

    def tell(number: int, **values: Any) -> Any:
        stated = milliseconds(timezone.now() + timedelta(minutes=number))
        said = notification(notificationUUID=str(number), signedDate=stated, **values)
        return APIClient().post("/api/v1/subscription/notifications/apple/", said).json()

    assert tell(1, bought={}, renewal={"autoRenewStatus": 0}) == {"outcome": "applied"}
    assert (is_premium(ada), rows_of(ada)[-1].renews) == (True, False)
    refund = {"revocationDate": milliseconds(NOW)}
    assert tell(2, bought=refund, notificationType="REFUND") == {"outcome": "applied"}
    assert is_premium(ada) is False
    assert periods_of(ada) == [("free", "expired"), ("premium", "cancelled"), ("free", "active")]
