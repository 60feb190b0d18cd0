"""Keys that devices hold: announced, registered by a first signature, then proofs of a person."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from accounts.choices import BiometricKind, BiometricStatus, ChallengePurpose
from accounts.device_keys import encoded, is_signed_by, message_to_sign, public_key_of
from accounts.errors import (
    ChallengeExpiredError,
    KeyExistsError,
    KeyStatusError,
    OtherDeviceError,
    TooManyKeysError,
    VerificationFailedError,
)
from accounts.models import BiometricChallenge, BiometricKey
from accounts.models.biometrics import MOST_FAILURES
from accounts.querysets import BiometricKeyQuerySet
from accounts.services.sessions import renew_proof
from audit.choices import SecurityKind
from audit.recording import record
from common.errors import FieldError, InvalidInputError, NotFoundError
from common.locks import lock
from common.tenancy import acting_as

MOST_KEYS = 50
CHALLENGE_BYTES = 32
CHALLENGE_LIFETIME = timedelta(minutes=5)


def announce_key(
    *, user_id: UUID, kind: BiometricKind, device_id: str, public_key: bytes, label: str
) -> tuple[BiometricKey, BiometricChallenge]:
    """Afterwards the device's key is pending, and has a challenge to be registered with.

    A pending one of the same device and kind has given way. Raises InvalidInputError for a key
    of another sort, KeyExistsError if an active one is there, and TooManyKeysError.
    """
    known = public_key_of(public_key)
    if known is None:
        raise _not_a_key()
    with acting_as(user_id):
        # Whoever counts must not be counted past.
        lock(f"biometric-keys:{user_id}")
        held = _keys_of(user_id).not_revoked()
        same = held.filter(device_id=device_id, kind=kind)
        if same.active().exists():
            raise KeyExistsError("Revoke the key that this device has, then register another.")
        revoke_keys(key_ids=list(same.values_list("pk", flat=True)))
        if held.count() >= MOST_KEYS:
            raise TooManyKeysError(f"Revoke some first: a person has at most {MOST_KEYS} keys.")
        key = BiometricKey.objects.create(
            user_id=user_id,
            kind=kind,
            device_id=device_id,
            public_key=encoded(known),
            label=label or None,
        )
        challenge = _challenge(key, ChallengePurpose.REGISTRATION)
        return _keys_of(user_id).get(pk=key.pk), challenge


def challenge_key(*, user_id: UUID, key_id: UUID) -> BiometricChallenge:
    """Afterwards the key has a challenge in place of the one before.

    A pending key is asked for its registration, an active one for a verification. Raises
    NotFoundError, and KeyStatusError for a revoked key.
    """
    with acting_as(user_id):
        # Two at once would both find no challenge in the way.
        key = _found(_keys_of(user_id).select_for_update(of=("self",), no_key=True), key_id)
        if key.status == BiometricStatus.REVOKED:
            raise _wrong_status(key)
        pending = key.status == BiometricStatus.PENDING
        return _challenge(
            key, ChallengePurpose.REGISTRATION if pending else ChallengePurpose.VERIFICATION
        )


def register_key(*, user_id: UUID, key_id: UUID, device_id: str, signature: bytes) -> BiometricKey:
    """Afterwards the pending key is active. Raises what `verify_key` raises."""
    key = _answer(user_id, key_id, device_id, signature, ChallengePurpose.REGISTRATION)
    with acting_as(user_id):
        moment = timezone.now()
        pending = _keys_of(user_id).pending().filter(pk=key_id)
        if not pending.update(status=BiometricStatus.ACTIVE, registered_at=moment, failures=0):
            # It was revoked meanwhile.
            raise _wrong_status(key)
        return _keys_of(user_id).get(pk=key_id)


def verify_key(
    *, user_id: UUID, session_id: UUID, key_id: UUID, device_id: str, signature: bytes
) -> BiometricKey:
    """Afterwards the person's session counts as just proved.

    The challenge is used up also when the signature is wrong; MOST_FAILURES in a row revoke the
    key. Raises NotFoundError, OtherDeviceError, KeyStatusError, ChallengeExpiredError and
    VerificationFailedError.
    """
    key = _answer(user_id, key_id, device_id, signature, ChallengePurpose.VERIFICATION)
    with acting_as(user_id):
        active = _keys_of(user_id).active().filter(pk=key_id)
        if not active.update(last_used_at=timezone.now(), failures=0):
            raise _wrong_status(key)
        renew_proof(session_id=session_id)
        verified = _keys_of(user_id).get(pk=key_id)
    _note(SecurityKind.BIOMETRIC_VERIFIED, key)
    return verified


def revoke_keys(*, key_ids: Sequence[UUID]) -> int:
    """Afterwards the keys prove nothing; returns how many could until then.

    Runs as whoever calls: a person within `acting_as`, or the operator.
    """
    usable = BiometricKey.objects.not_revoked().filter(pk__in=key_ids)
    return usable.update(status=BiometricStatus.REVOKED, revoked_at=timezone.now())


def revoke_key(*, user_id: UUID, key_id: UUID) -> None:
    """Afterwards the person's key proves nothing. Raises NotFoundError."""
    with acting_as(user_id):
        revoke_keys(key_ids=[_found(_keys_of(user_id), key_id).pk])


