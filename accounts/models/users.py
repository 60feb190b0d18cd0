from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.db.models.functions import Lower, Now

from accounts.choices import OPERATOR_ROLES, AccountStatus, Role
from accounts.querysets import UserManager
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
