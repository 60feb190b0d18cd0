"""A device that holds a passkey, and answers what a browser or a platform asks of it."""

import hashlib
import json
import secrets
import struct
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256
from fido2.webauthn import AuthenticatorData

ORIGIN = "https://testserver"
PRESENT = AuthenticatorData.FLAG.UP
VERIFIED = AuthenticatorData.FLAG.UV
CREDENTIAL_INCLUDED = AuthenticatorData.FLAG.AT


def encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


@dataclass
class Passkey:
    """One key pair (WebAuthn level 2, ES256, without attestation) on one device."""

    origin: str = ORIGIN
    # Whether the device asks for a finger, a face or a PIN.
    verifies: bool = True
    private: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    user_handle: str = ""
    uses: int = 0

    def created(self, options: dict[str, Any]) -> dict[str, Any]:
        """What navigator.credentials.create() returns for these options."""
        asked = options["publicKey"]
        self.user_handle = asked["user"]["id"]
        cose = ES256.from_cryptography_key(self.private.public_key())  # type: ignore[no-untyped-call]  # it has no types
        public = cbor.encode(dict(cose))
        # 16 bytes name the make of the device, which is nobody's.
        credential = bytes(16) + struct.pack(">H", len(self.credential_id)) + self.credential_id
        data = self._authenticator_data(asked["rp"]["id"], CREDENTIAL_INCLUDED)
        attestation = {"fmt": "none", "attStmt": {}, "authData": data + credential + public}
        said = self._client_data("webauthn.create", asked["challenge"])
        return self._credential(
            {
                "clientDataJSON": encoded(said),
                "attestationObject": encoded(cbor.encode(attestation)),
            },
            {"credProps": {"rk": True}},
        )

    def proof(self, options: dict[str, Any]) -> dict[str, Any]:
        """What navigator.credentials.get() returns for these options."""
        asked = options["publicKey"]
        self.uses += 1
        data = self._authenticator_data(asked["rpId"])
        said = self._client_data("webauthn.get", asked["challenge"])
        signed = data + hashlib.sha256(said).digest()
        return self._credential(
            {
                "clientDataJSON": encoded(said),
                "authenticatorData": encoded(data),
                "signature": encoded(self.private.sign(signed, ec.ECDSA(hashes.SHA256()))),
                "userHandle": self.user_handle,
            },
            {},
        )

    def _authenticator_data(self, rp_id: str, flags: int = 0) -> bytes:
        flags |= PRESENT | (VERIFIED if self.verifies else 0)
        return hashlib.sha256(rp_id.encode()).digest() + struct.pack(">BI", flags, self.uses)

    def _client_data(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(said).encode()

    def _credential(self, response: dict[str, str], extensions: dict[str, Any]) -> dict[str, Any]:
        name = encoded(self.credential_id)
        return {
            "id": name,
            "rawId": name,
            "type": "public-key",
            "clientExtensionResults": extensions,
            "response": response,
        }
