"""Messages: what each revision says, where they stand, and their other ids."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import truncatechars
from django.utils.html import format_html

from audit.house import ReadOnlyInline
from dedup.admin.archive import ArchiveAdmin
from dedup.admin.filters import ConversationFilter, OwnerFilter
from dedup.admin.presenting import (
    Excerpt,
    excerpts_of,
    link_to,
    minute_of,
    readable_json,
    role_html,
    secrets_html,
    title_of,
)
from dedup.models import (
    Alias,
    Message,
    Placement,
    Revision,
)
from dedup.secrets import masked
from dedup.selectors import latest_revisions

MOST_RELATED = 50


class AliasInline(ReadOnlyInline):
    model = Alias
    hide_title = True
    fields = ["source", "key"]

    @admin.display(description="Other id")
    def key(self, row: Alias) -> str:
        return masked(row.native_key)


class PlacementInline(ReadOnlyInline):
    model = Placement
    hide_title = True
    fields = ["in_conversation", "segment_number", "position"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Placement]:
        return Placement.objects.select_related("segment__conversation").order_by("id")

    @admin.display(description="Conversation")
    def in_conversation(self, row: Placement) -> str:
        return link_to(row.segment.conversation, title_of(row.segment.conversation))

    @admin.display(description="Segment")
    def segment_number(self, row: Placement) -> str:
        return str(row.segment.number)


@admin.register(Message)
class MessageAdmin(ArchiveAdmin):
    list_display = [
        "words", "role", "secrets", "user", "in_conversation", "number", "sent",
    ]  # fmt: skip
    list_filter = ["source", "revisions__role", "sent_at", ConversationFilter, OwnerFilter]
    list_select_related = ["user", "conversation"]
    search_fields = ["native_key", "conversation__title", "user__username"]
    fields = [
        "native_key", "user", "source", "in_conversation", "parent_key", "message_index",
        "native_index", "sent_at", "api_id", "created_at",
    ]  # fmt: skip
    masked_fields = ["native_key", "parent_key", "api_id"]
    change_form_before_template = "admin/dedup/revisions.html"
    inlines = [PlacementInline, AliasInline]
    ordering = ["-id"]

    def around_list(self, changelist: ChangeList) -> dict[str, Any]:
        rows = list(changelist.result_list)
        excerpts = excerpts_of([row.pk for row in rows])
        for row in rows:
            row.excerpt = excerpts.get(row.pk, Excerpt("", "", has_secrets=False))
        changelist.result_list = rows
        return {}

    def around_form(self, row: Message) -> dict[str, Any]:
        counting = latest_revisions([row.pk]).get(row.pk)
        rows = row.revisions.defer("raw", "search").order_by("-id")[:MOST_RELATED]
        return {"revisions": [_shown(revision, counting) for revision in rows]}

    @admin.display(description="Index", ordering="message_index")
    def number(self, row: Message) -> int:
        return row.message_index

    @admin.display(description="Sent", ordering="sent_at")
    def sent(self, row: Message) -> str:
        return minute_of(row.sent_at)

    @admin.display(description="Words")
    def words(self, row: Any) -> str:
        return row.excerpt.words or "(no words)"

    @admin.display(description="Role")
    def role(self, row: Any) -> str:
        return role_html(row.excerpt.role)

    @admin.display(description="Secrets")
    def secrets(self, row: Any) -> str:
        return secrets_html(row.excerpt.has_secrets)

    @admin.display(description="Conversation")
    def in_conversation(self, row: Message) -> str:
        link = link_to(row.conversation, truncatechars(title_of(row.conversation), 50))
        return format_html('<div style="min-width: 14rem">{}</div>', link)


def _shown(revision: Revision, counting: Revision | None) -> dict[str, Any]:
    return {
        "role": role_html(revision.role),
        "received": revision.created_at,
        "counts": counting is not None and counting.pk == revision.pk,
        "secrets": sorted({kind for kind, *_ in revision.secrets}),
        "text": masked(revision.text),
        "content": readable_json(revision.content),
        "metadata": readable_json(revision.metadata),
        "hash": f"{bytes(revision.content_hash).hex()} (rule {revision.hash_version})",
    }
