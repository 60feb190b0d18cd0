"""Who holds the keys that wrap data keys: a keyring in the settings, or AWS KMS.

A wrapped key opens only with the same context, byte by byte: it says whose key it is and what for.
"""

import secrets
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from common.encryption import aead
from common.encryption.canonical import canonical
from common.encryption.errors import DecryptionError, KeyServiceError, MissingKeyError
from common.encryption.parsing import KEY_BYTES

Context = Mapping[str, str]

LOCAL = "local"
AWS_KMS = "aws_kms"

FORMAT = b"\x01"

# KMS's names for: these bytes were not wrapped by this key with this context.
NOT_OURS = {"InvalidCiphertextException", "IncorrectKeyException"}
# KMS's names for: this key is gone, closed, or not for you.
NO_KEY = {
    "AccessDeniedException", "DisabledException", "KMSInvalidStateException", "NotFoundException",
}  # fmt: skip


class KeyProvider(Protocol):
    """Wraps keys and opens them again; `wrap` and `rewrap` return the id of the key they used."""

    name: str

    @property
    def active_key_id(self) -> str: ...

    def generate(self, context: Context) -> tuple[bytes, str, bytes]:
        """A new key: plain, the id of what wrapped it, and wrapped."""

    def wrap(self, plain: bytes, context: Context) -> tuple[str, bytes]: ...

    def unwrap(self, key_id: str, wrapped: bytes, context: Context) -> bytes:
        """Raises DecryptionError, or MissingKeyError if it has no such key."""

    def rewrap(self, key_id: str, wrapped: bytes, context: Context) -> tuple[str, bytes]:
        """The same key, wrapped by the active one."""


class LocalKeyring:
    """Keys from the settings, the active one first: AES-256-GCM as `0x01 | nonce | ct | tag`."""

    name = LOCAL

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)

    @property
    def active_key_id(self) -> str:
        for key_id in self._keys:
            return key_id
        raise MissingKeyError("There is no key to wrap with: set ENCRYPTION_KEYS.")

    def generate(self, context: Context) -> tuple[bytes, str, bytes]:
        plain = secrets.token_bytes(KEY_BYTES)
        return plain, *self.wrap(plain, context)

    def wrap(self, plain: bytes, context: Context) -> tuple[str, bytes]:
        key_id = self.active_key_id
        return key_id, FORMAT + aead.encrypt(self._keys[key_id], plain, _bound_to(context))

    def unwrap(self, key_id: str, wrapped: bytes, context: Context) -> bytes:
        if key_id not in self._keys:
            raise MissingKeyError(
                f"The key {key_id} is missing: put it back into ENCRYPTION_KEYS. What it wraps"
                " cannot be opened without it."
            )
        if wrapped[:1] != FORMAT:
            raise DecryptionError
        return aead.decrypt(self._keys[key_id], wrapped[1:], _bound_to(context))

    def rewrap(self, key_id: str, wrapped: bytes, context: Context) -> tuple[str, bytes]:
        return self.wrap(self.unwrap(key_id, wrapped, context), context)


def _bound_to(context: Context) -> bytes:
    return FORMAT + canonical(context)


class AwsKms:
    """A key in AWS KMS, which sees data keys and never what they seal."""

    name = AWS_KMS

    def __init__(self, key_id: str, *, region: str = "", endpoint: str = "") -> None:
        self._key_id = key_id
        self._region = region or None
        self._endpoint = endpoint or None

    @cached_property
    def active_key_id(self) -> str:
        """Its ARN, which every answer of KMS names, whatever name the setting has for it."""
        return str(self._ask("describe_key", KeyId=self._key_id)["KeyMetadata"]["Arn"])

    def generate(self, context: Context) -> tuple[bytes, str, bytes]:
        found = self._ask(
            "generate_data_key",
            KeyId=self._key_id,
            NumberOfBytes=KEY_BYTES,
            EncryptionContext=dict(context),
        )
        return found["Plaintext"], found["KeyId"], found["CiphertextBlob"]

    def wrap(self, plain: bytes, context: Context) -> tuple[str, bytes]:
        found = self._ask(
            "encrypt", KeyId=self._key_id, Plaintext=plain, EncryptionContext=dict(context)
        )
        return found["KeyId"], found["CiphertextBlob"]

    def unwrap(self, key_id: str, wrapped: bytes, context: Context) -> bytes:
        found = self._ask(
            "decrypt", KeyId=key_id, CiphertextBlob=wrapped, EncryptionContext=dict(context)
        )
        return bytes(found["Plaintext"])

    def rewrap(self, key_id: str, wrapped: bytes, context: Context) -> tuple[str, bytes]:
        found = self._ask(
            "re_encrypt",
            SourceKeyId=key_id,
            CiphertextBlob=wrapped,
            SourceEncryptionContext=dict(context),
            DestinationKeyId=self._key_id,
            DestinationEncryptionContext=dict(context),
        )
        return found["KeyId"], found["CiphertextBlob"]

    @cached_property
    def _client(self) -> Any:
        patience = Config(
            connect_timeout=2, read_timeout=5, retries={"mode": "standard", "max_attempts": 3}
        )
        return boto3.client(
            "kms", region_name=self._region, endpoint_url=self._endpoint, config=patience
        )

    def _ask(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(**arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in NOT_OURS:
                raise DecryptionError from None
            if code in NO_KEY:
                raise MissingKeyError(
                    f"AWS KMS will not use the key {_named(arguments)} ({code}): see"
                    " ENCRYPTION_KMS_KEY_ID, the state of the key, and who may use it."
                ) from error
            raise KeyServiceError(f"AWS KMS refused {operation} ({code}).") from error
        except BotoCoreError as error:
            raise KeyServiceError(
                f"AWS KMS gave no answer to {operation} ({type(error).__name__})."
            ) from error


def _named(arguments: Mapping[str, Any]) -> str:
    return str(arguments.get("KeyId") or arguments["SourceKeyId"])


def active_provider() -> KeyProvider:
    """Who wraps new keys."""
    return provider_named(settings.ENCRYPTION_PROVIDER)


def provider_named(name: str) -> KeyProvider:
    """Who opens what that provider wrapped; both may be configured while one follows the other."""
    if name == LOCAL:
        return LocalKeyring(settings.ENCRYPTION_KEYS)
    if not settings.ENCRYPTION_KMS_KEY_ID:
        raise MissingKeyError("Some keys are wrapped by AWS KMS: set ENCRYPTION_KMS_KEY_ID.")
    return _kms(
        settings.ENCRYPTION_KMS_KEY_ID,
        settings.ENCRYPTION_KMS_REGION,
        settings.ENCRYPTION_KMS_ENDPOINT,
    )


# To make a client takes longer than to use it. It may be used by several threads.
@lru_cache(maxsize=4)
def _kms(key_id: str, region: str, endpoint: str) -> AwsKms:
    return AwsKms(key_id, region=region, endpoint=endpoint)
