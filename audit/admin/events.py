"""Changes and security events: lists by what one knows of them, and forms that show all."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.paginator import InfinitePaginator

from audit.admin.filters import (
    ActorFilter,
    KindFilter,
    OperationFilter,
    PersonFilter,
    SubjectFilter,
    TableFilter,
    TimeFilter,
    uuid_in,
)
from audit.admin.presenting import (
    NOTHING,
    columns_of,
    label_of,
    names_of,
    operation_label,
    person_html,
    readable_details,
    row_html,
    second_of,
    two_lines,
)
from audit.choices import SecurityKind
from audit.house import ReadOnlyAdmin
from audit.models import ChangeEvent, SecurityEvent, SecurityOrigin
from audit.naming import name_of_change, name_of_security
from audit.times import first_key, made_at

# What a request does is noted within so long of its beginning, also by clocks that differ.
REQUEST_SPAN = timedelta(days=1)
# No index has the ids of requests: those that do not begin with a time are sought this far back.
SEARCHED_DAYS = 31

COLOURS = {
    SecurityKind.LOGIN_FAILED: "warning",
    SecurityKind.TOKEN_REFUSED: "warning",
    SecurityKind.ACCESS_REFUSED: "warning",
    SecurityKind.OPERATOR_REFUSED: "warning",
    SecurityKind.SECRETS_REVEALED: "danger",
    SecurityKind.OPERATOR_LOOKED: "info",
    SecurityKind.OPERATOR_ACTED: "info",
    SecurityKind.REASON_GIVEN: "info",
}


class StreamAdmin(ReadOnlyAdmin):
    """Rows of the stream, newest first, in lists that never count their long tables."""

    paginator = InfinitePaginator
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    ordering = ["-id"]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Sequence[str]:
        fields: Sequence[str] = flatten_fieldsets(self.get_fieldsets(request, obj))
        return fields


class EventAdmin(StreamAdmin):
    """What both kinds of events show: when, whose, by whom, why."""

    search_fields = ["request_id"]
    search_help_text = (
        "The whole id of a request or of a row. Ids of requests that do not begin with a time are"
        f" sought in the last {SEARCHED_DAYS} days, or from the time that the filter says."
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term.strip():
            return queryset, False
        key = uuid_in(search_term)
        if key is None:
            return queryset.none(), False
        # Others write the ids of their requests with or without hyphens.
        of_request = Q(request_id__in={search_term.strip(), str(key), key.hex})
        if moment := made_at(key):
            of_request &= Q(
                pk__gte=first_key(moment - REQUEST_SPAN), pk__lt=first_key(moment + REQUEST_SPAN)
            )
        elif not request.GET.get("from"):
            of_request &= Q(pk__gte=first_key(timezone.now() - timedelta(days=SEARCHED_DAYS)))
        return queryset.filter(of_request | Q(row_id=key) | Q(pk=key)), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        changelist = (getattr(response, "context_data", None) or {}).get("cl")
        if isinstance(changelist, ChangeList):
            rows = list(changelist.result_list)
            name_people(rows)
            changelist.result_list = rows
        return response

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        if row := options.get("obj"):
            name_people([row])
            context.update(self.around_form(row))
        response: HttpResponse = super().render_change_form(request, context, *args, **options)
        return response

    def around_form(self, row: Any) -> dict[str, Any]:
        raise NotImplementedError

    @admin.display(description="Time, UTC")
    def when(self, row: Any) -> str:
        return second_of(row.at)

    @admin.display(description="Concerns")
    def person(self, row: Any) -> str:
        return person_html(row.user_id, row.names)

    @admin.display(description="Done by")
    def actor(self, row: Any) -> str:
        return two_lines(person_html(row.actor_id, row.names), f"as\N{NO-BREAK SPACE}{row.role}")

    @admin.display(description="Reason and request")
    def why(self, row: Any) -> str:
        return two_lines(row.reason or NOTHING, row.request_id)

    @admin.display(description="Transaction")
    def transaction(self, row: Any) -> str:
        return str(row.xid)

    @admin.display(description="Reason")
    def reason_given(self, row: Any) -> str:
        return row.reason or NOTHING


def name_people(rows: Sequence[Any]) -> None:
    """Afterwards each row knows the names of those whom it concerns and who did it."""
    names = names_of(person for row in rows for person in (row.user_id, row.actor_id))
    for row in rows:
        row.names = names


@admin.register(ChangeEvent)
class ChangeEventAdmin(EventAdmin):
    list_display = ["when", "what", "done", "person", "actor", "which", "why"]
    list_filter = [PersonFilter, ActorFilter, TableFilter, OperationFilter, TimeFilter]
    fields = [
        "when", "name", "done", "person", "actor", "table_name", "which", "reason_given",
        "request_id", "transaction", "id",
    ]  # fmt: skip
    change_form_before_template = "admin/audit/columns.html"

    def around_form(self, row: Any) -> dict[str, Any]:
        return {"columns": columns_of(row), "operation": row.operation}

    @admin.display(description="Event")
    def name(self, row: ChangeEvent) -> str:
        return name_of_change(row.table_name, row.operation, row.old, row.new)

    @admin.display(description="What")
    def what(self, row: ChangeEvent) -> str:
        return two_lines(self.name(row), row.table_name)

    @admin.display(description="Operation")
    def done(self, row: ChangeEvent) -> str:
        return operation_label(row.operation)

    @admin.display(description="Row")
    def which(self, row: ChangeEvent) -> str:
        return row_html(row.table_name, row.row_id)


@admin.register(SecurityEvent)
class SecurityEventAdmin(EventAdmin):
    list_display = ["when", "what", "person", "actor", "thing", "address", "why"]
    list_filter = [KindFilter, PersonFilter, ActorFilter, SubjectFilter, TimeFilter]
    fields = [
        "when", "what", "person", "actor", "subject", "which", "reason_given", "request_id",
        "transaction", "id",
    ]  # fmt: skip
    change_form_before_template = "admin/audit/happened.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        changelist = (getattr(response, "context_data", None) or {}).get("cl")
        if isinstance(changelist, ChangeList):
            rows = changelist.result_list
            origins = SecurityOrigin.objects.in_bulk([row.pk for row in rows])
            for row in rows:
                row.origin = origins.get(row.pk)
        return response

    def around_form(self, row: Any) -> dict[str, Any]:
        return {
            "details": readable_details(row.details),
            "origin": SecurityOrigin.objects.filter(pk=row.pk).first(),
            "origin_days": settings.AUDIT_ORIGIN_DAYS,
        }

    @admin.display(description="What")
    def what(self, row: SecurityEvent) -> str:
        kind = SecurityKind(row.kind)
        return two_lines(label_of(kind.label, COLOURS.get(kind, "")), name_of_security(kind))

    @admin.display(description="Thing")
    def thing(self, row: SecurityEvent) -> str:
        return two_lines(row.subject or NOTHING, self.which(row) if row.row_id else "")

    @admin.display(description="Row")
    def which(self, row: SecurityEvent) -> str:
        return row_html(row.subject, row.row_id)

    @admin.display(description="From")
    def address(self, row: Any) -> str:
        return (row.origin.address if row.origin else None) or NOTHING
