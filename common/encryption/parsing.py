"""Keys as they stand in the settings. What is wrong is said without repeating a secret."""

import re
from base64 import b64decode, b64encode
from binascii import Error

from django.core.exceptions import ImproperlyConfigured

KEY_BYTES = 32
ROOT_BYTES = 64
# Without a colon, as Amazon's names have them: the two kinds are never taken for each other.
KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def keyring_of(name: str, text: str) -> dict[str, bytes]:
    """The keys by their ids, the active one first, of `id:base64,id:base64`."""
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
        key_id, colon, encoded = entry.partition(":")
        if not (colon and KEY_ID.fullmatch(key_id)):
            raise ImproperlyConfigured(
                f"Entry {number} of {name} must begin with the id of its key and a colon: up to 60"
                " letters, digits and . _ -"
            )
        if key_id in keys:
            raise ImproperlyConfigured(f"{name} has two keys with the id {key_id}.")
        keys[key_id] = _bytes_of(f"The key {key_id} of {name}", encoded, KEY_BYTES)
    return keys


def root_key_of(name: str, text: str) -> bytes:
    return _bytes_of(name, text, ROOT_BYTES)


def as_setting(key: bytes) -> str:
    return b64encode(key).decode()


def _bytes_of(what: str, encoded: str, length: int) -> bytes:
    try:
        # Programs that print base64 break its lines.
        key = b64decode("".join(encoded.split()), validate=True)
    except (Error, ValueError):
        key = b""
    if len(key) != length:
        # Without the cause, which may repeat the value.
        raise ImproperlyConfigured(f"{what} must be {length} random bytes in base64.") from None
    return key
