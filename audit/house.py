"""The base of every admin class: what the role may do, and who looks at whose things, and why."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin, TabularInline

from audit.choices import SecurityKind
from audit.recording import record_for_each
from common.tenancy import OPERATOR_ALIAS

# An action on more people than this is noted in several statements.
OWNERS_AT_ONCE = 1000


@cache
def may(privilege: str, table: str) -> bool:
    """Whether the operator role has a privilege on the table, or on some of its columns."""
    # Rows are deleted whole.
    function = "has_table_privilege" if privilege == "DELETE" else "has_any_column_privilege"
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(f"SELECT {function}('operator', %s, %s)", [table, privilege])
        return bool(cursor.fetchone()[0])


@cache
def columns_to_change(table: str) -> frozenset[str]:
    """The columns of the table that the operator role may update."""
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND has_column_privilege('operator', attrelid, attnum, 'UPDATE')",
            [table],
        )
        return frozenset(name for (name,) in cursor.fetchall())


class HouseAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """A list and a form for operators, who may do here what their role may do in the database.

    What writes goes through services in actions. Each look at somebody's rows, and each action
    on them, leaves an event with the operator's reason before anything is shown or done.
    """

    list_per_page = 50
    show_full_result_count = False
    list_filter_submit = True
    compressed_fields = True
    # Counts beside filters would tell of rows that the list does not show.
    show_facets = ShowFacets.NEVER

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may("SELECT") and super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may("INSERT") and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may("UPDATE") and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may("DELETE") and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Sequence[str]:
        """The named ones, and those whose column the role may not change."""
        if obj is None:
            return tuple(super().get_readonly_fields(request, obj))
        changeable = columns_to_change(self.opts.db_table)
        fixed = [
            field.name for field in self.opts.concrete_fields if field.column not in changeable
        ]
        return (*super().get_readonly_fields(request, obj), *fixed)

    def _may(self, privilege: str) -> bool:
        return may(privilege, self.opts.db_table)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only by what a filter offers: the answer to any other tells of columns not shown."""
        filters = self.get_list_filter(request)
        names = {self.date_hierarchy, *(name for item in filters for name in parameters_of(item))}
        offered = any(lookup == name or lookup.startswith(f"{name}{LOOKUP_SEP}") for name in names)
        return offered and bool(super().lookup_allowed(lookup, value, request))

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        """By its key: Django's log outlives whoever a row is named after."""
        entry: LogEntry = LogEntry.objects.create(
            user_id=str(request.user.pk),
            content_type=ContentType.objects.get_for_model(obj, for_concrete_model=False),
            object_id=obj.pk,
            object_repr=str(obj.pk),
            action_flag=CHANGE,
            change_message=json.dumps(message),
        )
        return entry

    def get_object(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        row = super().get_object(request, *args, **options)
        if row is not None:
            record_for_each(
                SecurityKind.OPERATOR_LOOKED,
                owners_of([row]),
                subject=self.opts.db_table,
                row_id=row.pk,
                required=True,
            )
        return row

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        changelist = (getattr(response, "context_data", None) or {}).get("cl")
        if isinstance(changelist, ChangeList):
            rows = list(changelist.result_list)
            record_for_each(
                SecurityKind.OPERATOR_LOOKED,
                owners_of(rows),
                subject=self.opts.db_table,
                details={"listed": len(rows)},
                required=True,
            )
        return response

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        ticked = request.POST.getlist("_selected_action")
        everything = request.POST.get("select_across", "0") not in ("", "0")
        try:
            rows = queryset if everything else queryset.filter(pk__in=ticked)
        except ValidationError:
            self.message_user(request, "Choose rows of the list.", messages.ERROR)
            return None
        action, chosen = self._action_of(request), rows.count()
        for owners in in_chunks(self._owners_in(rows)):
            record_for_each(
                SecurityKind.OPERATOR_ACTED,
                owners,
                subject=self.opts.db_table,
                details={"action": action, "chosen": chosen},
                required=True,
            )
        return super().response_action(request, queryset)

    def _owners_in(self, rows: QuerySet[Any]) -> list[UUID | None]:
        """Each person once, however many rows are theirs."""
        names = {field.attname for field in self.opts.concrete_fields}
        if issubclass(self.model, AbstractBaseUser):
            owner = "pk"
        elif "user_id" in names:
            owner = "user_id"
        else:
            return [None]
        found = rows.order_by(owner).values_list(owner, flat=True).distinct()
        return list(found) or [None]

    def _action_of(self, request: HttpRequest) -> str:
        """The name of the action that was asked for, if it is one of ours."""
        names = {name for name in request.POST.getlist("action") if name}
        known = names & set(self.get_actions(request))
        return known.pop() if known else "unknown"


class ReadOnlyAdmin(HouseAdmin):
    """Rows that are looked at and never edited by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ReadOnlyInline(TabularInline):  # type: ignore[misc]  # unfold has no types
    """Related rows below a form."""

    extra = 0
    can_delete = False
    show_change_link = True
    per_page = 20
    ordering: Sequence[str] = ["id"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        fields: Sequence[str] = self.fields
        return fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def parameters_of(item: Any) -> Iterable[str]:
    """What an entry of `list_filter` reads of the address: fields, or parameters of its own."""
    if isinstance(item, str):
        return [item]
    if isinstance(item, Sequence):
        return [item[0]]
    return getattr(item, "fields", None) or [item.parameter_name]


def in_chunks(owners: Sequence[UUID | None]) -> Iterator[Sequence[UUID | None]]:
    for start in range(0, len(owners), OWNERS_AT_ONCE):
        yield owners[start : start + OWNERS_AT_ONCE]


def owners_of(rows: Iterable[Model]) -> list[UUID | None]:
    """Each person once to whom one of the rows belongs; nobody, if they are nobody's or none.

    That nothing was found tells an operator something too.
    """
    owners = (
        row.pk if isinstance(row, AbstractBaseUser) else getattr(row, "user_id", None)
        for row in rows
    )
    return list(dict.fromkeys(owners)) or [None]
