"""Keys that follow from one root, each for one use only (HKDF with SHA-256, RFC 5869)."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derive(root: bytes, use: str, length: int, *, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), length, salt, f"commonplace {use}".encode()).derive(root)
