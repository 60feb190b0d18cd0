"""AES-256-GCM, and nothing else: `nonce (12) | ciphertext | tag (16)`."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.encryption.errors import DecryptionError

NONCE_BYTES = 12
OVERHEAD_BYTES = NONCE_BYTES + 16


def encrypt(key: bytes, plain: bytes, aad: bytes) -> bytes:
    """With a random nonce: good for 2³² messages of one key (NIST SP 800-38D, 8.3)."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, aad)


def decrypt(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Raises DecryptionError for another key, other `aad` or a changed bit."""
    if len(sealed) < OVERHEAD_BYTES:
        raise DecryptionError
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except InvalidTag:
        raise DecryptionError from None
