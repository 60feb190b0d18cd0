from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django_filters import rest_framework as filters

from common.api.filters import MomentFilter
from dedup.api.serializers import ACTIVE
from dedup.branches import branches_in
from dedup.models import Conversation, Import, Placement, Revision
from dedup.querysets import PlacementQuerySet


class ImportFilter(filters.FilterSet):  # type: ignore[misc]  # has no types
    class Meta:
        model = Import
        fields = ["status", "source"]


class ConversationFilter(filters.FilterSet):  # type: ignore[misc]  # has no types
    q = filters.CharFilter("title", "icontains", help_text="Words that the title contains")
    updated_from = MomentFilter("updated_at", "gte")
    updated_before = MomentFilter("updated_at", "lt")
    has_secrets = filters.BooleanFilter(method="filter_has_secrets")

    class Meta:
        model = Conversation
        fields = ["source", "project", "parent_key"]

    def filter_has_secrets(
        self, conversations: QuerySet[Conversation], name: str, value: Any
    ) -> QuerySet[Conversation]:
        with_secrets: Any = (
            Revision.objects.visible_to(self.request.user.pk)
            .exclude(secrets=[])
            .filter(message__placements__segment__conversation__isnull=False)
            .values("message__placements__segment__conversation")
        )
        if value:
            return conversations.filter(pk__in=with_secrets)
        return conversations.exclude(pk__in=with_secrets)


def placements_wanted(conversation: Conversation, wanted: dict[str, Any]) -> PlacementQuerySet:
    """The places in a conversation that the values of MessagesInput ask for."""
    placements = Placement.objects.visible_to(conversation.user_id).filter(
        segment__conversation=conversation
    )
    if "message_index" in wanted:
        placements = placements.filter(message__message_index=wanted["message_index"])
    if of_revision := _of_revision(wanted):
        revisions = Revision.objects.visible_to(conversation.user_id)
        placements = placements.filter(
            Exists(revisions.filter(message=OuterRef("message"), **of_revision))
        )
    if wanted["branch"] == ACTIVE:
        placements = placements.exclude(message__in=branches_in(conversation).abandoned)
    return placements


def _of_revision(wanted: dict[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if "role" in wanted:
        asked["role"] = wanted["role"]
    if "tool" in wanted:
        asked["content__contains"] = [{"type": "tool_use", "name": wanted["tool"]}]
    if "content_hash" in wanted:
        asked["content_hash"] = bytes.fromhex(wanted["content_hash"])
    return asked
