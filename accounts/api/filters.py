from django_filters import rest_framework as filters

from audit.choices import Operation, SecurityKind
from audit.models import Activity
from audit.selectors import CHANGE


class ActivityFilter(filters.FilterSet):  # type: ignore[misc]  # has no types
    at_from = filters.IsoDateTimeFilter("at", "gte")
    at_before = filters.IsoDateTimeFilter("at", "lt")
    kind = filters.ChoiceFilter(choices=[(CHANGE, "Change"), *SecurityKind.choices])
    operation = filters.ChoiceFilter(choices=Operation.choices)
    row_id = filters.UUIDFilter(help_text="The thing that it happened to")

    class Meta:
        model = Activity
        fields = ["subject"]
