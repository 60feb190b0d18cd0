"""The change stream: what changed, what happened, and the files that it was written to.

The events stand in tables with one partition a month, whose definition is in the migrations.
Nobody inserts into them directly: triggers and `audit_note` do, as the role `definer`. Nobody
changes or deletes a row; what is past its time goes with its whole partition.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.db.models.functions import Now

from audit.choices import Operation, SecurityKind
from audit.fields import CurrentTransaction, SnapshotField, TransactionIdField
from audit.querysets import EventQuerySet, ExportBatchQuerySet
from common.fields import Uuid7Field
from common.tenancy import LONGEST_REASON

DIGEST_BYTES = 32


class Event(models.Model):
    """What both kinds of events say: when, whose, by whom, through which role and request."""

    id = Uuid7Field()
    xid = TransactionIdField(
        db_default=CurrentTransaction(), editable=False, db_comment="Transaction it belongs to"
    )
    at = models.DateTimeField(db_default=Now(), editable=False, db_comment="When it happened")
    user_id = models.UUIDField(null=True, db_comment="Whom it concerns: the owner of the row")
    actor_id = models.UUIDField(null=True, db_comment="Who did it: a person or an operator")
    role = models.CharField(max_length=63, db_comment="Login of the database that it came through")
    request_id = models.CharField(max_length=64, blank=True, db_comment="In which request or task")
    reason = models.CharField(
        max_length=LONGEST_REASON, blank=True, db_comment="Why, as an operator or the house said"
    )

    class Meta:
        abstract = True


class ChangeEvent(Event):
    """One row of a captured table was added, changed or deleted."""

    table_name = models.CharField(max_length=63, db_comment="In which table")
    row_id = models.UUIDField(null=True, db_comment="Key of the row; none when all were deleted")
    operation = models.CharField(max_length=10, choices=Operation, db_comment="What was done")
    old = models.JSONField(null=True, db_comment="Keys, states, numbers and dates before")
    new = models.JSONField(null=True, db_comment="Keys, states, numbers and dates after")
    changed = ArrayField(
        models.CharField(max_length=63),
        null=True,
        db_comment="Names of the columns that an update changed, those with words too",
    )

    objects = EventQuerySet.as_manager()

    class Meta:
        db_table = "audit_change_event"
        db_table_comment = "Changes of captured tables, written by their triggers"
        constraints = [
            CheckConstraint(
                condition=Q(operation__in=Operation.values), name="change_operation_known"
            )
        ]
        indexes = [
            Index(fields=["user_id", "id"], name="change_owner"),
            Index(fields=["xid"], name="change_xid"),
            Index(fields=["table_name", "row_id", "id"], name="change_row"),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.table_name} {self.row_id}"


class SecurityEvent(Event):
    """Something happened that no row shows; noted outside the transaction that it happened in."""

    kind = models.CharField(max_length=30, choices=SecurityKind, db_comment="What happened")
    subject = models.CharField(
        max_length=63, blank=True, db_comment="Which kind of thing was looked at or acted upon"
    )
    row_id = models.UUIDField(null=True, db_comment="Key of the thing, if it was one")
    details = models.JSONField(
        default=dict, db_comment="Numbers, codes and keys; the database refuses words"
    )

    objects = EventQuerySet.as_manager()

    class Meta:
        db_table = "audit_security_event"
        db_table_comment = "Logins, refusals, looks at sensitive things, and acts of the house"
        constraints = [
            CheckConstraint(condition=Q(kind__in=SecurityKind.values), name="security_kind_known")
        ]
        indexes = [
            Index(fields=["user_id", "id"], name="security_owner"),
            Index(fields=["xid"], name="security_xid"),
            Index(fields=["kind", "id"], name="security_kind"),
        ]

    def __str__(self) -> str:
        return self.get_kind_display()


class SecurityOrigin(models.Model):
    """Where an event came from; kept for a shorter time than the event, and never exported."""

    id = models.UUIDField(primary_key=True, db_comment="Key of the security event")
    user_id = models.UUIDField(
        null=True, db_comment="Whom the event concerns, or the operator who caused it"
    )
    address = models.GenericIPAddressField(null=True, db_comment="Network address of the client")
    agent = models.CharField(max_length=300, blank=True, db_comment="What the client calls itself")

    objects = EventQuerySet.as_manager()

    class Meta:
        db_table = "audit_security_origin"
        db_table_comment = "Addresses and agents of security events"
        indexes = [Index(fields=["user_id", "id"], name="origin_owner")]

    def __str__(self) -> str:
        return self.address or "-"


class Activity(models.Model):
    """One event of either kind, as the person sees it whom it concerns; a view.

    Policies of both tables hold, since the view asks as whoever asks it.
    """

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField()
    user_id = models.UUIDField(null=True)
    actor_id = models.UUIDField(null=True)
    role = models.CharField(max_length=63)
    request_id = models.CharField(max_length=64)
    kind = models.CharField(max_length=30)
    subject = models.CharField(max_length=63)
    row_id = models.UUIDField(null=True)
    operation = models.CharField(max_length=10)
    old = models.JSONField(null=True)
    new = models.JSONField(null=True)
    changed = ArrayField(models.CharField(max_length=63), null=True)
    details = models.JSONField(null=True)
    address = models.GenericIPAddressField(null=True)
    agent = models.CharField(max_length=300)

    objects = EventQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = "audit_activity"
        verbose_name_plural = "activities"

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class ExportBatch(models.Model):
    """One file of the stream: the events of all transactions that ended between two moments.

    It is planned first and written then, so that a writer that was killed is followed by one
    that writes the same bytes under the same name. Once written it never changes.
    """

    id = Uuid7Field()
    sequence = models.PositiveBigIntegerField(
        unique=True, db_comment="Number of the file, from 1, without gaps"
    )
    after = SnapshotField(db_comment="Transactions whose events are in the files before")
    upto = SnapshotField(db_comment="Transactions whose events are in this file or before")
    first_id = models.UUIDField(
        db_comment="Events with smaller keys were exported before the database was restored"
    )
    stored_as = models.CharField(max_length=200, db_comment="Name in the file storage")
    first_line = models.PositiveBigIntegerField(db_comment="Number of its first line in the stream")
    lines = models.PositiveIntegerField(default=0, db_comment="Events in the file")
    previous_head = models.BinaryField(
        max_length=DIGEST_BYTES, db_comment="Hash of the last line before it"
    )
    head = models.BinaryField(
        max_length=DIGEST_BYTES, null=True, db_comment="Hash of its last line"
    )
    sha256 = models.BinaryField(
        max_length=DIGEST_BYTES, null=True, db_comment="SHA-256 of the file's bytes"
    )
    planned_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Planned")
    written_at = models.DateTimeField(null=True, editable=False, db_comment="Whole in the storage")

    objects = ExportBatchQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "export batches"
        db_table = "audit_export_batch"
        db_table_comment = "Files that the stream was written to"
        constraints = [
            CheckConstraint(
                condition=Q(written_at__isnull=True, head__isnull=True, sha256__isnull=True)
                | Q(written_at__isnull=False, head__isnull=False, sha256__isnull=False),
                name="export_batch_written_whole",
            ),
            # Two exporters cannot plan side by side.
            UniqueConstraint(
                fields=["written_at"],
                condition=Q(written_at__isnull=True),
                nulls_distinct=False,
                name="export_batch_one_planned",
            ),
        ]

    def __str__(self) -> str:
        return str(self.sequence)
