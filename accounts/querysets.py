"""Filters of the accounts' models that read as English."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.contrib.auth.base_user import BaseUserManager
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Lower, Now
from django.utils import timezone

from accounts.choices import (
    OPERATOR_ROLES,
    AccountStatus,
    BiometricStatus,
    ConsentSource,
    ErasureStatus,
    ExportStatus,
    Realm,
    Role,
    SubscriptionStatus,
)
from common.encryption.purposes import Purpose
from common.tenancy import OPERATOR_ALIAS, current_alias

if TYPE_CHECKING:
    from accounts.models import (  # noqa: F401 - named in strings
        BiometricChallenge,
        BiometricKey,
        Consent,
        DataKey,
        DeviceSession,
        ErasureRequest,
        ExportRequest,
        OutgoingMail,
        PersonalAccessToken,
        Preference,
        RecordedAnswer,
        StoredSession,
        Subscription,
        User,
    )


class UserQuerySet(QuerySet["User"]):
    def active(self) -> "UserQuerySet":
        return self.filter(account_status=AccountStatus.ACTIVE)

    def without_subscription(self) -> "UserQuerySet":
        """Those who have no active subscription, not even a free one."""
        return self.exclude(subscriptions__status=SubscriptionStatus.ACTIVE)

    def unconfirmed(self, before: datetime) -> "UserQuerySet":
        """People who signed up by then, and never confirmed an address or were logged in.

        Not those whom the house brought: whoever signs up agrees to the texts.
        """
        return (
            self.filter(role=Role.USER, created_at__lt=before, last_login__isnull=True)
            .filter(consents__source=ConsentSource.REGISTRATION)
            .exclude(account_status=AccountStatus.DELETED)
            .exclude(emailaddress__verified=True)
            .distinct()
        )

    def operators(self) -> "UserQuerySet":
        """Those who may use the admin, the first one made first."""
        return self.filter(role__in=OPERATOR_ROLES).order_by("id")

    def named(self, username: str) -> "UserQuerySet":
        """The one of that name, in any case; through the unique index on lower case."""
        return self.alias(lower=Lower("username")).filter(lower=username.lower())


class UserManager(BaseUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]  # the plugin cannot see through from_queryset
    use_in_migrations = False


class PersonalAccessTokenQuerySet(QuerySet["PersonalAccessToken"]):
    def visible_to(self, user_id: UUID) -> "PersonalAccessTokenQuerySet":
        return self.filter(user_id=user_id)

    def not_revoked(self) -> "PersonalAccessTokenQuerySet":
        return self.filter(revoked_at__isnull=True)

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


def fresh_since() -> datetime:
    """Whoever proved who they are at this time or later has a fresh proof."""
    return timezone.now() - timedelta(seconds=settings.FRESH_LOGIN_SECONDS)


class DeviceSessionQuerySet(QuerySet["DeviceSession"]):
    def visible_to(self, user_id: UUID) -> "DeviceSessionQuerySet":
        return self.filter(user_id=user_id)

    def going_on(self, at: datetime) -> "DeviceSessionQuerySet":
        """Neither ended nor run out."""
        return self.filter(ended_at__isnull=True, expires_at__gt=at)

    def usable(self, at: datetime) -> "DeviceSessionQuerySet":
        """Going on, and of an active account."""
        return self.going_on(at).filter(user__account_status=AccountStatus.ACTIVE)

    def freshly_proved(self) -> "DeviceSessionQuerySet":
        return self.filter(proved_at__gte=fresh_since())

    def long_over(self, before: datetime) -> "DeviceSessionQuerySet":
        return self.filter(Q(ended_at__lt=before) | Q(latest_at__lt=before))


class StoredSessionQuerySet(QuerySet["StoredSession"]):
    def of_realm(self) -> "StoredSessionQuerySet":
        """Those that the running code's login is for."""
        house = current_alias() == OPERATOR_ALIAS
        return self.filter(realm=Realm.HOUSE if house else Realm.PERSON)

    def usable(self, at: datetime) -> "StoredSessionQuerySet":
        """Neither run out nor of a login that is over; some belong to no login."""
        goes_on = Q(device_session__ended_at__isnull=True, device_session__expires_at__gt=at)
        return self.of_realm().filter(
            Q(device_session_id__isnull=True) | goes_on, expires_at__gt=at
        )


class OutgoingMailQuerySet(QuerySet["OutgoingMail"]):
    def due(self, at: datetime) -> "OutgoingMailQuerySet":
        return self.filter(next_attempt_at__lte=at)


class BiometricKeyQuerySet(QuerySet["BiometricKey"]):
    def visible_to(self, user_id: UUID) -> "BiometricKeyQuerySet":
        return self.filter(user_id=user_id)

    def pending(self) -> "BiometricKeyQuerySet":
        return self.filter(status=BiometricStatus.PENDING)

    def active(self) -> "BiometricKeyQuerySet":
        return self.filter(status=BiometricStatus.ACTIVE)

    def not_revoked(self) -> "BiometricKeyQuerySet":
        return self.exclude(status=BiometricStatus.REVOKED)


