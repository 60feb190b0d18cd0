"""The base of the archives' pages."""

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

from audit.house import ReadOnlyAdmin
from dedup.secrets import masked


class ArchiveAdmin(ReadOnlyAdmin):
    """Rows of the archives, with what only their page shows around the list or the form."""

    # Masked in the row that a form shows, whose own name stands in the page's title too.
    masked_fields: Sequence[str] = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Sequence[str]:
        fields: Sequence[str] = flatten_fieldsets(self.get_fieldsets(request, obj))
        return fields

    def get_object(self, *args: Any, **options: Any) -> Any:
        row = super().get_object(*args, **options)
        for name in self.masked_fields if row else ():
            setattr(row, name, masked(getattr(row, name)))
        return row

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if isinstance(context.get("cl"), ChangeList):
            context.update(self.around_list(context["cl"]))
        return response

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        if row := options.get("obj"):
            context.update(self.around_form(row))
        response: HttpResponse = super().render_change_form(request, context, *args, **options)
        return response

    def around_list(self, changelist: ChangeList) -> dict[str, Any]:
        return {}

    def around_form(self, row: Any) -> dict[str, Any]:
        return {}
