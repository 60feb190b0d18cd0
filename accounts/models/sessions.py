from django.db import models
from django.db.models import CheckConstraint, F, Index, Q
from django.db.models.functions import Now

from accounts.choices import Platform, Realm, SessionEnd
from accounts.models.users import User
from accounts.querysets import DeviceSessionQuerySet, StoredSessionQuerySet
from common.encryption.fields import SealedTextField
from common.encryption.purposes import Purpose
from common.fields import Uuid7Field


class DeviceSession(models.Model):
    """One login on one device, from there until it ends; what its tokens hang on.

    Of its refresh tokens only the number of the last one is kept: each is computed from the
    session, that number and a key that is not in the database.
    """

    id = Uuid7Field()
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="device_sessions", db_comment="Who logged in"
    )
    device_id = models.CharField(
        max_length=100, blank=True, db_comment="What the client calls its device, if it says so"
    )
    platform = models.CharField(
        max_length=10, choices=Platform, blank=True, db_comment="Kind of device"
    )
    device_name = SealedTextField(
        purpose=Purpose.DEVICES, null=True, db_comment="What its owner calls the device (sealed)"
    )
    device_model = models.CharField(max_length=100, blank=True, db_comment="Make of the device")
    app_version = models.CharField(max_length=40, blank=True, db_comment="Version of the client")
    os_version = models.CharField(max_length=40, blank=True, db_comment="Version of its system")
    address = SealedTextField(
        purpose=Purpose.DEVICES, null=True, db_comment="Address that it was last seen at (sealed)"
    )
    agent = SealedTextField(
        purpose=Purpose.DEVICES, null=True, db_comment="What the client calls itself (sealed)"
    )
    method = models.CharField(max_length=30, blank=True, db_comment="How they proved who they are")
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Logged in")
    proved_at = models.DateTimeField(db_comment="Last proof of who they are")
    last_seen_at = models.DateTimeField(db_comment="To the minute")
    generation = models.PositiveIntegerField(
        default=0, db_comment="Number of the refresh token that is valid"
    )
    rotated_at = models.DateTimeField(null=True, db_comment="Its refresh token was exchanged")
    expires_at = models.DateTimeField(db_comment="Over by then unless it is refreshed")
    latest_at = models.DateTimeField(db_comment="Over by then in any case")
    ended_at = models.DateTimeField(null=True, db_comment="Over since then")
    ended_because = models.CharField(
        max_length=20, choices=SessionEnd, blank=True, db_comment="Why it ended"
    )

    objects = DeviceSessionQuerySet.as_manager()

    class Meta:
        db_table_comment = "Logins on devices"
        constraints = [
            CheckConstraint(
                condition=Q(platform__in=[*Platform.values, ""]), name="device_platform_known"
            ),
            CheckConstraint(
                condition=Q(ended_because__in=[*SessionEnd.values, ""]), name="session_end_known"
            ),
            CheckConstraint(
                condition=Q(ended_at__isnull=True, ended_because="")
                | Q(ended_at__isnull=False) & ~Q(ended_because=""),
                name="session_end_has_reason",
            ),
            CheckConstraint(
                condition=Q(expires_at__lte=F("latest_at")), name="session_ends_in_any_case"
            ),
        ]
        indexes = [Index(fields=["latest_at"], name="device_session_latest")]

    def __str__(self) -> str:
        return f"session of {self.created_at:%Y-%m-%d %H:%M}"


class StoredSession(models.Model):
    """The state of a browser's or a client's session, sealed; its key is kept as a digest."""

    id = Uuid7Field()
    digest = models.BinaryField(
        max_length=32, unique=True, db_comment="HMAC-SHA-256 of the session's key"
    )
    payload = models.BinaryField(db_comment="What the session holds (sealed)")
    realm = models.CharField(
        max_length=10, choices=Realm, db_comment="Whether a person's or an operator's"
    )
    user = models.ForeignKey(
        User, null=True, on_delete=models.CASCADE, related_name="+", db_comment="Who is logged in"
    )
    device_session = models.ForeignKey(
        DeviceSession,
        null=True,
        on_delete=models.CASCADE,
        related_name="stored",
        db_comment="The login that it belongs to",
    )
    expires_at = models.DateTimeField(db_comment="Not valid from then on")

    objects = StoredSessionQuerySet.as_manager()

    class Meta:
        db_table_comment = "Sealed state of sessions"
        constraints = [
            CheckConstraint(condition=Q(realm__in=Realm.values), name="stored_session_realm_known")
        ]
        indexes = [Index(fields=["expires_at"], name="stored_session_expires")]

    def __str__(self) -> str:
        return f"session until {self.expires_at:%Y-%m-%d %H:%M}"
