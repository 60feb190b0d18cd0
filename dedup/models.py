"""The archive: what was imported, byte for byte, and the conversations found in it.

Messages, revisions, records and observations are never changed or deleted by the application;
triggers in the database refuse it. Composite foreign keys on (user_id, …) stand in the
migrations: Django declares the relations here without constraints of its own.
"""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import (
    CheckConstraint,
    Deferrable,
    F,
    Index,
    Q,
    UniqueConstraint,
)
from django.db.models.functions import Now

from common.fields import Uuid7Field
from dedup.choices import ImportStatus, Operation, Role, Source
from dedup.querysets import ImportQuerySet, OwnedQuerySet, PlacementQuerySet

DIGEST_BYTES = 32


def owner() -> "models.ForeignKey[Any, Any]":
    """The person a row belongs to.

    No backward relation, since tables are large, and no index: a unique one begins with it.
    """
    return models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_index=False,
        related_name="+",
        db_comment="Whose it is: policies compare it with app.user_id",
    )


def owned(to: str, comment: str, **options: Any) -> "models.ForeignKey[Any, Any]":
    """A reference within one person's things; the migration adds (user_id, …) as its key."""
    return models.ForeignKey(
        to,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name=options.pop("related_name", "+"),
        db_comment=comment,
        **options,
    )


def owner_of_rows() -> "models.ForeignKey[Any, Any]":
    """The owner where an owned reference already proves that the person exists."""
    return models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        db_comment="Whose it is: policies compare it with app.user_id",
    )


class Artifact(models.Model):
    """The bytes of one imported file, kept whole in the file storage."""

    id = Uuid7Field()
    user = owner()
    sha256 = models.BinaryField(max_length=DIGEST_BYTES, db_comment="SHA-256 of the bytes")
    size = models.PositiveBigIntegerField(db_comment="Bytes")
    stored_as = models.CharField(max_length=200, db_comment="Name in the file storage")
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Received")

    objects = OwnedQuerySet.as_manager()

    class Meta:
        db_table_comment = "Files that were imported, by content"
        constraints = [
            UniqueConstraint(fields=["user", "sha256"], name="artifact_once"),
            UniqueConstraint(fields=["user", "id"], name="artifact_owned"),
        ]

    def __str__(self) -> str:
        return bytes(self.sha256).hex()


