from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from dedup.choices import Role, Source
from dedup.models import Conversation, Import, Message, Placement, Revision
from dedup.progress import progress_of
from dedup.selectors import SearchHit

# A list shows this much of a message; the message itself has all of it.
PREVIEW_CHARACTERS = 4000


class ImportInput(serializers.Serializer[Any]):
    file = serializers.FileField(
        allow_empty_file=True, max_length=255, help_text="The export as its program wrote it"
    )

    def validate_file(self, file: Any) -> Any:
        if file.size > settings.LARGEST_UPLOAD_BYTES:
            raise serializers.ValidationError(
                f"At most {settings.LARGEST_UPLOAD_BYTES} bytes.", code="too_large"
            )
        return file


class ProgressOutput(serializers.Serializer[Any]):
    records = serializers.IntegerField()
    bytes_read = serializers.IntegerField()
    bytes_total = serializers.IntegerField()


class ImportOutput(serializers.ModelSerializer[Import]):
    sha256 = serializers.SerializerMethodField()
    savings_pct = serializers.FloatField(read_only=True)
    already_imported = serializers.BooleanField(read_only=True)
    events_url = serializers.SerializerMethodField()

    class Meta:
        model = Import
        fields = [
            "id",
            "name",
            "source",
            "sha256",
            "status",
            "already_imported",
            "records",
            "messages_in_export",
            "new_messages",
            "duplicates_filtered",
            "revisions",
            "content_collisions",
            "unreadable_records",
            "savings_pct",
            "processing_time_ms",
            "error_code",
            "error_detail",
            "events_url",
            "created_at",
            "finished_at",
        ]

    def get_sha256(self, row: Import) -> str:
        return bytes(row.artifact.sha256).hex()

    def get_events_url(self, row: Import) -> str:
        """Server-sent events of the progress, with the same token."""
        return f"{settings.LIVE_URL}/api/v1/imports/{row.pk}/events/"


class ImportDetailOutput(ImportOutput):
    progress = serializers.SerializerMethodField()

    class Meta(ImportOutput.Meta):
        fields = [*ImportOutput.Meta.fields, "progress"]

    @extend_schema_field(ProgressOutput(allow_null=True))
    def get_progress(self, row: Import) -> dict[str, Any] | None:
        progress = None if row.finished_at else progress_of(row.pk)
        return ProgressOutput(progress).data if progress else None


class ConversationOutput(serializers.ModelSerializer[Conversation]):
    watermark = serializers.IntegerField(source="watermark.highest_index", read_only=True)

    class Meta:
        model = Conversation
        fields = [
            "id",
            "source",
            "native_key",
            "parent_key",
            "title",
            "project",
            "total_messages",
            "watermark",
            "created_at",
            "updated_at",
        ]


class RevisionOutput(serializers.ModelSerializer[Revision]):
    content_hash = serializers.SerializerMethodField()

    class Meta:
        model = Revision
        fields = ["id", "role", "text", "content", "content_hash", "metadata", "created_at"]

    def get_content_hash(self, row: Revision) -> str:
        return bytes(row.content_hash).hex()


class MessageOutput(serializers.Serializer[Message]):
    """One message with what it says at last, shortened in lists."""

    id = serializers.UUIDField()
    conversation = serializers.UUIDField(source="conversation_id")
    source = serializers.ChoiceField(Source.choices)  # type: ignore[assignment]  # the metaclass takes it
    native_key = serializers.CharField()
    parent_key = serializers.CharField()
    message_index = serializers.IntegerField()
    sent_at = serializers.DateTimeField(allow_null=True)
    role = serializers.SerializerMethodField()
    text = serializers.SerializerMethodField()
    shortened = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ChoiceField(Role.choices))
    def get_role(self, message: Message) -> str:
        return self._revision(message).role

    def get_text(self, message: Message) -> str:
        return self._revision(message).text[:PREVIEW_CHARACTERS]

    def get_shortened(self, message: Message) -> bool:
        return len(self._revision(message).text) > PREVIEW_CHARACTERS

    def _revision(self, message: Message) -> Revision:
        revisions: dict[Any, Revision] = self.context["revisions"]
        return revisions[message.pk]


class PlacedMessageOutput(serializers.Serializer[Placement]):
    """One place in a conversation's reading order."""

    segment = serializers.IntegerField(source="segment.number")
    position = serializers.IntegerField()
    message = MessageOutput()


class MessageDetailOutput(serializers.ModelSerializer[Message]):
    revisions = RevisionOutput(many=True)

    class Meta:
        model = Message
        fields = [
            "id",
            "conversation",
            "source",
            "native_key",
            "parent_key",
            "message_index",
            "sent_at",
            "api_id",
            "revisions",
        ]


class SearchInput(serializers.Serializer[Any]):
    q = serializers.CharField(max_length=1000, help_text='Words to find: "a phrase", or, -without')
    source = serializers.ChoiceField(Source.choices, required=False)  # type: ignore[assignment]
    role = serializers.ChoiceField(Role.choices, required=False)
    conversation = serializers.UUIDField(required=False)
    sent_from = serializers.DateTimeField(required=False)
    sent_before = serializers.DateTimeField(required=False)


class SearchHitOutput(serializers.Serializer[SearchHit]):
    """A found message; `highlight` is escaped HTML with the words in <mark>."""

    rank = serializers.FloatField()
    highlight = serializers.CharField()
    conversation_title = serializers.CharField(source="message.conversation.title")
    message = MessageOutput()
