from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from audit.models import Activity
from audit.naming import name_of_change, name_of_security
from audit.selectors import CHANGE, By, done_by


class ActivityOutput(serializers.ModelSerializer[Activity]):
    """One event: what happened to which thing, who did it, and what it changed."""

    event = serializers.SerializerMethodField(help_text="The event's name")
    by = serializers.SerializerMethodField(help_text="Who did it")
    request_id = serializers.CharField(help_text="As in the header X-Request-ID of its answer")

    class Meta:
        model = Activity
        fields = [
            "id", "at", "event", "by", "kind", "subject", "row_id", "operation", "changed", "old",
            "new", "details", "request_id", "address", "agent",
        ]  # fmt: skip

    def get_event(self, row: Activity) -> str:
        if row.kind == CHANGE:
            return name_of_change(row.subject, row.operation, row.old, row.new)
        return name_of_security(row.kind)

    @extend_schema_field(serializers.ChoiceField(By.choices))
    def get_by(self, row: Activity) -> str:
        return done_by(row)
