"""What the lists of the archives are narrowed to."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest

from audit.admin.filters import FormFilter, person_named, text_field, uuid_in
from dedup.models import (
    Placement,
    Revision,
    Segment,
)


def with_secrets() -> Exists:
    """Whether a message that stands in the conversation holds a secret."""
    revealing = Revision.objects.filter(~Q(secrets=[]), message=OuterRef("message"))
    return Exists(Placement.objects.filter(Exists(revealing), segment__conversation=OuterRef("pk")))


class OwnerFilter(FormFilter):
    """What belongs to one person, who is named: a list of owners would tell who has an archive."""

    title = "owner"
    fields = {"owner": text_field("Owner", "Username or id")}

    def narrowed(self, queryset: QuerySet[Any], **values: Any) -> QuerySet[Any]:
        return queryset.filter(user_id=person_named(values["owner"]))


class ConversationFilter(admin.SimpleListFilter):
    """The messages that stand in one conversation, whose name none of them may show; links lead
    here."""

    title = "conversation"
    parameter_name = "conversation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        asked = self.value()
        return [(asked, "One conversation")] if asked else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = self.value()
        if not asked:
            return queryset
        conversation = uuid_in(asked)
        if conversation is None:
            return queryset.none()
        segments = Segment.objects.filter(conversation=conversation)
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