class BiometricChallengeQuerySet(QuerySet["BiometricChallenge"]):
    def visible_to(self, user_id: UUID) -> "BiometricChallengeQuerySet":
        return self.filter(user_id=user_id)

    def unanswered(self, at: datetime) -> "BiometricChallengeQuerySet":
        """Neither answered nor expired."""
        return self.filter(used_at__isnull=True, expires_at__gt=at)


class PreferenceQuerySet(QuerySet["Preference"]):
    def visible_to(self, user_id: UUID) -> "PreferenceQuerySet":
        return self.filter(user_id=user_id)

    def called(self, key: str) -> "PreferenceQuerySet":
        """The one of that name, which may be a name that none can have."""
        return self.none() if "\0" in key else self.filter(key=key)


class ConsentQuerySet(QuerySet["Consent"]):
    def visible_to(self, user_id: UUID) -> "ConsentQuerySet":
        return self.filter(user_id=user_id)

    def latest_of_each_type(self) -> "ConsentQuerySet":
        """Of each text what was said last; through the index, without the sealed columns."""
        return self.order_by("type", "-id").distinct("type").defer("address", "agent")


class SubscriptionQuerySet(QuerySet["Subscription"]):
    def visible_to(self, user_id: UUID) -> "SubscriptionQuerySet":
        return self.filter(user_id=user_id)

    def active(self) -> "SubscriptionQuerySet":
        """Those that are the one of their person, also when their end has just passed."""
        return self.filter(status=SubscriptionStatus.ACTIVE)

    def in_force(self, at: datetime) -> "SubscriptionQuerySet":
        return self.active().filter(ends_at__gt=at)

    def over(self, at: datetime) -> "SubscriptionQuerySet":
        """Active still, though their end has come."""
        return self.active().filter(ends_at__lte=at)

    def waiting(self, at: datetime) -> "SubscriptionQuerySet":
        """Paid for, and not in force because another one is."""
        return self.filter(status=SubscriptionStatus.PENDING, ends_at__gt=at)

    def without_seals(self) -> "SubscriptionQuerySet":
        """As they are shown: nobody has to open what the store calls them."""
        return self.defer("external_id", "external_digest")


class DataKeyQuerySet(QuerySet["DataKey"]):
    def of(self, user_id: UUID, purpose: Purpose) -> "DataKeyQuerySet":
        """One person's for one purpose, the one to seal with first."""
        return self.filter(user_id=user_id, purpose=purpose).order_by("-version")

    def intact(self) -> "DataKeyQuerySet":
        return self.filter(destroyed_at__isnull=True)

    def not_wrapped_by(self, provider: str, key_id: str) -> "DataKeyQuerySet":
        return self.intact().exclude(provider=provider, key_id=key_id)


class ErasureRequestQuerySet(QuerySet["ErasureRequest"]):
    def visible_to(self, user_id: UUID) -> "ErasureRequestQuerySet":
        return self.filter(user_id=user_id)

    def not_begun(self) -> "ErasureRequestQuerySet":
        return self.filter(status=ErasureStatus.WAITING)

    def waiting(self, at: datetime) -> "ErasureRequestQuerySet":
        """In their grace: they can still be cancelled by their owner."""
        return self.not_begun().filter(due_at__gt=at)

    def due(self, at: datetime, patience: timedelta) -> "ErasureRequestQuerySet":
        """Whose grace is over, whose account is closed, and whom nobody works on."""
        in_use = Q(user__account_status=AccountStatus.ACTIVE)
        return self.filter(
            Q(status=ErasureStatus.WAITING, due_at__lte=at) & ~in_use
            | Q(status=ErasureStatus.IN_PROGRESS, touched_at__lt=at - patience)
        )


class ExportRequestQuerySet(QuerySet["ExportRequest"]):
    def visible_to(self, user_id: UUID) -> "ExportRequestQuerySet":
        return self.filter(user_id=user_id)

    def unfinished(self) -> "ExportRequestQuerySet":
        return self.filter(status__in=[ExportStatus.QUEUED, ExportStatus.BUILDING])

    def stalled(self, patience: timedelta) -> "ExportRequestQuerySet":
        """Unfinished, and without a sign of life for longer than is usual."""
        return self.unfinished().filter(touched_at__lt=Now() - patience)

    def claim(self, export_id: UUID) -> bool:
        """Mark what waits as being built; False if it does not wait or is gone."""
        return bool(
            self.filter(pk=export_id, status=ExportStatus.QUEUED).update(
                status=ExportStatus.BUILDING, touched_at=Now(), attempts=F("attempts") + 1
            )
        )

    def queue_again(self) -> None:
        """Whoever was at it has no claim any more."""
        self.unfinished().update(status=ExportStatus.QUEUED, touched_at=Now())

    def given_out(self, link_digest: bytes, at: datetime) -> "ExportRequestQuerySet":
        """The one whose link this is, if it opens something and the account is open."""
        return self.filter(
            link_digest=link_digest,
            link_expires_at__gt=at,
            status=ExportStatus.READY,
            expires_at__gt=at,
            user__account_status=AccountStatus.ACTIVE,
        )

    def end_links(self) -> None:
        """Links that were given out open nothing any more."""
        self.filter(link_digest__isnull=False).update(link_digest=None, link_expires_at=None)

    def past(self, at: datetime) -> "ExportRequestQuerySet":
        """Whose file has been kept for long enough."""
        return self.filter(status=ExportStatus.READY, expires_at__lte=at)
