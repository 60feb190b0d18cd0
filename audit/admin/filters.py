"""What the lists of events are narrowed to: by forms, since their tables are long."""

from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from audit.choices import Operation, SecurityKind
from audit.times import first_key
from common.tenancy import OPERATOR_ALIAS

# An event's time is that of its transaction, which may have begun before the event's key was made.
LONGEST_TRANSACTION = timedelta(days=1)
MINUTES = "%Y-%m-%dT%H:%M"
LONGEST_NAME = 150
NOBODY = UUID(int=0)


class FormFilter(admin.ListFilter):
    """A filter with fields in place of links; what is not valid finds nothing, and says why."""

    template = "admin/audit/filter.html"
    fields: dict[str, forms.Field]

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        given = {
            name: params.pop(name)[-1] for name in self.expected_parameters() if name in params
        }
        self.used_parameters.update(given)
        form_class = type("FilterForm", (forms.Form,), dict(self.fields))
        self.form = form_class(given if any(given.values()) else None)

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return [*self.fields]

    def choices(self, changelist: ChangeList) -> Any:
        return [{"form": self.form}]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.form.is_bound:
            return queryset
        if not self.form.is_valid():
            return queryset.none()
        return self.narrowed(queryset, **self.form.cleaned_data)

    def narrowed(self, queryset: QuerySet[Any], **values: Any) -> QuerySet[Any]:
        raise NotImplementedError


def text_field(label: str, text: str) -> forms.Field:
    return forms.CharField(
        label=label,
        required=False,
        max_length=LONGEST_NAME,
        widget=UnfoldAdminTextInputWidget({"placeholder": text}),
    )


def time_field(label: str) -> forms.Field:
    return forms.DateTimeField(
        label=label,
        required=False,
        input_formats=[MINUTES, f"{MINUTES}:%S"],
        widget=UnfoldAdminTextInputWidget({"type": "datetime-local"}),
    )


def choice_field(label: str, choices: Any) -> forms.Field:
    return forms.ChoiceField(
        label=label,
        required=False,
        choices=lambda: [("", "All"), *(choices() if callable(choices) else choices)],
        widget=UnfoldAdminSelectWidget(),
    )


@cache
def captured_tables() -> tuple[str, ...]:
    """The tables whose changes are captured."""
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'capture' ORDER BY 1"
        )
        return tuple(name for (name,) in cursor.fetchall())


class PersonFilter(FormFilter):
    """Events that concern one person, who need not have an account any more."""

    title = "person"
    fields = {"person": text_field("Concerns", "Username or id")}

    def narrowed(self, queryset: QuerySet[Any], **values: Any) -> QuerySet[Any]:
        return queryset.filter(user_id=person_named(values["person"]))


class ActorFilter(FormFilter):
    """Events that one person or operator caused."""

    title = "actor"
    fields = {"actor": text_field("Done by", "Username or id")}

    def narrowed(self, queryset: QuerySet[Any], **values: Any) -> QuerySet[Any]:
        return queryset.filter(actor_id=person_named(values["actor"]))


class TimeFilter(FormFilter):
    """Events from one time to before another."""

    title = "time"
    fields = {
        "from": time_field("From, UTC"),
        "until": time_field("Until, UTC"),
    }

    def narrowed(self, queryset: QuerySet[Any], **values: Any) -> QuerySet[Any]:
        if begin := values["from"]:
            queryset = queryset.filter(at__gte=begin, pk__gte=first_key(begin))
        if end := values["until"]:
            latest = first_key(end + LONGEST_TRANSACTION)
            queryset = queryset.filter(at__lt=end, pk__lt=latest)
        return queryset


class ColumnFilter(FormFilter):
    """Events whose columns hold what is given; each field has its column's name."""

    def narrowed(self, queryset: QuerySet[Any], **values: Any) -> QuerySet[Any]:
        return queryset.filter(**values)


class TableFilter(ColumnFilter):
    title = "table"
    fields = {
        "table_name": choice_field("Table", lambda: [(name, name) for name in captured_tables()])
    }


class OperationFilter(ColumnFilter):
    title = "operation"
    fields = {"operation": choice_field("Operation", Operation.choices)}


class KindFilter(ColumnFilter):
    title = "kind"
    fields = {"kind": choice_field("What happened", SecurityKind.choices)}


class SubjectFilter(ColumnFilter):
    title = "subject"
    fields = {"subject": text_field("Thing", "Table, e.g. dedup_import")}


def person_named(text: str) -> UUID:
    """The id that was typed, or that of whoever has the username; that of nobody if none has."""
    if key := uuid_in(text):
        return key
    user = get_user_model().objects.named(text.strip()).first()
    return user.pk if user else NOBODY


def uuid_in(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None