class Import(models.Model):
    """One act of importing a file: the job, its result, and the trace that it happened."""

    id = Uuid7Field()
    user = owner_of_rows()
    artifact = owned("Artifact", "Which bytes", related_name="imports")
    original = owned(
        "Import",
        "The import that brought these bytes first, if it was not this one",
        null=True,
        blank=True,
    )
    extends = owned(
        "Import",
        "The import of a file with which this one begins: its records are the first of this one",
        null=True,
        blank=True,
    )
    name = models.CharField(max_length=1000, db_comment="The file's name or path when it came")
    wanted_source = models.CharField(
        max_length=30, choices=Source, blank=True, db_comment="The format it was said to have"
    )
    wanted_conversation = models.CharField(
        max_length=500, blank=True, db_comment="The conversation it was said to belong to"
    )
    source = models.CharField(
        max_length=30, choices=Source, blank=True, db_comment="The format that was recognised"
    )
    parser_version = models.PositiveSmallIntegerField(
        default=0, db_comment="Version of the parser that read it; 0 until it is read"
    )
    status = models.CharField(
        max_length=20, choices=ImportStatus, default=ImportStatus.QUEUED, db_comment="How far it is"
    )
    attempts = models.PositiveSmallIntegerField(default=0, db_comment="Times a worker began it")
    records = models.PositiveIntegerField(default=0, db_comment="Records in the file")
    messages_in_export = models.PositiveIntegerField(default=0, db_comment="Messages in the file")
    new_messages = models.PositiveIntegerField(default=0, db_comment="First seen in this file")
    duplicates_filtered = models.PositiveIntegerField(
        default=0, db_comment="Already kept, with equal content"
    )
    revisions = models.PositiveIntegerField(
        default=0, db_comment="Already kept, with other content: a revision was added"
    )
    content_collisions = models.PositiveIntegerField(
        default=0, db_comment="New messages whose content the conversation had already: kept"
    )
    unreadable_records = models.PositiveIntegerField(
        default=0, db_comment="Kept as raw bytes because they could not be parsed"
    )
    content_sha256 = models.BinaryField(
        max_length=DIGEST_BYTES,
        null=True,
        editable=False,
        db_comment="SHA-256 of the records joined, where the file is a zip",
    )
    report = models.JSONField(
        default=dict, blank=True, db_comment="What a check of the file against itself found"
    )
    last_sent_at = models.DateTimeField(
        null=True, editable=False, db_comment="Time of the latest message in the file"
    )
    reaches_at = models.DateTimeField(
        null=True,
        editable=False,
        db_comment="Time of the latest message in this file or in those that begin with it",
    )
    processing_time_ms = models.PositiveIntegerField(default=0, db_comment="Reading and merging")
    error_code = models.CharField(max_length=50, blank=True, db_comment="Public code of a failure")
    error_detail = models.TextField(blank=True, db_comment="What went wrong, for people")
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Asked for")
    touched_at = models.DateTimeField(
        db_default=Now(), editable=False, db_comment="Last sign of life"
    )
    finished_at = models.DateTimeField(null=True, editable=False, db_comment="Ended, well or not")

    objects = ImportQuerySet.as_manager()

    class Meta:
        db_table_comment = "Acts of importing a file"
        constraints = [
            UniqueConstraint(fields=["user", "id"], name="import_owned"),
            CheckConstraint(
                condition=Q(status__in=ImportStatus.values), name="import_status_known"
            ),
            CheckConstraint(
                condition=Q(source="") | Q(source__in=Source.values), name="import_source_known"
            ),
            CheckConstraint(
                condition=Q(wanted_source="") | Q(wanted_source__in=Source.values),
                name="import_wanted_source_known",
            ),
            CheckConstraint(
                condition=Q(
                    messages_in_export=F("new_messages") + F("duplicates_filtered") + F("revisions")
                ),
                name="import_counts_add_up",
            ),
        ]
        indexes = [
            Index(fields=["artifact"], name="import_artifact"),
            Index(fields=["original"], name="import_original"),
            Index(fields=["extends"], condition=Q(extends__isnull=False), name="import_extends"),
            Index(
                fields=["touched_at"],
                condition=Q(status__in=["queued", "running"]),
                name="import_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def savings_pct(self) -> float:
        """Share of the file's messages that was kept already, in per cent."""
        return savings(self.messages_in_export, self.new_messages + self.revisions)

    @property
    def already_imported(self) -> bool:
        return self.original_id is not None


def savings(in_export: int, stored: int) -> float:
    """Per cent of the messages of an export that needed no storing; 0 for an empty one."""
    return round(100 * (1 - stored / in_export), 2) if in_export else 0.0


class Conversation(models.Model):
    """One conversation as its source counts them: a session, or a sub-agent's part of one."""

    id = Uuid7Field()
    user = owner()
    source = models.CharField(max_length=30, choices=Source, db_comment="Where it was held")
    native_key = models.CharField(max_length=500, db_comment="Its id there")
    parent_key = models.CharField(
        max_length=500, blank=True, db_comment="Id of the conversation it is a sub-agent of"
    )
    merged_into = owned(
        "Conversation",
        "The conversation that an export showed it to be a part of",
        null=True,
        blank=True,
    )
    title = models.CharField(max_length=300, blank=True, db_comment="Its own, or the first words")
    project = models.CharField(max_length=1000, blank=True, db_comment="Folder or project there")
    total_messages = models.PositiveIntegerField(
        default=0, db_comment="Messages placed in it: a cached count"
    )
    metadata = models.JSONField(default=dict, blank=True, db_comment="What else its source says")
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="First seen")
    updated_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Last import")

    objects = OwnedQuerySet.as_manager()

    class Meta:
        db_table_comment = "Conversations found in imported files"
        constraints = [
            UniqueConstraint(fields=["user", "source", "native_key"], name="conversation_once"),
            UniqueConstraint(fields=["user", "id"], name="conversation_owned"),
            CheckConstraint(
                condition=Q(source__in=Source.values), name="conversation_source_known"
            ),
        ]
        indexes = [
            Index(fields=["user", "-updated_at"], name="conversation_recent"),
            Index(
                fields=["user", "source", "parent_key"],
                condition=~Q(parent_key=""),
                name="conversation_parent",
            ),
            Index(
                fields=["merged_into"],
                condition=Q(merged_into__isnull=False),
                name="conversation_merged_into",
            ),
        ]

    def __str__(self) -> str:
        return self.title or self.native_key

    @property
    def whole(self) -> "Conversation":
        """The conversation that it was found to be a part of, or itself."""
        return self.merged_into or self

    @property
    def whole_id(self) -> UUID:
        found: UUID = self.merged_into_id or self.id
        return found


class Message(models.Model):
    """One message by its identity; what it says stands in its revisions. Immutable.

    It belongs to the conversation that first brought it; copies of a session place the same
    message in other conversations too.
    """

    id = Uuid7Field()
    user = owner_of_rows()
    conversation = owned("Conversation", "The one that first brought it", related_name="messages")
    source = models.CharField(max_length=30, choices=Source, db_comment="As the conversation's")
    native_key = models.CharField(max_length=500, db_comment="Its id at the source")
    parent_key = models.CharField(
        max_length=500, blank=True, db_comment="Id of the message it answers, as the source has it"
    )
    message_index = models.PositiveIntegerField(
        db_comment="Ordinal at which its conversation first received it; never reused"
    )
    native_index = models.PositiveIntegerField(
        null=True, db_comment="Its number in the conversation, where the source counts"
    )
    sent_at = models.DateTimeField(null=True, db_comment="When the source says it was sent")
    api_id = models.CharField(
        max_length=200, blank=True, db_comment="Id of the model's response that it is a part of"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="First received")

    objects = OwnedQuerySet.as_manager()

    class Meta:
        db_table_comment = "Messages by identity"
        constraints = [
            UniqueConstraint(fields=["user", "source", "native_key"], name="message_once"),
            UniqueConstraint(fields=["conversation", "message_index"], name="message_index_once"),
            UniqueConstraint(fields=["user", "id"], name="message_owned"),
        ]
        # Serves time filters, and finds the other ids under which a message came again.
        indexes = [Index(fields=["user", "sent_at"], name="message_sent")]

    def __str__(self) -> str:
        return f"{self.source} {self.native_key}"


class Revision(models.Model):
    """What a message said, once for each different content. Immutable.

    Of several the one counts that stands in the export which goes furthest.
    """

    id = Uuid7Field()
    user = owner_of_rows()
    message = owned("Message", "What says it", related_name="revisions")
    role = models.CharField(max_length=20, choices=Role, db_comment="Who speaks")
    content = models.JSONField(
        db_comment="Content blocks; NUL and lone surrogates replaced, raw has them"
    )
    text = models.TextField(
        db_comment="Words for reading and search, of bounded length; secrets are masked"
    )
    secrets = models.JSONField(
        default=list,
        blank=True,
        db_comment="Kind, start and end of each secret in the words before they were masked",
    )
    content_hash = models.BinaryField(
        max_length=DIGEST_BYTES, db_comment="SHA-256 of canonical role and content"
    )
    hash_version = models.PositiveSmallIntegerField(db_comment="Rule of the content hash")
    raw = models.BinaryField(db_comment="The record as its file had it, byte for byte")
    raw_sha256 = models.BinaryField(max_length=DIGEST_BYTES, db_comment="SHA-256 of raw")
    metadata = models.JSONField(default=dict, db_comment="Model, versions, flags, token usage")
    search = SearchVectorField(
        db_comment="The words of text, for full-text search in English", editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Received")

    objects = OwnedQuerySet.as_manager()

    class Meta:
        db_table_comment = "Contents of messages"
        constraints = [
            UniqueConstraint(
                fields=["message", "hash_version", "content_hash"], name="revision_once"
            ),
            UniqueConstraint(fields=["user", "id"], name="revision_owned"),
            CheckConstraint(condition=Q(role__in=Role.values), name="revision_role_known"),
        ]
        indexes = [
            GinIndex(fields=["search"], name="revision_search"),
            Index(fields=["user", "content_hash"], name="revision_content"),
            Index(fields=["message"], condition=~Q(secrets=[]), name="revision_with_secrets"),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class Record(models.Model):
    """Bytes of a line that is not a message, or differs from its revision's raw. Immutable."""

    id = Uuid7Field()
    user = owner()
    sha256 = models.BinaryField(max_length=DIGEST_BYTES, db_comment="SHA-256 of raw")
    raw = models.BinaryField(db_comment="The bytes, with their line end")

    objects = OwnedQuerySet.as_manager()

    class Meta:
        db_table_comment = "Raw lines beside the revisions, by content"
        constraints = [
            UniqueConstraint(fields=["user", "sha256"], name="record_once"),
            UniqueConstraint(fields=["user", "id"], name="record_owned"),
        ]

    def __str__(self) -> str:
        return bytes(self.sha256).hex()


class Observation(models.Model):
    """What stood at one place of one file: a revision, raw bytes, or both. Immutable.

    The bytes are the record's where there is one, else the revision's: joined in order they
    are the file.
    """

    id = Uuid7Field()
    user = owner_of_rows()
    import_row = owned(
        "Import", "In which file", db_column="import_id", related_name="observations"
    )
    ordinal = models.PositiveIntegerField(db_comment="Place in the file, from 0")
    revision = owned("Revision", "The message that was read there", null=True)
    record = owned("Record", "The bytes, where they are not the revision's", null=True)
    unreadable = models.BooleanField(default=False, db_comment="The record could not be parsed")

    objects = OwnedQuerySet.as_manager()

    class Meta:
        db_table_comment = "What stood where in each imported file"
        constraints = [
            UniqueConstraint(fields=["import_row", "ordinal"], name="observation_once"),
            CheckConstraint(
                condition=Q(revision__isnull=False) | Q(record__isnull=False),
                name="observation_has_bytes",
            ),
        ]
        indexes = [
            Index(fields=["revision"], name="observation_revision"),
            Index(fields=["record"], condition=Q(record__isnull=False), name="observation_record"),
        ]

    def __str__(self) -> str:
        return f"{self.import_row_id} {self.ordinal}"


class Segment(models.Model):
    """A stretch of a conversation whose order is known."""

    id = Uuid7Field()
    user = owner_of_rows()
    conversation = owned("Conversation", "Of which conversation", related_name="segments")
    number = models.PositiveIntegerField(db_comment="Place among the segments, from 0")

    objects = OwnedQuerySet.as_manager()

    class Meta:
        db_table_comment = "Stretches of conversations whose order is known"
        constraints = [
            UniqueConstraint(fields=["conversation", "number"], name="segment_once"),
            UniqueConstraint(fields=["user", "id"], name="segment_owned"),
        ]

    def __str__(self) -> str:
        return f"{self.conversation_id} {self.number}"


class Placement(models.Model):
    """Where a message stands in a segment. Changes when an export shows what was missing."""

    id = Uuid7Field()
    user = owner_of_rows()
    segment = owned("Segment", "In which stretch", related_name="placements")
    message = owned("Message", "Which message", related_name="placements")
    position = models.PositiveIntegerField(db_comment="Place in the stretch, from 0, without gaps")

    objects = PlacementQuerySet.as_manager()

    class Meta:
        db_table_comment = "The order of messages"
        constraints = [
            UniqueConstraint(fields=["segment", "message"], name="placement_once"),
            # Deferred: an insertion in the middle moves every later position.
            UniqueConstraint(
                fields=["segment", "position"],
                name="placement_position_once",
                deferrable=Deferrable.DEFERRED,
            ),
        ]
        indexes = [Index(fields=["message"], name="placement_message")]

    def __str__(self) -> str:
        return f"{self.segment_id} {self.position}"


class Alias(models.Model):
    """Another id under which the source gave out a message that is kept already."""

    id = Uuid7Field()
    user = owner_of_rows()
    message = owned("Message", "The message it is", related_name="aliases")
    source = models.CharField(max_length=30, choices=Source, db_comment="As the message's")
    native_key = models.CharField(max_length=500, db_comment="The other id")

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "aliases"
        db_table_comment = "Other ids of messages"
        constraints = [
            UniqueConstraint(fields=["user", "source", "native_key"], name="alias_once"),
        ]
        indexes = [Index(fields=["message"], name="alias_message")]

    def __str__(self) -> str:
        return self.native_key


class Watermark(models.Model):
    """How far a conversation has been received: a statistic, never a filter."""

    conversation = models.OneToOneField(
        Conversation,
        on_delete=models.DO_NOTHING,
        primary_key=True,
        db_constraint=False,
        related_name="watermark",
        db_comment="Of which conversation",
    )
    user = owner_of_rows()
    highest_index = models.IntegerField(
        default=-1, db_comment="Highest message_index received; -1 before the first"
    )
    updated_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Last raised")

    objects = OwnedQuerySet.as_manager()

    class Meta:
        db_table_comment = "How far each conversation has been received"
        constraints = [
            CheckConstraint(condition=Q(highest_index__gte=-1), name="watermark_range"),
        ]

    def __str__(self) -> str:
        return str(self.highest_index)


class DeduplicationLog(models.Model):
    """What one import added to and saved in one conversation."""

    id = Uuid7Field()
    user = owner_of_rows()
    import_row = owned("Import", "Which import", db_column="import_id", related_name="log")
    conversation = owned("Conversation", "Which conversation", related_name="log")
    operation = models.CharField(max_length=30, choices=Operation, db_comment="What was done")
    messages_processed = models.PositiveIntegerField(db_comment="Messages in the export")
    new_messages = models.PositiveIntegerField(db_comment="First seen in this export")
    duplicates_filtered = models.PositiveIntegerField(db_comment="Kept already, equal")
    revisions = models.PositiveIntegerField(db_comment="Kept already, with other content")
    content_collisions = models.PositiveIntegerField(
        db_comment="New messages whose content the conversation had already: kept"
    )
    storage_savings_pct = models.DecimalField(
        max_digits=5, decimal_places=2, db_comment="Share of the export that was kept already"
    )
    processing_time_ms = models.PositiveIntegerField(db_comment="Reading and merging the file")
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Done")

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "de-duplication log entry"
        verbose_name_plural = "de-duplication log"
        db_table_comment = "What each import added and saved, by conversation"
        constraints = [
            UniqueConstraint(fields=["import_row", "conversation"], name="log_once"),
            CheckConstraint(
                condition=Q(operation__in=Operation.values), name="log_operation_known"
            ),
        ]
        indexes = [Index(fields=["conversation", "-created_at"], name="log_conversation")]

    def __str__(self) -> str:
        return f"{self.operation} {self.created_at:%Y-%m-%d %H:%M}"
