"""Bytes sealed with a data key, bound to the place where they are kept.

`0x01 | key version (4) | nonce (12) | ciphertext | tag (16)`, AES-256-GCM. The header and the
place are authenticated: moved anywhere else, or changed in any bit, they do not open.
"""

import secrets
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.encryption.canonical import canonical
from common.encryption.errors import DecryptionError

FORMAT = b"\x01"
HEADER_BYTES = 5
# Random: one key of one person and purpose never comes near the 2³² messages they are good for.
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = HEADER_BYTES + NONCE_BYTES + TAG_BYTES


@dataclass(frozen=True)
class DataKey:
    version: int
    plain: bytes = field(repr=False)


@dataclass(frozen=True)
class Place:
    """Where sealed bytes belong: nowhere else do they open."""

    table: str
    column: str
    pk: str
    user_id: UUID

    def as_bytes(self) -> bytes:
        return canonical(
            {
                "table": self.table,
                "column": self.column,
                "pk": self.pk,
                "userId": str(self.user_id),
            }
        )


def seal(key: DataKey, plain: bytes, place: Place) -> bytes:
    header = FORMAT + key.version.to_bytes(4, "big")
    nonce = secrets.token_bytes(NONCE_BYTES)
    return header + nonce + AESGCM(key.plain).encrypt(nonce, plain, header + place.as_bytes())


def version_of(sealed: bytes) -> int:
    """The version of the key that opens it. Raises DecryptionError if it is no such envelope."""
    if sealed[:1] != FORMAT or len(sealed) < OVERHEAD_BYTES:
        raise DecryptionError
    return int.from_bytes(sealed[1:HEADER_BYTES], "big")


def open_sealed(key: DataKey, sealed: bytes, place: Place) -> bytes:
    """What was sealed at this place. Raises DecryptionError."""
    if version_of(sealed) != key.version:
        raise DecryptionError
    header, rest = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
    nonce, ciphertext = rest[:NONCE_BYTES], rest[NONCE_BYTES:]
    try:
        return AESGCM(key.plain).decrypt(nonce, ciphertext, header + place.as_bytes())
    except InvalidTag:
        raise DecryptionError from None
