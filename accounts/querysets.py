"""Filters of the accounts' models that read as English."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib.auth.base_user import BaseUserManager
from django.db.models import Q, QuerySet
from django.db.models.functions import Lower, Now

from accounts.choices import OPERATOR_ROLES, AccountStatus

if TYPE_CHECKING:
    from accounts.models import PersonalAccessToken, RecordedAnswer, User  # noqa: F401 - named in strings


class UserQuerySet(QuerySet["User"]):
    def active(self) -> "UserQuerySet":
        return self.filter(account_status=AccountStatus.ACTIVE)

    def operators(self) -> "UserQuerySet":
        """Those who may use the admin, the first one made first."""
        return self.filter(role__in=OPERATOR_ROLES).order_by("id")

    def named(self, username: str) -> "UserQuerySet":
        """The one of that name, in any case; through the unique index on lower case."""
        return self.alias(lower=Lower("username")).filter(lower=username.lower())


class UserManager(BaseUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]  # the plugin cannot see through from_queryset
    use_in_migrations = False


class PersonalAccessTokenQuerySet(QuerySet["PersonalAccessToken"]):
    def usable(self, at: datetime) -> "PersonalAccessTokenQuerySet":
        """Neither revoked nor expired, and of an active account."""
        return self.filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=at),
            revoked_at__isnull=True,
            user__account_status=AccountStatus.ACTIVE,
        )


class RecordedAnswerQuerySet(QuerySet["RecordedAnswer"]):
    def visible_to(self, user_id: UUID) -> "RecordedAnswerQuerySet":
        return self.filter(user_id=user_id)

    def older_than(self, age: timedelta) -> "RecordedAnswerQuerySet":
        return self.filter(created_at__lt=Now() - age)
