from pathlib import PurePath

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat, truncatechars

from common.admin import ReadOnlyAdmin, ReadOnlyInline
from dedup.models import (
    Artifact,
    Conversation,
    DeduplicationLog,
    Import,
    Message,
    Revision,
)
from dedup.services import retry_imports


class LogInline(ReadOnlyInline):
    model = DeduplicationLog
    fields = [
        "conversation", "messages_processed", "new_messages", "duplicates_filtered", "revisions",
        "storage_savings_pct", "processing_time_ms",
    ]  # fmt: skip


class RevisionInline(ReadOnlyInline):
    model = Revision
    fields = ["role", "text", "content", "metadata", "created_at"]
    show_change_link = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Revision]:
        return Revision.objects.defer("raw", "search").order_by("id")


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    list_display = [
        "file", "user", "status", "messages_in_export", "new_messages", "duplicates_filtered",
        "unreadable_records", "created_at",
    ]  # fmt: skip
    list_filter = ["status", "source"]
    list_select_related = ["user", "artifact"]
    search_fields = ["name", "user__username"]
    inlines = [LogInline]
    ordering = ["-id"]
    actions = ["read_again"]

    @admin.display(description="File", ordering="name")
    def file(self, row: Import) -> str:
        return "/".join(PurePath(row.name).parts[-2:])

    @admin.action(description="Read again what failed")
    def read_again(self, request: HttpRequest, queryset: QuerySet[Import]) -> None:
        count = retry_imports(import_ids=[row.pk for row in queryset])
        self.message_user(request, f"{count} imports queued again.", messages.SUCCESS)


@admin.register(Artifact)
class ArtifactAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "user", "bytes", "created_at"]
    list_select_related = ["user"]
    search_fields = ["user__username"]
    fields = ["__str__", "user", "bytes", "stored_as", "created_at"]
    readonly_fields = ["__str__", "bytes"]
    ordering = ["-id"]

    @admin.display(description="Size", ordering="size")
    def bytes(self, row: Artifact) -> str:
        return filesizeformat(row.size)


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    list_display = ["title", "user", "source", "project", "total_messages", "updated_at"]
    list_filter = ["source"]
    list_select_related = ["user"]
    search_fields = ["title", "native_key", "project", "user__username"]
    ordering = ["-updated_at"]


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ["native_key", "user", "conversation_title", "message_index", "sent_at"]
    list_filter = ["source", "revisions__role"]
    list_select_related = ["user", "conversation"]
    search_fields = ["native_key", "conversation__title", "user__username"]
    inlines = [RevisionInline]
    ordering = ["-id"]

    @admin.display(description="Conversation")
    def conversation_title(self, row: Message) -> str:
        return truncatechars(str(row.conversation), 60)


@admin.register(DeduplicationLog)
class DeduplicationLogAdmin(ReadOnlyAdmin):
    list_display = [
        "conversation", "user", "operation", "messages_processed", "new_messages",
        "duplicates_filtered", "storage_savings_pct", "created_at",
    ]  # fmt: skip
    list_filter = ["operation"]
    list_select_related = ["user", "conversation", "import_row"]
    search_fields = ["conversation__title", "user__username"]
    ordering = ["-id"]
