"""Texts that are looked up by equality: equal texts of one column are sealed to equal texts.

AES-256-SIV (RFC 5297) with the column's name as associated data. It needs no nonce, and whoever
lacks the key cannot guess a value and compare, as with a bare hash. It is bound to its column and
not to its row, and shows which rows are equal.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from common.encryption.derivation import key_for
from common.encryption.errors import DecryptionError

KEY_BYTES = 64


def seal_for_lookup(text: str, column: str) -> str:
    """ASCII letters, digits, `-` and `_`: the same for the same text and column."""
    sealed = _cipher().encrypt(text.encode(), [column.encode()])
    return urlsafe_b64encode(sealed).rstrip(b"=").decode()


def open_from_lookup(sealed: str, column: str) -> str:
    """Raises DecryptionError."""
    try:
        data = urlsafe_b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4))
        plain = _cipher().decrypt(data, [column.encode()])
    except (InvalidTag, ValueError):
        raise DecryptionError from None
    text = plain.decode()
    # Base64 has several forms of the same bytes; only one of them is ever found.
    if seal_for_lookup(text, column) != sealed:
        raise DecryptionError
    return text


def normalized_email(address: str) -> str:
    """As allauth has it: one person, one address, however it is typed."""
    return address.strip().lower()


def _cipher() -> AESSIV:
    return AESSIV(key_for("look-up", KEY_BYTES))
