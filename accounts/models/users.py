from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.db.models.functions import Lower, Now

from accounts.choices import OPERATOR_ROLES, AccountStatus, Role
from accounts.querysets import UserManager
from common.encryption.fields import SealedTextField
from common.encryption.purposes import Purpose
from common.fields import Uuid7Field
from common.tenancy import PERSON_ALIAS, current_alias

# What a person is called; sealed.
NAMES = ("full_name", "given_name", "family_name")
OWN_COLUMNS = ["username", "password", "last_login", "metadata", *NAMES, "updated_at"]


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
    full_name = SealedTextField(
        purpose=Purpose.PROFILE, owner="id", null=True, db_comment="Whole name (sealed)"
    )
    given_name = SealedTextField(
        purpose=Purpose.PROFILE, owner="id", null=True, db_comment="Given name (sealed)"
    )
    family_name = SealedTextField(
        purpose=Purpose.PROFILE, owner="id", null=True, db_comment="Family name (sealed)"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Registered")
    updated_at = models.DateTimeField(
        db_default=Now(), editable=False, db_comment="Profile or standing last changed"
    )
    processing_restricted_at = models.DateTimeField(
        null=True,
        editable=False,
        db_comment="Since then their things are kept, and nothing else is done with them",
    )

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

    def save(self, **options: Any) -> None:
        """Through the login of persons a save that names no fields writes what they may change.

        It has no grant on the other columns, and allauth names no fields.
        """
        if not self._state.adding and current_alias() == PERSON_ALIAS:
            options.setdefault("update_fields", OWN_COLUMNS)
        super().save(**options)

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
