from django_filters import rest_framework as filters

from audit.choices import Operation, SecurityKind
from audit.models import Activity
from audit.selectors import CHANGE
from common.api.filters import MomentFilter


class ActivityFilter(filters.FilterSet):  # type: ignore[misc]  # has no types
    at_from = MomentFilter("at", "gte")
    at_before = MomentFilter("at", "lt")
    kind = filters.ChoiceFilter(choices=[(CHANGE, "Change"), *SecurityKind.choices])
    operation = filters.ChoiceFilter(choices=Operation.choices)
    row_id = filters.UUIDFilter(help_text="The thing that it happened to")

    class Meta:
        model = Activity
        fields = ["subject"]
