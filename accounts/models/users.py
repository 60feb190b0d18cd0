from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.db.models.functions import Lower, Now

from accounts.choices import OPERATOR_ROLES, AccountStatus, Role, Scope
from accounts.querysets import (
    PersonalAccessTokenQuerySet,
    RecordedAnswerQuerySet,
    UserManager,
)
from common.fields import Uuid7Field


class User(AbstractBaseUser):
    """A person with an account; what they keep hangs on its id."""

    id = Uuid7Field()
    username = models.CharField(
        max_length=150,
        unique=True,
        validators=[UnicodeUsernameValidator()],
        db_comment="Name to log in with; letters, digits and @ . + - _",
    )
    role = models.CharField(
        max_length=20,
        choices=Role,
        default=Role.USER,
        db_comment="What the account may do: user, admin or superadmin",
    )
    account_status = models.CharField(
        max_length=20,
        choices=AccountStatus,
        default=AccountStatus.ACTIVE,
        db_comment="Only an active account can log in or use its tokens",
    )
    metadata = models.JSONField(default=dict, blank=True, db_comment="Free-form details")
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Registered")

    objects = UserManager()

    USERNAME_FIELD = "username"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        db_table_comment = "People with an account"
        constraints = [
            UniqueConstraint(Lower("username"), name="user_username_any_case_unique"),
            CheckConstraint(condition=Q(role__in=Role.values), name="user_role_known"),
            CheckConstraint(
                condition=Q(account_status__in=AccountStatus.values),
                name="user_account_status_known",
            ),
        ]
        indexes = [Index(fields=["role"], name="user_role")]

    def __str__(self) -> str:
        return self.username

    @property
    def is_active(self) -> bool:  # type: ignore[override]  # Django has it as an attribute
        return self.account_status == AccountStatus.ACTIVE

    @property
    def is_staff(self) -> bool:
        return self.role in OPERATOR_ROLES

    @property
    def is_superuser(self) -> bool:
        return self.role == Role.SUPERADMIN

    def has_perm(self, permission: str, target: Any = None) -> bool:
        """Operators may do in the admin what each admin class offers them."""
        return self.is_active and self.is_staff

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_active and self.is_staff


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


class RecordedAnswer(models.Model):
    """What was answered to a write with an Idempotency-Key, to answer its repetition alike."""

    id = Uuid7Field()
    user = models.ForeignKey(User, on_delete=models.CASCADE, db_index=False, db_comment="Who asked")
    key = models.CharField(max_length=255, db_comment="The Idempotency-Key that came with it")
    fingerprint = models.CharField(max_length=64, db_comment="SHA-256 of what was asked")
    status = models.PositiveSmallIntegerField(db_comment="HTTP status of the answer")
    body = models.JSONField(null=True, db_comment="The answer")
    location = models.CharField(max_length=300, blank=True, db_comment="Where the result is")
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Answered")

    objects = RecordedAnswerQuerySet.as_manager()

    class Meta:
        db_table_comment = "Answers to writes with an Idempotency-Key"
        constraints = [UniqueConstraint(fields=["user", "key"], name="recorded_answer_once")]
        indexes = [Index(fields=["created_at"], name="recorded_answer_created")]

    def __str__(self) -> str:
        return self.key
