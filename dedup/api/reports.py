"""What the API answers about conversations and archives beyond what stands in them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from dedup.api.masking import MaskedTextField
from dedup.branches import BranchPoint, Option
from dedup.choices import Role, Source
from dedup.models import DeduplicationLog
from dedup.savings import DaySavings
from dedup.statistics import (
    ArchiveStatistics,
    ConversationStatistics,
    Gaps,
    ImportSums,
    LogSums,
    MissingParent,
    SourceStatistics,
    Tokens,
    TokenUsage,
    Unknown,
)
from dedup.verification import Mismatch

PREVIEW_CHARACTERS = 200


class OptionOutput(serializers.Serializer[Option]):
    """A branch by its first message."""

    message = serializers.UUIDField()
    preview = serializers.SerializerMethodField()
    messages_below = serializers.IntegerField()
    active = serializers.BooleanField()

    def get_preview(self, option: Option) -> str:
        """The first words of the message."""
        text: str = self.context["texts"][option.message]
        return text[:PREVIEW_CHARACTERS]


class BranchPointOutput(serializers.Serializer[BranchPoint]):
    """A message, null where it is not here, that several messages answer."""

    parent = serializers.UUIDField(allow_null=True)  # type: ignore[assignment]  # the metaclass takes it
    options = OptionOutput(many=True)


class UsageOutput(serializers.Serializer[TokenUsage]):
    responses = serializers.IntegerField()
    input = serializers.IntegerField()
    output = serializers.IntegerField()
    cache_creation = serializers.IntegerField()
    cache_read = serializers.IntegerField()


class ModelUsageOutput(UsageOutput):
    model = serializers.CharField()


class TokensOutput(serializers.Serializer[Tokens]):
    """Token usage, counted once for each response of a model."""

    total = UsageOutput()
    by_model = ModelUsageOutput(many=True)


class LogSumsOutput(serializers.Serializer[LogSums]):
    exports = serializers.IntegerField()
    messages_processed = serializers.IntegerField()
    new_messages = serializers.IntegerField()
    duplicates_filtered = serializers.IntegerField()
    revisions = serializers.IntegerField()
    content_collisions = serializers.IntegerField()
    average_savings_pct = serializers.FloatField()
    average_processing_time_ms = serializers.FloatField()


class CountOutput(serializers.Serializer[Any]):
    name = MaskedTextField()
    count = serializers.IntegerField()


class RoleCountOutput(serializers.Serializer[Any]):
    role = serializers.ChoiceField(Role.choices)
    count = serializers.IntegerField()


class ConversationStatisticsOutput(serializers.Serializer[ConversationStatistics]):
    total_messages = serializers.IntegerField()
    highest_index = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    first_sent_at = serializers.DateTimeField(allow_null=True)
    last_sent_at = serializers.DateTimeField(allow_null=True)
    log = LogSumsOutput()
    messages_by_role = serializers.SerializerMethodField()
    tools = serializers.SerializerMethodField()
    branch_points = serializers.IntegerField()
    tokens = TokensOutput()
    sub_agents = serializers.IntegerField()
    sub_agent_tokens = TokensOutput()

    @extend_schema_field(RoleCountOutput(many=True))
    def get_messages_by_role(self, found: ConversationStatistics) -> Any:
        return [{"role": role, "count": count} for role, count in found.messages_by_role.items()]

    @extend_schema_field(CountOutput(many=True))
    def get_tools(self, found: ConversationStatistics) -> Any:
        """Calls of each tool, the most frequent first."""
        tools = [{"name": name, "count": count} for name, count in found.tools.items()]
        return CountOutput(tools, many=True, context=self.context).data


class UnknownOutput(serializers.Serializer[Unknown]):
    after = serializers.UUIDField()
    before = serializers.UUIDField()


class MissingParentOutput(serializers.Serializer[MissingParent]):
    message = serializers.UUIDField()
    parent_key = MaskedTextField()


class GapsOutput(serializers.Serializer[Gaps]):
    """What is missing, at most 1000 of each kind.

    `indexes` are ranges [first, last] of the source's own numbers. Between the two messages of
    an entry of `unknown` something may be missing: no export shows both sides.
    """

    indexes = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField(), min_length=2, max_length=2)
    )
    unknown = UnknownOutput(many=True)
    missing_parents = MissingParentOutput(many=True)


class LogOutput(serializers.ModelSerializer[DeduplicationLog]):
    """What one import added to the conversation, and what it saved."""

    import_id = serializers.UUIDField(source="import_row_id", read_only=True)
    import_name = MaskedTextField(source="import_row.name", read_only=True)
    storage_savings_pct = serializers.FloatField(read_only=True)

    class Meta:
        model = DeduplicationLog
        fields = [
            "id",
            "import_id",
            "import_name",
            "operation",
            "messages_processed",
            "new_messages",
            "duplicates_filtered",
            "revisions",
            "content_collisions",
            "storage_savings_pct",
            "processing_time_ms",
            "created_at",
        ]


class ImportSumsOutput(serializers.Serializer[ImportSums]):
    imports = serializers.IntegerField()
    messages_in_exports = serializers.IntegerField()
    new_messages = serializers.IntegerField()
    duplicates_filtered = serializers.IntegerField()
    revisions = serializers.IntegerField()
    content_collisions = serializers.IntegerField()
    savings_pct = serializers.FloatField()


class SourceStatisticsOutput(serializers.Serializer[SourceStatistics]):
    source = serializers.ChoiceField(Source.choices)  # type: ignore[assignment]  # the metaclass takes it
    conversations = serializers.IntegerField()
    messages = serializers.IntegerField()
    imports = serializers.IntegerField()


class DaySavingsOutput(serializers.Serializer[DaySavings]):
    day = serializers.DateField()
    messages_in_exports = serializers.IntegerField()
    new_messages = serializers.IntegerField()
    duplicates_filtered = serializers.IntegerField()
    savings_pct = serializers.FloatField()


class ArchiveStatisticsOutput(serializers.Serializer[ArchiveStatistics]):
    conversations = serializers.IntegerField()
    messages = serializers.IntegerField()
    artifacts = serializers.IntegerField()
    artifact_bytes = serializers.IntegerField()
    exports = ImportSumsOutput()
    by_source = SourceStatisticsOutput(many=True)
    by_day = DaySavingsOutput(many=True)
    tokens = TokensOutput()


class IntegrityOutput(serializers.Serializer[Any]):
    valid = serializers.BooleanField()
    problems = serializers.ListField(child=serializers.CharField())


class MismatchOutput(serializers.Serializer[Mismatch]):
    """A place of the file at which the database does not give back what was imported."""

    ordinal = serializers.IntegerField(allow_null=True)
    revision = serializers.UUIDField(allow_null=True)
    reason = serializers.CharField()


class VerificationOutput(serializers.Serializer[Any]):
    rebuilt = serializers.BooleanField()
    mismatches = MismatchOutput(many=True)
