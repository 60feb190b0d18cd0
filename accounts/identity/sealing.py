"""Secrets of a person inside allauth's columns, which know no person: the text names it."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from common.encryption.data_keys import key_to_open_with, key_to_seal_with
from common.encryption.envelope import Place, open_sealed, seal, version_of
from common.encryption.errors import DecryptionError
from common.encryption.purposes import Purpose

PURPOSE = Purpose.SECOND_FACTORS


def seal_secret(user_id: UUID, text: str) -> str:
    """The person's id and the sealed text, in ASCII. Runs as the person."""
    sealed = seal(key_to_seal_with(user_id, PURPOSE), text.encode(), _place(user_id))
    return f"{user_id.hex}.{urlsafe_b64encode(sealed).decode()}"


def open_secret(user_id: UUID | None, sealed_text: str) -> str:
    """The person's secret. Raises DecryptionError, also for one that is somebody else's."""
    try:
        owner, _, encoded = sealed_text.partition(".")
        sealed = urlsafe_b64decode(encoded)
        if user_id is None or UUID(hex=owner) != user_id:
            raise DecryptionError
    except ValueError:
        raise DecryptionError from None
    key = key_to_open_with(user_id, PURPOSE, version_of(sealed))
    return open_sealed(key, sealed, _place(user_id)).decode()


def _place(user_id: UUID) -> Place:
    # Which row it will stand in is not known yet, and codes move from row to row.
    return Place("mfa_authenticator", "data", "", user_id)
