"""Keys that devices hold for their owners: what such a key signs, and whether it did."""

from typing import TypeAlias
from uuid import UUID

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from accounts.choices import ChallengePurpose

PublicKey: TypeAlias = EllipticCurvePublicKey | Ed25519PublicKey

# A signature for one purpose must not serve another, nor anything else that the key ever signs.
DOMAINS = {
    ChallengePurpose.REGISTRATION: b"commonplace biometric registration\0",
    ChallengePurpose.VERIFICATION: b"commonplace biometric verification\0",
}


def message_to_sign(purpose: ChallengePurpose, key_id: UUID, challenge: bytes) -> bytes:
    """The domain with its NUL, the 16 bytes of the key's id, and the 32 of the challenge."""
    return DOMAINS[purpose] + key_id.bytes + challenge


def public_key_of(der: bytes) -> PublicKey | None:
    """The key of a DER SubjectPublicKeyInfo if it is EC P-256 or Ed25519, or None."""
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    return None


def encoded(key: PublicKey) -> bytes:
    """The one form in which the key is kept, in whichever it came."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def is_signed_by(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """ECDSA with SHA-256, its signature in DER (X9.62), or Ed25519."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
