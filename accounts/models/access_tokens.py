from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import CheckConstraint, Q
from django.db.models.functions import Now

from accounts.choices import Scope
from accounts.models.users import User
from accounts.querysets import PersonalAccessTokenQuerySet
from common.fields import Uuid7Field


class PersonalAccessToken(models.Model):
    """A credential for the API; only the digest of its secret is kept."""

    id = Uuid7Field()
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="tokens", db_comment="Whom it stands for"
    )
    name = models.CharField(max_length=100, db_comment="What its owner calls it")
    digest = models.BinaryField(max_length=32, unique=True, db_comment="SHA-256 of the whole token")
    hint = models.CharField(max_length=12, db_comment="The token's first characters")
    scopes = ArrayField(
        models.CharField(max_length=40, choices=Scope), db_comment="What it may be used for"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Issued")
    expires_at = models.DateTimeField(null=True, blank=True, db_comment="Not valid from then on")
    last_used_at = models.DateTimeField(null=True, editable=False, db_comment="To the minute")
    revoked_at = models.DateTimeField(null=True, editable=False, db_comment="Ended by a person")

    objects = PersonalAccessTokenQuerySet.as_manager()

    class Meta:
        db_table_comment = "Hashed credentials for the API"
        constraints = [
            CheckConstraint(
                condition=Q(scopes__contained_by=Scope.values), name="token_scopes_known"
            ),
            CheckConstraint(condition=Q(scopes__len__gt=0), name="token_scopes_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"