def _answer(
    user_id: UUID, key_id: UUID, device_id: str, signature: bytes, purpose: ChallengePurpose
) -> BiometricKey:
    """The key, whose challenge the signature answers. The challenge is used up in any case."""
    with acting_as(user_id):
        key = _found(_keys_of(user_id), key_id)
        allowed = key.device_id == device_id
        challenge = _used_challenge(key, purpose) if allowed else b""
    # What is noted from here on stays, although the request is refused.
    if not allowed:
        _note(SecurityKind.BIOMETRIC_FAILED, key, because="other_device")
        raise OtherDeviceError("Only the device that holds the key can answer for it.")
    public_key = public_key_of(bytes(key.public_key))
    message = message_to_sign(purpose, key.pk, challenge)
    if public_key is None or not is_signed_by(public_key, signature, message):
        _count_failure(key)
        _note(SecurityKind.BIOMETRIC_FAILED, key, because="wrong_signature")
        raise VerificationFailedError("The signature is not that of the key for its challenge.")
    return key


def _used_challenge(key: BiometricKey, purpose: ChallengePurpose) -> bytes:
    """The bytes to be signed, for the one who comes first."""
    needed = {
        ChallengePurpose.REGISTRATION: BiometricStatus.PENDING,
        ChallengePurpose.VERIFICATION: BiometricStatus.ACTIVE,
    }
    if key.status != needed[purpose]:
        raise _wrong_status(key)
    moment = timezone.now()
    asked = BiometricChallenge.objects.visible_to(key.user_id).filter(key=key, purpose=purpose)
    challenge: BiometricChallenge | None = asked.first()
    if challenge is None or not asked.unanswered(moment).filter(pk=challenge.pk).update(
        used_at=moment
    ):
        raise ChallengeExpiredError(
            "The challenge was used or replaced, or is older than five minutes: ask for another."
        )
    return bytes(challenge.challenge)


def _challenge(key: BiometricKey, purpose: ChallengePurpose) -> BiometricChallenge:
    moment = timezone.now()
    BiometricChallenge.objects.visible_to(key.user_id).filter(key=key).delete()
    made: BiometricChallenge = BiometricChallenge.objects.create(
        user_id=key.user_id,
        key=key,
        purpose=purpose,
        challenge=secrets.token_bytes(CHALLENGE_BYTES),
        created_at=moment,
        expires_at=moment + CHALLENGE_LIFETIME,
    )
    return made


def _count_failure(key: BiometricKey) -> None:
    """One more in a row; the last one that is allowed revokes the key."""
    with acting_as(key.user_id):
        this = _keys_of(key.user_id).not_revoked().filter(pk=key.pk)
        this.update(failures=F("failures") + 1)
        if this.filter(failures__gte=MOST_FAILURES).exists():
            revoke_keys(key_ids=[key.pk])


def _keys_of(user_id: UUID) -> BiometricKeyQuerySet:
    keys: BiometricKeyQuerySet = BiometricKey.objects.visible_to(user_id)
    return keys


def _found(keys: BiometricKeyQuerySet, key_id: UUID) -> BiometricKey:
    key = keys.filter(pk=key_id).first()
    if key is None:
        raise NotFoundError("There is no such key.")
    return key


def _note(kind: SecurityKind, key: BiometricKey, **details: str) -> None:
    record(
        kind,
        user_id=key.user_id,
        actor_id=key.user_id,
        subject="accounts_biometrickey",
        row_id=key.pk,
        details=details,
    )


def _wrong_status(key: BiometricKey) -> KeyStatusError:
    return KeyStatusError(f"The key is {key.status}.")


def _not_a_key() -> InvalidInputError:
    sentence = "This is no public key of EC P-256 or Ed25519 in DER (SubjectPublicKeyInfo)."
    return InvalidInputError(sentence, errors=[FieldError("public_key", "invalid", sentence)])
