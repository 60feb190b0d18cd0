from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint
from django.db.models.functions import Now

from accounts.choices import ErasureStatus, ExportStatus
from accounts.models.users import User
from accounts.querysets import ErasureRequestQuerySet, ExportRequestQuerySet
from common.fields import Uuid7Field

DIGEST_BYTES = 32
UNDER_WAY = [ErasureStatus.WAITING, ErasureStatus.IN_PROGRESS]


class ErasureRequest(models.Model):
    """A person's wish to be erased: first a grace in which it can be cancelled, then the work."""

    id = Uuid7Field()
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="+", db_comment="Who is to be erased"
    )
    status = models.CharField(
        max_length=20,
        choices=ErasureStatus,
        default=ErasureStatus.WAITING,
        db_comment="How far it is",
    )
    token_digest = models.BinaryField(
        max_length=DIGEST_BYTES,
        unique=True,
        db_comment="SHA-256 of what cancels it, and later opens the receipt",
    )
    requested_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Asked for")
    due_at = models.DateTimeField(db_comment="Cannot be cancelled any more, and begins")
    cancelled_at = models.DateTimeField(null=True, editable=False, db_comment="Taken back")
    began_at = models.DateTimeField(null=True, editable=False, db_comment="The work began")
    touched_at = models.DateTimeField(
        null=True, editable=False, db_comment="Last sign of life of whoever works on it"
    )
    completed_at = models.DateTimeField(null=True, editable=False, db_comment="Nothing is left")
    counts = models.JSONField(default=dict, db_comment="Rows deleted so far, by table")
    receipt = models.JSONField(null=True, db_comment="Signed account of what was erased")
    receipt_until = models.DateTimeField(null=True, db_comment="The receipt goes then")

    objects = ErasureRequestQuerySet.as_manager()

    class Meta:
        db_table_comment = "Wishes of people to be erased"
        constraints = [
            CheckConstraint(
                condition=Q(status__in=ErasureStatus.values), name="erasure_status_known"
            ),
            UniqueConstraint(
                fields=["user"], condition=Q(status__in=UNDER_WAY), name="erasure_one_under_way"
            ),
            CheckConstraint(
                condition=Q(status=ErasureStatus.CANCELLED, cancelled_at__isnull=False)
                | ~Q(status=ErasureStatus.CANCELLED) & Q(cancelled_at__isnull=True),
                name="erasure_cancelled_has_time",
            ),
            CheckConstraint(
                condition=Q(status=ErasureStatus.COMPLETED, completed_at__isnull=False)
                | ~Q(status=ErasureStatus.COMPLETED) & Q(completed_at__isnull=True),
                name="erasure_completed_has_time",
            ),
        ]
        indexes = [
            Index(fields=["due_at"], condition=Q(status__in=UNDER_WAY), name="erasure_under_way")
        ]

    def __str__(self) -> str:
        return f"erasure asked for {self.requested_at:%Y-%m-%d %H:%M}"


class Erasure(models.Model):
    """One person who was erased. Kept for good: whoever comes back with an old copy of the
    database is erased again. Immutable."""

    id = Uuid7Field()
    user_id = models.UUIDField(unique=True, db_comment="Who it was; only this number is left")
    erased_at = models.DateTimeField(db_comment="Nothing was left")
    summary = models.JSONField(db_comment="Rows deleted, by table")
    receipt_sha256 = models.BinaryField(
        max_length=DIGEST_BYTES, db_comment="SHA-256 of the receipt"
    )

    class Meta:
        db_table_comment = "Ledger of people who were erased"

    def __str__(self) -> str:
        return f"erased {self.erased_at:%Y-%m-%d %H:%M}"


class ExportRequest(models.Model):
    """One export of everything that is kept of a person: the job, and then its file."""

    id = Uuid7Field()
    user = models.ForeignKey(
        User,
        on_delete=models.CASCADE,
        db_index=False,
        related_name="+",
        db_comment="Whose things it holds",
    )
    status = models.CharField(
        max_length=20,
        choices=ExportStatus,
        default=ExportStatus.QUEUED,
        db_comment="How far it is",
    )
    attempts = models.PositiveSmallIntegerField(default=0, db_comment="Times a worker began it")
    requested_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Asked for")
    touched_at = models.DateTimeField(
        db_default=Now(), editable=False, db_comment="Last sign of life"
    )
    ready_at = models.DateTimeField(null=True, editable=False, db_comment="The file is whole")
    expires_at = models.DateTimeField(null=True, editable=False, db_comment="The file goes then")
    stored_as = models.CharField(
        max_length=200, blank=True, db_comment="Name in the file storage, while there is a file"
    )
    size = models.PositiveBigIntegerField(null=True, db_comment="Bytes")
    sha256 = models.BinaryField(
        max_length=DIGEST_BYTES, null=True, db_comment="SHA-256 of the bytes"
    )
    link_digest = models.BinaryField(
        max_length=DIGEST_BYTES,
        null=True,
        unique=True,
        db_comment="SHA-256 of the token of the last link that was given out and not used",
    )
    link_expires_at = models.DateTimeField(null=True, db_comment="The link opens nothing then")
    taken_at = models.DateTimeField(null=True, editable=False, db_comment="Last downloaded")

    objects = ExportRequestQuerySet.as_manager()

    class Meta:
        db_table_comment = "Exports of everything that is kept of a person"
        constraints = [
            CheckConstraint(
                condition=Q(status__in=ExportStatus.values), name="export_status_known"
            ),
            UniqueConstraint(
                fields=["user"],
                condition=Q(status__in=[ExportStatus.QUEUED, ExportStatus.BUILDING]),
                name="export_one_at_a_time",
            ),
            CheckConstraint(
                condition=~Q(status=ExportStatus.READY)
                | Q(
                    ready_at__isnull=False,
                    expires_at__gt=F("ready_at"),
                    size__isnull=False,
                    sha256__isnull=False,
                )
                & ~Q(stored_as=""),
                name="export_ready_has_file",
            ),
        ]
        indexes = [
            Index(fields=["user", "-requested_at"], name="export_recent"),
            Index(
                fields=["touched_at"],
                condition=Q(status__in=[ExportStatus.QUEUED, ExportStatus.BUILDING]),
                name="export_unfinished",
            ),
            Index(
                fields=["expires_at"],
                condition=Q(status=ExportStatus.READY),
                name="export_expiring",
            ),
        ]

    def __str__(self) -> str:
        return f"export asked for {self.requested_at:%Y-%m-%d %H:%M}"
