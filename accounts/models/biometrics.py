from django.db import models
from django.db.models import CheckConstraint, F, Q, UniqueConstraint
from django.db.models.functions import Now

from accounts.choices import BiometricKind, BiometricStatus, ChallengePurpose
from accounts.models.users import User
from accounts.querysets import BiometricChallengeQuerySet, BiometricKeyQuerySet
from common.encryption.fields import SealedTextField
from common.encryption.purposes import Purpose
from common.fields import Uuid7Field

MOST_FAILURES = 10


class BiometricKey(models.Model):
    """The public part of a key that a device uses once it has recognised its owner.

    What the device recognises them by never leaves it.
    """

    id = Uuid7Field()
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, db_index=False, db_comment="Whose device holds it"
    )
    device_id = models.CharField(max_length=100, db_comment="What the client calls its device")
    kind = models.CharField(
        max_length=20, choices=BiometricKind, db_comment="What the device recognises its owner by"
    )
    public_key = models.BinaryField(
        max_length=200, db_comment="DER SubjectPublicKeyInfo: EC P-256 or Ed25519"
    )
    label = SealedTextField(
        purpose=Purpose.BIOMETRIC, null=True, db_comment="What its owner calls it (sealed)"
    )
    status = models.CharField(
        max_length=20,
        choices=BiometricStatus,
        default=BiometricStatus.PENDING,
        db_comment="Only an active key proves anything",
    )
    failures = models.PositiveSmallIntegerField(
        default=0, db_comment="Wrong signatures since the last right one"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Announced")
    registered_at = models.DateTimeField(
        null=True, editable=False, db_comment="The device proved that it holds the other part"
    )
    last_used_at = models.DateTimeField(
        null=True, editable=False, db_comment="Last right signature"
    )
    revoked_at = models.DateTimeField(
        null=True, editable=False, db_comment="Ended by a person or by its failures"
    )

    objects = BiometricKeyQuerySet.as_manager()

    class Meta:
        db_table_comment = "Public parts of keys that devices hold for their owners"
        constraints = [
            UniqueConstraint(
                fields=["user", "device_id", "kind"],
                condition=~Q(status=BiometricStatus.REVOKED),
                name="biometric_key_one_per_device",
            ),
            # Challenges refer to both.
            UniqueConstraint(fields=["user", "id"], name="biometric_key_of_user"),
            CheckConstraint(
                condition=Q(kind__in=BiometricKind.values), name="biometric_key_kind_known"
            ),
            CheckConstraint(
                condition=Q(status__in=BiometricStatus.values), name="biometric_key_status_known"
            ),
            CheckConstraint(
                condition=Q(failures__range=(0, MOST_FAILURES)), name="biometric_key_failures"
            ),
            CheckConstraint(
                condition=Q(status=BiometricStatus.REVOKED, revoked_at__isnull=False)
                | Q(
                    status=BiometricStatus.ACTIVE,
                    registered_at__isnull=False,
                    revoked_at__isnull=True,
                )
                | Q(
                    status=BiometricStatus.PENDING,
                    registered_at__isnull=True,
                    revoked_at__isnull=True,
                ),
                name="biometric_key_times_of_status",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({self.get_status_display()})"


class BiometricChallenge(models.Model):
    """Random bytes that a device signs once to prove that it holds a key.

    A key has at most one: the next one takes its place.
    """

    id = Uuid7Field()
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, db_index=False, db_comment="Whose key is asked"
    )
    key = models.ForeignKey(
        BiometricKey,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        db_comment="Key that is asked for a signature",
    )
    purpose = models.CharField(
        max_length=20, choices=ChallengePurpose, db_comment="What the signature is for"
    )
    challenge = models.BinaryField(max_length=32, db_comment="32 random bytes to be signed")
    created_at = models.DateTimeField(db_comment="Given out")
    expires_at = models.DateTimeField(db_comment="Not answered from then on")
    used_at = models.DateTimeField(null=True, editable=False, db_comment="Answered, well or not")

    objects = BiometricChallengeQuerySet.as_manager()

    class Meta:
        db_table_comment = "Random bytes for devices to sign, once each"
        constraints = [
            UniqueConstraint(fields=["user", "key"], name="biometric_challenge_one_per_key"),
            CheckConstraint(
                condition=Q(purpose__in=ChallengePurpose.values),
                name="biometric_challenge_purpose_known",
            ),
            CheckConstraint(
                condition=Q(expires_at__gt=F("created_at")),
                name="biometric_challenge_expires_later",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_purpose_display()} until {self.expires_at:%Y-%m-%d %H:%M}"
