"""Keys that follow from ENCRYPTION_ROOT_KEY, each for one use (HKDF with SHA-256, RFC 5869)."""

import hmac
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

KEY_BYTES = 32


def key_for(use: str, length: int = KEY_BYTES) -> bytes:
    """Always the same for the same use."""
    return _kept_key(settings.ENCRYPTION_ROOT_KEY, use, length)


def salted_key_for(use: str, salt: bytes) -> bytes:
    """One of as many as there are salts."""
    return _derive(settings.ENCRYPTION_ROOT_KEY, use, KEY_BYTES, salt)


def keyed_digest(use: str, data: bytes) -> bytes:
    """HMAC-SHA-256, 32 bytes: whoever lacks the key can neither make one nor try guesses."""
    return hmac.digest(key_for(use), data, "sha256")


# To derive one takes longer than to use it.
@lru_cache(maxsize=32)
def _kept_key(root: bytes, use: str, length: int) -> bytes:
    return _derive(root, use, length, None)


def _derive(root: bytes, use: str, length: int, salt: bytes | None) -> bytes:
    return HKDF(SHA256(), length, salt, f"commonplace {use}".encode()).derive(root)
