"""Conversations: what each export added, how far their order is known, their latest words."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Count, Max, Min, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html

from dedup.admin.archive import ArchiveAdmin
from dedup.admin.filters import MergedFilter, OwnerFilter, SecretsFilter, with_secrets
from dedup.admin.presenting import (
    Table,
    bar_html,
    chart_of,
    excerpts_of,
    file_name_of,
    label_html,
    link_to,
    minute_of,
    readable_json,
    role_html,
    secrets_html,
    title_of,
)
from dedup.models import (
    Conversation,
    DeduplicationLog,
    Placement,
)
from dedup.savings import DaySavings
from dedup.secrets import masked
from dedup.statistics import log_of, parent_of, sub_agents_of

MOST_RELATED = 50
MOST_SEGMENTS = 200
LATEST_MESSAGES = 10
EXPORTS_IN_CHART = 40


@admin.register(Conversation)
class ConversationAdmin(ArchiveAdmin):
    list_display = [
        "name", "source", "place", "user", "total_messages", "secrets", "last_import",
    ]  # fmt: skip
    list_filter = ["source", MergedFilter, SecretsFilter, "updated_at", OwnerFilter]
    list_select_related = ["user"]
    search_fields = ["title", "native_key", "project", "user__username"]
    fields = [
        "title", "user", "source", "native_key", "place", "total_messages", "received",
        "secrets", "parent", "merged", "created_at", "updated_at", "other", "all_messages",
    ]  # fmt: skip
    masked_fields = ["title", "native_key", "project"]
    change_form_outer_before_template = "admin/dedup/exports.html"
    change_form_after_template = "admin/dedup/tables.html"
    ordering = ["-updated_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        rows: QuerySet[Conversation] = super().get_queryset(request)
        return rows.annotate(has_secrets=with_secrets())

    def around_form(self, row: Conversation) -> dict[str, Any]:
        lines = list(log_of(row).select_related("import_row").order_by("-id")[:EXPORTS_IN_CHART])
        return {
            "exports": lines,
            "exports_chart": _chart_of_exports(lines[::-1]),
            "tables": [
                _exports(lines),
                _segments(row),
                _latest(row),
                _conversations("Sub-agents", sub_agents_of(row)[:MOST_RELATED]),
                _conversations("Merged into this one", _parts(row)),
            ],
        }

    @admin.display(description="Title", ordering="title")
    def name(self, row: Conversation) -> str:
        if row.merged_into_id is None:
            return title_of(row)
        return format_html("{} {}", title_of(row), label_html("merged", "warning"))

    @admin.display(description="Project", ordering="project")
    def place(self, row: Conversation) -> str:
        return masked(row.project)

    @admin.display(description="Secrets")
    def secrets(self, row: Any) -> str:
        return secrets_html(row.has_secrets)

    @admin.display(description="Last import", ordering="updated_at")
    def last_import(self, row: Conversation) -> str:
        return minute_of(row.updated_at)

    @admin.display(description="Watermark")
    def received(self, row: Conversation) -> str:
        return format_html(
            "{}, raised {}", row.watermark.highest_index, minute_of(row.watermark.updated_at)
        )

    @admin.display(description="Sub-agent of")
    def parent(self, row: Conversation) -> str:
        parent = parent_of(row)
        return link_to(parent, title_of(parent)) if parent else masked(row.parent_key) or "-"

    @admin.display(description="Merged into")
    def merged(self, row: Conversation) -> str:
        return link_to(row.merged_into, title_of(row.merged_into)) if row.merged_into else "-"

    @admin.display(description="What else its source says")
    def other(self, row: Conversation) -> str:
        return _pre(row.metadata) if row.metadata else "-"

    @admin.display(description="Messages")
    def all_messages(self, row: Conversation) -> str:
        address = reverse("admin:dedup_message_changelist")
        return format_html(
            '<a class="text-link" href="{}?conversation={}">Latest messages</a>', address, row.pk
        )


def _pre(value: Any) -> str:
    return render_to_string("admin/dedup/json.html", {"text": readable_json(value)})


def _chart_of_exports(lines: Sequence[DeduplicationLog]) -> dict[str, str]:
    """One bar for each export; of the line the last point is what all of them saved."""
    processed = equal = 0
    shares = []
    for line in lines:
        processed += line.messages_processed
        equal += line.duplicates_filtered
        shares.append(DaySavings(line.created_at.date(), processed, 0, equal).savings_pct)
    return chart_of(
        [f"{line.created_at:%d %b %H:%M}" for line in lines],
        [line.new_messages for line in lines],
        [line.duplicates_filtered for line in lines],
        shares,
    )


def _exports(lines: Iterable[DeduplicationLog]) -> Table:
    return Table(
        "Exports",
        ["Done", "Import", "Operation", "Messages", "New", "Duplicates", "Revisions", "Savings"],
        [
            [
                minute_of(line.created_at), link_to(line.import_row, file_name_of(line.import_row)),
                line.get_operation_display(), line.messages_processed, line.new_messages,
                line.duplicates_filtered, line.revisions, bar_html(float(line.storage_savings_pct)),
            ]
            for line in lines
        ],
    )  # fmt: skip


def _segments(row: Conversation) -> Table:
    stretches = (
        row.segments.order_by("number")
        .annotate(
            placed=Count("placements"),
            numbered=Count("placements__message__native_index"),
            lowest=Min("placements__message__native_index"),
            highest=Max("placements__message__native_index"),
            first_sent=Min("placements__message__sent_at"),
            last_sent=Max("placements__message__sent_at"),
        )
        .filter(placed__gt=0)[:MOST_SEGMENTS]
    )
    rows = [
        [
            stretch.number, stretch.placed, minute_of(stretch.first_sent),
            minute_of(stretch.last_sent), _missing(stretch),
        ]
        for stretch in stretches
    ]  # fmt: skip
    many = "Between two segments is a gap: no export shows how they follow on each other."
    return Table(
        "Segments and gaps",
        ["Segment", "Messages", "First sent", "Last sent", "Missing by number"],
        rows,
        many if len(rows) > 1 else "One segment: the order is known without gaps.",
    )


def _missing(stretch: Any) -> str:
    """How many numbers are left out, where the source counts its messages."""
    if not stretch.numbered:
        return "-"
    return str(max(0, stretch.highest - stretch.lowest + 1 - stretch.numbered))


def _latest(row: Conversation) -> Table:
    placed = list(
        Placement.objects.filter(segment__conversation=row)
        .select_related("segment", "message")
        .order_by("-segment__number", "-position")[:LATEST_MESSAGES]
    )
    excerpts = excerpts_of([place.message_id for place in placed])
    rows = [
        [minute_of(place.message.sent_at), role_html(said.role), link_to(place.message, said.words)]
        for place in reversed(placed)
        if (said := excerpts.get(place.message_id))
    ]
    return Table("Latest messages", ["Sent", "Role", "Words"], rows)


def _conversations(title: str, conversations: Iterable[Conversation]) -> Table:
    rows = [[link_to(row, title_of(row)), row.total_messages] for row in conversations]
    return Table(title, ["Conversation", "Messages"], rows)


def _parts(row: Conversation) -> QuerySet[Conversation]:
    return Conversation.objects.filter(merged_into=row.pk).order_by("id")[:MOST_RELATED]
