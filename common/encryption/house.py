"""Bytes that are no person's: sessions, mail to addresses that nobody is known by.

`0x01 | salt (16) | nonce (12) | ciphertext | tag (16)`, AES-256-GCM. The key follows from
ENCRYPTION_ROOT_KEY, the purpose and the salt: the house seals more in the long run than random
nonces of one key are good for.
"""

import secrets

from common.encryption import aead
from common.encryption.derivation import salted_key_for
from common.encryption.errors import DecryptionError

FORMAT = b"\x01"
SALT_BYTES = 16
HEADER_BYTES = len(FORMAT) + SALT_BYTES


def seal_for_house(purpose: str, plain: bytes, aad: bytes) -> bytes:
    """Opens only with the same purpose and the same `aad`: say there what it belongs to."""
    salt = secrets.token_bytes(SALT_BYTES)
    return FORMAT + salt + aead.encrypt(_key(purpose, salt), plain, FORMAT + aad)


def open_for_house(purpose: str, sealed: bytes, aad: bytes) -> bytes:
    """Raises DecryptionError."""
    salt, rest = sealed[len(FORMAT) : HEADER_BYTES], sealed[HEADER_BYTES:]
    if sealed[: len(FORMAT)] != FORMAT:
        raise DecryptionError
    return aead.decrypt(_key(purpose, salt), rest, FORMAT + aad)


def _key(purpose: str, salt: bytes) -> bytes:
    return salted_key_for(f"house: {purpose}", salt)
