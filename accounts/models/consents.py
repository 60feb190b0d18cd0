from django.db import models
from django.db.models import CheckConstraint, Index, Q
from django.db.models.functions import Now

from accounts.choices import ConsentMethod, ConsentSource, ConsentType
from accounts.models.users import User
from accounts.querysets import ConsentQuerySet
from common.encryption.fields import SealedTextField
from common.encryption.purposes import Purpose
from common.fields import Uuid7Field


class Consent(models.Model):
    """That somebody agreed to one version of a text, or withdrew that: rows are only added."""

    id = Uuid7Field()
    user = models.ForeignKey(
        User,
        on_delete=models.CASCADE,
        related_name="consents",
        db_index=False,
        db_comment="Who agreed or withdrew",
    )
    type = models.CharField(max_length=40, choices=ConsentType, db_comment="Which text")
    version = models.PositiveIntegerField(db_comment="Which version of it")
    given = models.BooleanField(db_comment="Agreed to; false: withdrawn")
    document_sha256 = models.BinaryField(
        max_length=32, db_comment="SHA-256 of the text as it was shown, in UTF-8"
    )
    method = models.CharField(
        max_length=10, choices=ConsentMethod, db_comment="Several texts together, or each by itself"
    )
    source = models.CharField(max_length=20, choices=ConsentSource, db_comment="Where it was said")
    address = SealedTextField(
        purpose=Purpose.CONSENTS, null=True, db_comment="Network address it came from (sealed)"
    )
    agent = SealedTextField(
        purpose=Purpose.CONSENTS, null=True, db_comment="What the client calls itself (sealed)"
    )
    at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Agreed or withdrew")

    objects = ConsentQuerySet.as_manager()

    class Meta:
        db_table_comment = "What people agreed to and withdrew; only added to"
        constraints = [
            CheckConstraint(condition=Q(type__in=ConsentType.values), name="consent_type_known"),
            CheckConstraint(
                condition=Q(method__in=ConsentMethod.values), name="consent_method_known"
            ),
            CheckConstraint(
                condition=Q(source__in=ConsentSource.values), name="consent_source_known"
            ),
            CheckConstraint(condition=Q(version__gte=1), name="consent_version_counts_from_one"),
        ]
        indexes = [Index(fields=["user", "type", "-id"], name="consent_latest")]

    def __str__(self) -> str:
        return f"{self.type} {self.version}"
