"""Who wraps data keys: the same promises from a keyring and from AWS KMS."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from pytest_django import Settings

from common.encryption.errors import (
    DecryptionError,
    EncryptionError,
    KeyServiceError,
    MissingKeyError,
)
from common.encryption.providers import (
    AwsKms,
    KeyProvider,
    LocalKeyring,
    active_provider,
    provider_named,
)

CONTEXT = {"userId": "0190f7c2-6f1e-7d0a-9b53-0c6b7a1f4e21", "purpose": "profile"}
OTHERS = [
    {**CONTEXT, "purpose": "mail"},
    {**CONTEXT, "userId": "0190f7c2-6f1e-7d0a-9b53-0c6b7a1f4e22"},
    {**CONTEXT, "operation": "user_profile_update"},
    {"userId": CONTEXT["userId"]},
    {},
]
REGION = "eu-central-1"


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A KMS in this process."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield boto3.client("kms", region_name=REGION)


@pytest.fixture(params=["local", "aws_kms"])
def pair(request: pytest.FixtureRequest) -> tuple[KeyProvider, KeyProvider]:
    """A provider, and the same after its active key was replaced."""
    if request.param == "local":
        keys = {"first": b"1" * 32}
        return LocalKeyring(keys), LocalKeyring({"second": b"2" * 32} | keys)
    client = request.getfixturevalue("kms")
    ids = [client.create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
    return AwsKms(ids[0], region=REGION), AwsKms(ids[1], region=REGION)


def test_a_new_key_opens_with_its_context(pair: tuple[KeyProvider, KeyProvider]) -> None:
    provider, _ = pair

    plain, key_id, wrapped = provider.generate(CONTEXT)

    assert len(plain) == 32
    assert key_id == provider.active_key_id
    assert plain not in wrapped
    assert provider.unwrap(key_id, wrapped, CONTEXT) == plain
    assert provider.generate(CONTEXT)[0] != plain


def test_the_order_of_a_context_does_not_matter(pair: tuple[KeyProvider, KeyProvider]) -> None:
    provider, _ = pair

    key_id, wrapped = provider.wrap(b"k" * 32, CONTEXT)

    reordered = dict(reversed(CONTEXT.items()))
    assert provider.unwrap(key_id, wrapped, reordered) == b"k" * 32


def test_with_another_context_a_key_does_not_open(pair: tuple[KeyProvider, KeyProvider]) -> None:
    provider, _ = pair
    _, key_id, wrapped = provider.generate(CONTEXT)

    for other in OTHERS:
        with pytest.raises(DecryptionError):
            provider.unwrap(key_id, wrapped, other)


def test_a_changed_wrapped_key_does_not_open(pair: tuple[KeyProvider, KeyProvider]) -> None:
    provider, _ = pair
    _, key_id, wrapped = provider.generate(CONTEXT)

    # KMS's own header names the key, which is then another one, or none.
    for changed in (wrapped[:-1], wrapped[:-1] + bytes([wrapped[-1] ^ 1])):
        with pytest.raises(DecryptionError):
            provider.unwrap(key_id, changed, CONTEXT)


def test_every_bit_of_a_key_that_a_keyring_wrapped_counts() -> None:
    provider = LocalKeyring({"first": b"1" * 32})
    _, key_id, wrapped = provider.generate(CONTEXT)
    assert len(wrapped) == 61

    for bit in range(len(wrapped) * 8):
        changed = bytearray(wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptionError):
            provider.unwrap(key_id, bytes(changed), CONTEXT)
    for length in range(len(wrapped)):
        with pytest.raises(DecryptionError):
            provider.unwrap(key_id, wrapped[:length], CONTEXT)


def test_after_a_rotation_the_key_is_the_same_under_the_new_one(
    pair: tuple[KeyProvider, KeyProvider],
) -> None:
    before, after = pair
    plain, key_id, wrapped = before.generate(CONTEXT)

    new_id, rewrapped = after.rewrap(key_id, wrapped, CONTEXT)

    assert new_id == after.active_key_id != key_id
    assert rewrapped != wrapped
    assert after.unwrap(new_id, rewrapped, CONTEXT) == plain
    assert after.unwrap(key_id, wrapped, CONTEXT) == plain
    with pytest.raises(DecryptionError):
        after.rewrap(key_id, wrapped, OTHERS[0])


def test_a_key_that_the_keyring_lacks_is_named_with_its_setting() -> None:
    _, key_id, wrapped = LocalKeyring({"first": b"1" * 32}).generate(CONTEXT)

    with pytest.raises(MissingKeyError, match=r"key first is missing.*ENCRYPTION_KEYS"):
        LocalKeyring({"second": b"2" * 32}).unwrap(key_id, wrapped, CONTEXT)
    with pytest.raises(MissingKeyError, match="set ENCRYPTION_KEYS"):
        LocalKeyring({}).generate(CONTEXT)


def test_a_key_that_kms_lacks_or_has_closed_is_named_with_its_setting(kms: Any) -> None:
    with pytest.raises(MissingKeyError, match=r"no-such-key \(NotFound.*ENCRYPTION_KMS_KEY_ID"):
        AwsKms("no-such-key", region=REGION).generate(CONTEXT)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("DisabledException", MissingKeyError),
        ("KMSInvalidStateException", MissingKeyError),
        ("AccessDeniedException", MissingKeyError),
        ("InvalidCiphertextException", DecryptionError),
        ("IncorrectKeyException", DecryptionError),
        ("ThrottlingException", KeyServiceError),
        ("KMSInternalException", KeyServiceError),
    ],
)
def test_what_kms_says_is_one_of_three_things(
    kms: Any, code: str, error: type[EncryptionError]
) -> None:
    # The KMS of the tests lets closed keys be used.
    provider = AwsKms("any", region=REGION)
    with Stubber(provider._client) as answers:
        answers.add_client_error("decrypt", code)

        with pytest.raises(error):
            provider.unwrap("any", b"wrapped", CONTEXT)


def test_an_alias_is_known_by_what_it_stands_for(kms: Any) -> None:
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/commonplace", TargetKeyId=arn)

    provider = AwsKms("alias/commonplace", region=REGION)

    assert provider.active_key_id == arn
    assert provider.generate(CONTEXT)[1] == provider.wrap(b"k" * 32, CONTEXT)[0] == arn


def test_a_kms_that_does_not_answer_may_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")

    with pytest.raises(KeyServiceError, match="EndpointConnectionError"):
        AwsKms("any", region=REGION, endpoint="http://127.0.0.1:1").generate(CONTEXT)


def test_both_may_be_configured_while_one_follows_the_other(settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = {"first": b"1" * 32}
    settings.ENCRYPTION_PROVIDER = "local"
    settings.ENCRYPTION_KMS_KEY_ID = ""
    assert active_provider().active_key_id == "first"
    with pytest.raises(MissingKeyError, match="set ENCRYPTION_KMS_KEY_ID"):
        provider_named("aws_kms")

    settings.ENCRYPTION_PROVIDER = "aws_kms"
    settings.ENCRYPTION_KMS_KEY_ID = "alias/commonplace"
    settings.ENCRYPTION_KMS_REGION = REGION

    assert isinstance(active_provider(), AwsKms)
    assert isinstance(provider_named("local"), LocalKeyring)
