"""Filters of the stream that read as English."""

from typing import TYPE_CHECKING, Self, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

if TYPE_CHECKING:
    from audit.models import ExportBatch  # noqa: F401 - named in strings

Row = TypeVar("Row", bound=Model)


class EventQuerySet(QuerySet[Row]):
    """Events of a table whose policies show a person their own; the filter serves the planner."""

    def visible_to(self, user_id: UUID) -> Self:
        return self.filter(user_id=user_id)


class ExportBatchQuerySet(QuerySet["ExportBatch"]):
    def written(self) -> Self:
        return self.filter(written_at__isnull=False)

    def planned(self) -> Self:
        return self.filter(written_at=None)
