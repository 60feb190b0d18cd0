"""Devices of tests, with keys that sign what they are asked to."""

import base64
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rest_framework.test import APIClient

from accounts.choices import BiometricKind
from accounts.models import BiometricKey, User
from accounts.services.biometrics import announce_key, register_key

URL = "/api/v1/biometrics/"
PrivateKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey


def p256() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Device:
    """Something that holds a key and signs with it."""

    device_id: str = "phone-1"
    private: PrivateKey = field(default_factory=p256)

    @property
    def public_key(self) -> bytes:
        return self.private.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.private, Ed25519PrivateKey):
            return self.private.sign(message)
        return self.private.sign(message, ec.ECDSA(SHA256()))

    def signature(self, purpose: str, key_id: str, challenge: str) -> str:
        """For an answer of the API that holds a challenge, in base64 as the API takes it."""
        message = b"commonplace biometric %s\0" % purpose.encode()
        message += UUID(key_id).bytes + base64.b64decode(challenge)
        return base64.b64encode(self.sign(message)).decode()

    def announcement(self, **changes: Any) -> dict[str, Any]:
        return {
            "kind": "touch_id",
            "device_id": self.device_id,
            "public_key": base64.b64encode(self.public_key).decode(),
            "label": "My phone",
            **changes,
        }

    def answer(self, key_id: str, challenge: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """What to send for a challenge of the API."""
        signature = self.signature(challenge["purpose"], key_id, challenge["challenge"])
        return {"device_id": self.device_id, "signature": signature, **changes}

    def register(self, client: APIClient, **changes: Any) -> str:
        """Afterwards the key is active; returns its id."""
        announced = client.post(URL, self.announcement(**changes))
        assert announced.status_code == 201, announced.content
        key_id = str(announced.json()["id"])
        completed = client.post(
            f"{URL}{key_id}/complete/", self.answer(key_id, announced.json()["challenge"])
        )
        assert completed.status_code == 200, completed.content
        return key_id


def keep_biometric_key(user: User, label: str = "") -> BiometricKey:
    """An active key of the person's, by the services; its challenge stays behind, used."""
    device = Device()
    key, challenge = announce_key(
        user_id=user.pk,
        kind=BiometricKind.FACE,
        device_id=device.device_id,
        public_key=device.public_key,
        label=label,
    )
    message = b"commonplace biometric registration\0" + key.pk.bytes + bytes(challenge.challenge)
    return register_key(
        user_id=user.pk, key_id=key.pk, device_id=device.device_id, signature=device.sign(message)
    )
