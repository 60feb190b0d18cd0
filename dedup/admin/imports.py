"""Imports, the files they brought, and the log of what each added."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.utils.html import format_html

from audit.house import ReadOnlyInline
from dedup.admin.archive import ArchiveAdmin
from dedup.admin.filters import (
    OwnerFilter,
)
from dedup.admin.presenting import (
    Table,
    bar_html,
    file_name_of,
    label_html,
    link_to,
    minute_of,
    savings_above,
    title_of,
)
from dedup.choices import ImportStatus
from dedup.models import (
    Artifact,
    DeduplicationLog,
    Import,
)
from dedup.progress import Progress, progress_of_many
from dedup.secrets import masked_value
from dedup.services import retry_imports

MOST_RELATED = 50
MOST_MISMATCHES = 200

COLOURS = {
    ImportStatus.QUEUED: "info",
    ImportStatus.RUNNING: "warning",
    ImportStatus.COMPLETED: "success",
    ImportStatus.FAILED: "danger",
}


class LogInline(ReadOnlyInline):
    model = DeduplicationLog
    fields = [
        "in_conversation", "messages_processed", "new_messages", "duplicates_filtered",
        "revisions", "content_collisions", "saved", "processing_time_ms",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeduplicationLog]:
        return DeduplicationLog.objects.select_related("conversation").order_by("id")

    @admin.display(description="Conversation")
    def in_conversation(self, row: DeduplicationLog) -> str:
        return link_to(row.conversation, title_of(row.conversation))

    @admin.display(description="Savings")
    def saved(self, row: DeduplicationLog) -> str:
        return bar_html(float(row.storage_savings_pct))


@admin.register(Import)
class ImportAdmin(ArchiveAdmin):
    list_display = [
        "file", "state", "source", "user", "in_export", "new", "duplicates", "saved", "asked_for",
    ]  # fmt: skip
    list_filter = ["status", "source", "created_at", OwnerFilter]
    list_select_related = ["user"]
    list_before_template = "admin/dedup/savings.html"
    search_fields = ["name", "user__username"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "name", "user", "state", "problem", "source", "parser_version", "bytes_kept",
                    "created_at", "finished_at", "processing_time_ms", "attempts",
                ]
            },
        ),
        (
            "What it brought",
            {
                "fields": [
                    "saved", "messages_in_export", "new_messages", "duplicates_filtered",
                    "revisions", "content_collisions", "records", "unreadable_records",
                    "last_sent_at",
                ]
            },
        ),
        ("Other imports", {"fields": ["repeats", "extends_import", "later"]}),
    ]  # fmt: skip
    masked_fields = ["name", "error_detail"]
    change_form_after_template = "admin/dedup/tables.html"
    inlines = [LogInline]
    ordering = ["-id"]
    actions = ["read_again"]

    def around_list(self, changelist: ChangeList) -> dict[str, Any]:
        rows = list(changelist.result_list)
        running = progress_of_many([row.pk for row in rows if row.status == ImportStatus.RUNNING])
        for row in rows:
            row.progress = running.get(row.pk)
        changelist.result_list = rows
        return savings_above(changelist)

    def around_form(self, row: Import) -> dict[str, Any]:
        return {"tables": _report(masked_value(row.report)) if row.report else []}

    def get_object(self, *args: Any, **options: Any) -> Any:
        row = super().get_object(*args, **options)
        if row and row.status == ImportStatus.RUNNING:
            row.progress = progress_of_many([row.pk]).get(row.pk)
        return row

    @admin.display(description="File", ordering="name")
    def file(self, row: Import) -> str:
        return file_name_of(row)

    @admin.display(description="Status", ordering="status")
    def state(self, row: Import) -> str:
        label = label_html(row.get_status_display(), COLOURS[ImportStatus(row.status)])
        progress: Progress | None = getattr(row, "progress", None)
        if progress is None:
            return label
        share = round(100 * progress.bytes_read / (progress.bytes_total or 1))
        return format_html("{}{}", label, bar_html(share, f"{progress.records} records"))

    @admin.display(description="Savings")
    def saved(self, row: Import) -> str:
        return bar_html(row.savings_pct) if row.messages_in_export else "-"

    @admin.display(description="Messages", ordering="messages_in_export")
    def in_export(self, row: Import) -> int:
        return row.messages_in_export

    @admin.display(description="New", ordering="new_messages")
    def new(self, row: Import) -> int:
        return row.new_messages

    @admin.display(description="Duplicates", ordering="duplicates_filtered")
    def duplicates(self, row: Import) -> int:
        return row.duplicates_filtered

    @admin.display(description="Asked for", ordering="created_at")
    def asked_for(self, row: Import) -> str:
        return minute_of(row.created_at)

    @admin.display(description="What went wrong")
    def problem(self, row: Import) -> str:
        return f"{row.error_code}: {row.error_detail}" if row.error_code else "-"

    @admin.display(description="Bytes")
    def bytes_kept(self, row: Import) -> str:
        size = filesizeformat(row.artifact.size)
        return format_html("{}, SHA-256 {}", size, link_to(row.artifact, str(row.artifact)))

    @admin.display(description="Repeats")
    def repeats(self, row: Import) -> str:
        return _import_links(Import.objects.filter(pk=row.original_id))

    @admin.display(description="Begins with the file of")
    def extends_import(self, row: Import) -> str:
        return _import_links(Import.objects.filter(pk=row.extends_id))

    @admin.display(description="Repeated or extended by")
    def later(self, row: Import) -> str:
        return _import_links(Import.objects.filter(Q(original=row) | Q(extends=row)))

    @admin.action(description="Read again what failed")
    def read_again(self, request: HttpRequest, queryset: QuerySet[Import]) -> None:
        count = retry_imports(import_ids=[row.pk for row in queryset])
        self.message_user(request, f"{count} imports queued again.", messages.SUCCESS)


def _import_links(rows: QuerySet[Import]) -> str:
    linked = [
        (link_to(row, file_name_of(row)), minute_of(row.created_at))
        for row in rows.order_by("-id")[:MOST_RELATED]
    ]
    return render_to_string("admin/dedup/links.html", {"links": linked}) if linked else "-"


def _report(report: dict[str, Any]) -> list[Table]:
    """What the check of a legacy state directory against itself found."""
    hashes = report.get("hashes", {})
    listed = report.get("hash_file", {})
    found: list[list[Any]] = [
        ["Messages", report.get("messages")],
        ["Conversations", report.get("conversations")],
        ["Hashes verified", f"{hashes.get('verified')} of {hashes.get('checked')}"],
        ["Hashes only in the file of hashes", listed.get("missing_in_log")],
        ["Hashes only in the log", listed.get("missing_in_file")],
        ["Watermarks", report.get("watermarks")],
        ["Watermarks that differ from the log", len(report.get("watermark_mismatches", []))],
        ["Unreadable lines", report.get("unreadable_lines")],
        ["Missing files", ", ".join(report.get("missing_files", [])) or "none"],
        ["Damaged files", ", ".join(report.get("damaged_files", [])) or "none"],
    ]
    return [
        Table("Check of the state directory", ["What", "Found"], found),
        Table(
            "Hashes that differ from their messages",
            ["Conversation", "Line of the log"],
            [[row["conversation"], row["line"]] for row in hashes.get("mismatched", [])],
        ),
        Table(
            "Watermarks that differ from the log",
            ["Conversation", "Watermark", "Highest index in the log"],
            [
                [row["conversation"], row["watermark"], row["highest_index"]]
                for row in report.get("watermark_mismatches", [])[:MOST_MISMATCHES]
            ],
        ),
    ]


@admin.register(Artifact)
class ArtifactAdmin(ArchiveAdmin):
    list_display = ["sha256_hex", "user", "size_for_people", "imported", "created_at"]
    list_filter = ["created_at", OwnerFilter]
    list_select_related = ["user"]
    search_fields = ["user__username"]
    fields = ["sha256_hex", "user", "size_for_people", "stored_as", "created_at", "imported_by"]
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Artifact]:
        rows: QuerySet[Artifact] = super().get_queryset(request)
        return rows.annotate(times_imported=Count("imports"))

    @admin.display(description="SHA-256")
    def sha256_hex(self, row: Artifact) -> str:
        return str(row)

    @admin.display(description="Size", ordering="size")
    def size_for_people(self, row: Artifact) -> str:
        return filesizeformat(row.size)

    @admin.display(description="Imports")
    def imported(self, row: Any) -> str:
        return str(row.times_imported)

    @admin.display(description="Imports")
    def imported_by(self, row: Artifact) -> str:
        return _import_links(row.imports.all())


@admin.register(DeduplicationLog)
class DeduplicationLogAdmin(ArchiveAdmin):
    list_display = [
        "done", "in_conversation", "user", "operation", "processed", "new", "duplicates",
        "revisions", "saved",
    ]  # fmt: skip
    list_filter = ["operation", "created_at", OwnerFilter]
    list_select_related = ["user", "conversation"]
    search_fields = ["conversation__title", "conversation__native_key", "user__username"]
    fields = [
        "done", "operation", "user", "in_conversation", "of_import", "messages_processed",
        "new_messages", "duplicates_filtered", "revisions", "content_collisions", "saved",
        "processing_time_ms",
    ]  # fmt: skip
    list_before_template = "admin/dedup/savings.html"
    ordering = ["-id"]

    def around_list(self, changelist: ChangeList) -> dict[str, Any]:
        return savings_above(changelist)

    @admin.display(description="Done", ordering="created_at")
    def done(self, row: DeduplicationLog) -> str:
        return minute_of(row.created_at)

    @admin.display(description="Messages", ordering="messages_processed")
    def processed(self, row: DeduplicationLog) -> int:
        return row.messages_processed

    @admin.display(description="New", ordering="new_messages")
    def new(self, row: DeduplicationLog) -> int:
        return row.new_messages

    @admin.display(description="Duplicates", ordering="duplicates_filtered")
    def duplicates(self, row: DeduplicationLog) -> int:
        return row.duplicates_filtered

    @admin.display(description="Conversation")
    def in_conversation(self, row: DeduplicationLog) -> str:
        return link_to(row.conversation, title_of(row.conversation))

    @admin.display(description="Import")
    def of_import(self, row: DeduplicationLog) -> str:
        return link_to(row.import_row, file_name_of(row.import_row))

    @admin.display(description="Savings", ordering=F("storage_savings_pct"))
    def saved(self, row: DeduplicationLog) -> str:
        return bar_html(float(row.storage_savings_pct))
