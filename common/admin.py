"""The base of every admin class."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline


class HouseAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """A list and a form for operators; what writes goes through services in actions."""

    list_per_page = 50
    show_full_result_count = False
    list_filter_submit = True
    compressed_fields = True


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
