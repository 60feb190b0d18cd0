from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.db.models.functions import Now

from accounts.models.users import User
from accounts.querysets import DataKeyQuerySet
from common.encryption.providers import AWS_KMS, LOCAL
from common.encryption.purposes import Purpose
from common.fields import Uuid7Field


class DataKey(models.Model):
    """A key that seals what one person keeps for one purpose, itself wrapped by a provider's key.

    Once it is destroyed nothing that it sealed can be opened, by whomever.
    """

    id = Uuid7Field()
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, db_index=False, related_name="+", db_comment="Whose it is"
    )
    purpose = models.CharField(max_length=20, choices=Purpose, db_comment="What it seals")
    version = models.PositiveIntegerField(db_comment="Sealed things name it; the highest seals")
    provider = models.CharField(
        max_length=20,
        choices=[(LOCAL, "Keyring"), (AWS_KMS, "AWS KMS")],
        db_comment="Who holds the key that wraps it",
    )
    key_id = models.CharField(max_length=300, db_comment="Which of the provider's keys wraps it")
    wrapped = models.BinaryField(null=True, db_comment="The key, wrapped; NULL once destroyed")
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="First used")
    destroyed_at = models.DateTimeField(null=True, db_comment="Of no use since then")

    objects = DataKeyQuerySet.as_manager()

    class Meta:
        db_table_comment = "Wrapped keys that seal what people keep"
        constraints = [
            UniqueConstraint(fields=["user", "purpose", "version"], name="data_key_once"),
            CheckConstraint(condition=Q(purpose__in=Purpose.values), name="data_key_purpose_known"),
            CheckConstraint(
                condition=Q(provider__in=[LOCAL, AWS_KMS]), name="data_key_provider_known"
            ),
            # Zero stands for the newest one.
            CheckConstraint(condition=Q(version__gt=0), name="data_key_version_positive"),
            CheckConstraint(
                condition=Q(destroyed_at__isnull=False, wrapped__isnull=True)
                | Q(destroyed_at__isnull=True, wrapped__isnull=False),
                name="data_key_destroyed_is_gone",
            ),
        ]
        indexes = [
            # Which keys are in use, and what is left of one that is being replaced.
            Index(
                fields=["provider", "key_id", "id"],
                name="data_key_in_use",
                condition=Q(destroyed_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.purpose} {self.version}"


class KeyCheck(models.Model):
    """What a key of the house makes of a known text: another key in its place is found out."""

    id = Uuid7Field()
    name = models.CharField(max_length=40, unique=True, db_comment="Which key")
    proof = models.TextField(db_comment="The known text, sealed with it")
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="First used")

    class Meta:
        db_table_comment = "Proofs of which keys of the house are the right ones"

    def __str__(self) -> str:
        return self.name
