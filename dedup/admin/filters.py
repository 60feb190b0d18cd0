"""What the lists of the archives are narrowed to."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest

from dedup.admin.presenting import title_of
from dedup.models import (
    Conversation,
    Placement,
    Revision,
    Segment,
)

MOST_OWNERS = 50


def with_secrets() -> Exists:
    """Whether a message that stands in the conversation holds a secret."""
    revealing = Revision.objects.filter(~Q(secrets=[]), message=OuterRef("message"))
    return Exists(Placement.objects.filter(Exists(revealing), segment__conversation=OuterRef("pk")))


class OwnerFilter(admin.SimpleListFilter):
    """Owners by name, the first of them: others are found by the search."""

    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        owned = model_admin.model.objects.filter(user=OuterRef("pk"))
        users = get_user_model().objects.filter(Exists(owned)).order_by("username")
        return [(str(user.pk), str(user)) for user in users[:MOST_OWNERS]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return _where(queryset, user=self.value())


class ConversationFilter(admin.SimpleListFilter):
    """The messages that stand in one conversation; links lead here."""

    title = "conversation"
    parameter_name = "conversation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        rows = _where(Conversation.objects.all(), pk=self.value()) if self.value() else []
        return [(str(row.pk), title_of(row)) for row in rows]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        segments = _where(Segment.objects.all(), conversation=self.value())
        return queryset.filter(
            pk__in=Placement.objects.filter(segment__in=segments).values("message")
        )


class MergedFilter(admin.SimpleListFilter):
    """Conversations that turned out to be parts of others are left out unless asked for."""

    title = "merged into another"
    parameter_name = "merged"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Merged ones"), ("all", "Both")]

    def choices(self, changelist: ChangeList) -> Any:
        first, *others = super().choices(changelist)
        return [{**first, "display": "Not merged"}, *others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.filter(merged_into__isnull=self.value() != "yes")


class SecretsFilter(admin.SimpleListFilter):
    title = "secrets"
    parameter_name = "secrets"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "With secrets"), ("no", "Without")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = {"yes": True, "no": False}.get(self.value() or "")
        return queryset if wanted is None else queryset.filter(has_secrets=wanted)


def _where(queryset: QuerySet[Any], **wanted: str | None) -> QuerySet[Any]:
    """The rows with these ids; all where none is asked for, none where it is no id."""
    given = {name: value for name, value in wanted.items() if value}
    try:
        return queryset.filter(**given)
    except ValidationError:
        return queryset.none()
