from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django_filters import fields
from django_filters import rest_framework as filters


class MomentField(fields.IsoDateTimeField):  # type: ignore[misc]  # has no types
    def to_python(self, value: Any) -> datetime | None:
        """In UTC: PostgreSQL knows offsets of less than 16 hours only."""
        moment: datetime | None = super().to_python(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError as error:
            raise ValidationError("There is no such moment.", "invalid") from error


class MomentFilter(filters.IsoDateTimeFilter):  # type: ignore[misc]  # has no types
    """By a moment, with whatever offset it is written."""

    field_class = MomentField
