"""Bytes that are no person's: sessions, mail to addresses that nobody is known by.

`0x01 | salt (16) | nonce (12) | ciphertext | tag (16)`, AES-256-GCM. The key follows from
ENCRYPTION_LOOKUP_KEY, the purpose and the salt: the house seals more in the long run than random
nonces of one key are good for.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from common.encryption.derivation import derive
from common.encryption.errors import DecryptionError

FORMAT = b"\x01"
SALT_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16
BEGINNING_BYTES = 1 + SALT_BYTES + NONCE_BYTES


def seal_for_house(purpose: str, plain: bytes, aad: bytes) -> bytes:
    """Opens only with the same purpose and the same `aad`: say there what it belongs to."""
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    return FORMAT + salt + nonce + _cipher(purpose, salt).encrypt(nonce, plain, FORMAT + aad)


def open_for_house(purpose: str, sealed: bytes, aad: bytes) -> bytes:
    """Raises DecryptionError."""
    salt, nonce = sealed[1 : 1 + SALT_BYTES], sealed[1 + SALT_BYTES : BEGINNING_BYTES]
    ciphertext = sealed[BEGINNING_BYTES:]
    if sealed[:1] != FORMAT or len(ciphertext) < TAG_BYTES:
        raise DecryptionError
    try:
        return _cipher(purpose, salt).decrypt(nonce, ciphertext, FORMAT + aad)
    except InvalidTag:
        raise DecryptionError from None


def _cipher(purpose: str, salt: bytes) -> AESGCM:
    return AESGCM(derive(settings.ENCRYPTION_LOOKUP_KEY, f"house: {purpose}", 32, salt=salt))
