"""Bytes sealed with a data key, bound to the place where they are kept.

`0x01 | key version (4) | nonce (12) | ciphertext | tag (16)`, AES-256-GCM. The header and the
place are authenticated: moved anywhere else, or changed in any bit, they do not open.
"""

from dataclasses import dataclass, field
from uuid import UUID

from common.encryption import aead
from common.encryption.canonical import canonical
from common.encryption.errors import DecryptionError

FORMAT = b"\x01"
HEADER_BYTES = 5
OVERHEAD_BYTES = HEADER_BYTES + aead.OVERHEAD_BYTES


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
    return header + aead.encrypt(key.plain, plain, header + place.as_bytes())


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
    return aead.decrypt(key.plain, rest, header + place.as_bytes())
