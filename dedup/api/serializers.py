from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from dedup.api.masking import MaskedJSONField, MaskedTextField, SecretsInput, text_shown
from dedup.choices import Role, Source
from dedup.models import Conversation, Import, Message, Placement, Revision
from dedup.progress import progress_of
from dedup.rendering import Form
from dedup.selectors import SearchHit
from dedup.statistics import parent_of, sub_agents_of

# A list shows this much of a message; the message itself has all of it.
PREVIEW_CHARACTERS = 4000
LARGEST_INDEX = (1 << 31) - 1

READING, LATEST = "reading", "latest"
ALL, ACTIVE = "all", "active"


class ImportInput(serializers.Serializer[Any]):
    file = serializers.FileField(
        allow_empty_file=True, max_length=255, help_text="The export as its program wrote it"
    )
    source = serializers.ChoiceField(  # type: ignore[assignment]  # the metaclass takes it
        Source.choices, required=False, help_text="The format, where the file is not to say"
    )
    conversation = serializers.CharField(
        required=False,
        max_length=500,
        help_text="Key of the one conversation in the file, where the file is not to say",
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
    name = MaskedTextField(read_only=True)
    wanted_source = serializers.CharField(read_only=True)
    wanted_conversation = MaskedTextField(read_only=True)
    report = MaskedJSONField(read_only=True)
    error_detail = MaskedTextField(read_only=True)
    sha256 = serializers.SerializerMethodField()
    savings_pct = serializers.FloatField(read_only=True)
    already_imported = serializers.BooleanField(read_only=True)
    events_url = serializers.SerializerMethodField()

    class Meta:
        model = Import
        fields = [
            "id",
            "name",
            "wanted_source",
            "wanted_conversation",
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
            "report",
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
    """A conversation; the view gives the ids of those `with_secrets`."""

    native_key = MaskedTextField(read_only=True)
    parent_key = MaskedTextField(read_only=True)
    title = MaskedTextField(read_only=True)
    project = MaskedTextField(read_only=True)
    watermark = serializers.IntegerField(
        source="watermark.highest_index", read_only=True, default=-1
    )
    has_secrets = serializers.SerializerMethodField()

    class Meta:
        model = Conversation
        fields = [
            "id",
            "source",
            "native_key",
            "parent_key",
            "merged_into",
            "title",
            "project",
            "total_messages",
            "watermark",
            "has_secrets",
            "created_at",
            "updated_at",
        ]

    def get_has_secrets(self, row: Conversation) -> bool:
        return row.pk in self.context["with_secrets"]


class SubAgentOutput(serializers.ModelSerializer[Conversation]):
    native_key = MaskedTextField(read_only=True)
    title = MaskedTextField(read_only=True)

    class Meta:
        model = Conversation
        fields = ["id", "native_key", "title", "total_messages"]


class ConversationDetailOutput(ConversationOutput):
    metadata = MaskedJSONField(read_only=True)
    parent = serializers.SerializerMethodField()  # type: ignore[assignment]  # the metaclass takes it
    sub_agents = serializers.SerializerMethodField()
    segments = serializers.SerializerMethodField()

    class Meta(ConversationOutput.Meta):
        fields = [*ConversationOutput.Meta.fields, "metadata", "parent", "sub_agents", "segments"]

    def get_parent(self, row: Conversation) -> UUID | None:
        """The conversation that it is a sub-agent of, if it is here."""
        parent = parent_of(row)
        return parent.pk if parent else None

    @extend_schema_field(SubAgentOutput(many=True))
    def get_sub_agents(self, row: Conversation) -> Any:
        return SubAgentOutput(sub_agents_of(row), many=True, context=self.context).data

    def get_segments(self, row: Conversation) -> int:
        """Stretches whose order is known; between two of them something may be missing."""
        return row.segments.filter(placements__position=0).count()


def kinds_of_secrets(revision: Revision) -> list[str]:
    return sorted({str(kind) for kind, *_ in revision.secrets})


class RevisionOutput(serializers.ModelSerializer[Revision]):
    text = serializers.SerializerMethodField()
    content = MaskedJSONField(read_only=True)
    metadata = MaskedJSONField(read_only=True)
    content_hash = serializers.SerializerMethodField()
    has_secrets = serializers.SerializerMethodField()
    secrets = serializers.SerializerMethodField()

    class Meta:
        model = Revision
        fields = [
            "id",
            "role",
            "text",
            "content",
            "content_hash",
            "has_secrets",
            "secrets",
            "metadata",
            "created_at",
        ]

    def get_text(self, row: Revision) -> str:
        return text_shown(row, revealed=bool(self.context.get("revealed")))

    def get_content_hash(self, row: Revision) -> str:
        return bytes(row.content_hash).hex()

    def get_has_secrets(self, row: Revision) -> bool:
        return bool(row.secrets)

    def get_secrets(self, row: Revision) -> list[str]:
        """The kinds of the secrets in its words."""
        return kinds_of_secrets(row)


class MessageOutput(serializers.Serializer[Message]):
    """One message with what it says at last, shortened; the view gives `shown_in`'s context."""

    id = serializers.UUIDField()
    conversation = serializers.UUIDField(source="conversation.whole_id")
    source = serializers.ChoiceField(Source.choices)  # type: ignore[assignment]  # the metaclass takes it
    native_key = MaskedTextField()
    parent_key = MaskedTextField()
    message_index = serializers.IntegerField(
        help_text="Ordinal at which the conversation that brought it received it"
    )
    native_index = serializers.IntegerField(allow_null=True)
    sent_at = serializers.DateTimeField(allow_null=True)
    role = serializers.SerializerMethodField()
    content_hash = serializers.SerializerMethodField()
    has_secrets = serializers.SerializerMethodField()
    text = serializers.SerializerMethodField()
    shortened = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ChoiceField(Role.choices))
    def get_role(self, message: Message) -> str:
        return self._revision(message).role

    def get_content_hash(self, message: Message) -> str:
        return bytes(self._revision(message).content_hash).hex()

    def get_has_secrets(self, message: Message) -> bool:
        return bool(self._revision(message).secrets)

    def get_text(self, message: Message) -> str:
        return self._text(message)[:PREVIEW_CHARACTERS]

    def get_shortened(self, message: Message) -> bool:
        return len(self._text(message)) > PREVIEW_CHARACTERS

    def _text(self, message: Message) -> str:
        texts: dict[UUID, str] = self.context["texts"]
        return texts[message.pk]

    def _revision(self, message: Message) -> Revision:
        revisions: dict[Any, Revision] = self.context["revisions"]
        return revisions[message.pk]


def shown_in(revisions: Mapping[UUID, Revision], *, revealed: bool) -> dict[str, Any]:
    """The context of MessageOutput: what each message says, and its text as it is shown."""
    texts = {
        message: text_shown(revision, revealed=revealed) for message, revision in revisions.items()
    }
    return {"revealed": revealed, "revisions": revisions, "texts": texts}


class MessagesInput(SecretsInput):
    """Which of a conversation's messages, and in which order."""

    message_index = serializers.IntegerField(
        required=False, min_value=0, max_value=LARGEST_INDEX, help_text="The one with this index"
    )
    content_hash = serializers.RegexField(
        r"^[0-9a-fA-F]{64}$", required=False, help_text="Those that say this at last or said it"
    )
    order = serializers.ChoiceField(
        [READING, LATEST], default=READING, help_text="As one reads, or the last message first"
    )
    role = serializers.ChoiceField(Role.choices, required=False)
    tool = serializers.CharField(
        required=False, max_length=200, help_text="Those that use the tool of this name"
    )
    branch = serializers.ChoiceField(
        [ALL, ACTIVE], default=ALL, help_text="With or without the branches that were left"
    )


class ExportInput(SecretsInput):
    form = serializers.ChoiceField(Form.choices, default=Form.MARKDOWN)
    branch = serializers.ChoiceField(
        [ALL, ACTIVE], default=ALL, help_text="With or without the branches that were left"
    )


class PlacedMessageOutput(serializers.Serializer[Placement]):
    """One place in a conversation's reading order."""

    segment = serializers.IntegerField(source="segment.number")
    position = serializers.IntegerField()
    message = MessageOutput()


class MessageDetailOutput(serializers.ModelSerializer[Message]):
    """A message; its secrets are those of all its revisions."""

    conversation = serializers.UUIDField(source="conversation.whole_id", read_only=True)
    native_key = MaskedTextField(read_only=True)
    parent_key = MaskedTextField(read_only=True)
    api_id = MaskedTextField(read_only=True)
    has_secrets = serializers.SerializerMethodField()
    secrets = serializers.SerializerMethodField()
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
            "native_index",
            "sent_at",
            "api_id",
            "has_secrets",
            "secrets",
            "revisions",
        ]

    def get_has_secrets(self, row: Message) -> bool:
        return any(revision.secrets for revision in row.revisions.all())

    def get_secrets(self, row: Message) -> list[str]:
        """The kinds of the secrets in its words."""
        return sorted({kind for each in row.revisions.all() for kind in kinds_of_secrets(each)})


class SearchInput(SecretsInput):
    q = serializers.CharField(max_length=1000, help_text='Words to find: "a phrase", or, -without')
    source = serializers.ChoiceField(Source.choices, required=False)  # type: ignore[assignment]
    project = serializers.CharField(
        required=False, max_length=1000, help_text="In conversations of this project"
    )
    role = serializers.ChoiceField(Role.choices, required=False)
    tool = serializers.CharField(
        required=False, max_length=200, help_text="In messages that use the tool of this name"
    )
    conversation = serializers.UUIDField(required=False)
    sent_from = serializers.DateTimeField(required=False)
    sent_before = serializers.DateTimeField(required=False)


class SearchHitOutput(serializers.Serializer[SearchHit]):
    """A found message; `highlight` is escaped HTML with the words in <mark>, secrets masked."""

    rank = serializers.FloatField()
    highlight = serializers.CharField()
    conversation_title = MaskedTextField(source="message.conversation.whole.title")
    message = MessageOutput()
