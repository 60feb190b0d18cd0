from django_filters import rest_framework as filters

from dedup.models import Conversation, Import


class ImportFilter(filters.FilterSet):  # type: ignore[misc]  # has no types
    class Meta:
        model = Import
        fields = ["status", "source"]


class ConversationFilter(filters.FilterSet):  # type: ignore[misc]  # has no types
    class Meta:
        model = Conversation
        fields = ["source", "project", "parent_key"]
