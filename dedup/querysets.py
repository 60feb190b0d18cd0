"""Filters of the archives' models that read as English."""

from datetime import timedelta
from typing import TYPE_CHECKING, Self, TypeVar
from uuid import UUID

from django.db.models import F, Model, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from dedup.choices import UNFINISHED, ImportStatus

if TYPE_CHECKING:
    from dedup.models import Import, Placement  # noqa: F401 - named in strings

Row = TypeVar("Row", bound=Model)


class OwnedQuerySet(QuerySet[Row]):
    """Rows of a table whose policies show a person their own; the filter serves the planner."""

    def visible_to(self, user_id: UUID) -> Self:
        return self.filter(user_id=user_id)


class ImportQuerySet(OwnedQuerySet["Import"]):
    def unfinished(self) -> Self:
        return self.filter(status__in=UNFINISHED)

    def completed(self) -> Self:
        return self.filter(status=ImportStatus.COMPLETED)

    def failed(self) -> Self:
        return self.filter(status=ImportStatus.FAILED)

    def same_reading(self, row: "Import") -> Self:
        """The import that brought these bytes first, and was asked to read them alike."""
        return self.completed().filter(
            artifact=row.artifact_id,
            original=None,
            wanted_source=row.wanted_source,
            wanted_conversation=row.wanted_conversation,
        )

    def shorter_versions(self, row: "Import", size: int) -> Self:
        """Files of this name that came earlier and were smaller, the largest first."""
        return (
            self.completed()
            .filter(
                name=row.name,
                original=None,
                content_sha256=None,
                wanted_source=row.wanted_source,
                wanted_conversation=row.wanted_conversation,
                artifact__size__lt=size,
                messages_in_export__gt=0,
            )
            .order_by("-artifact__size", "-pk")
        )

    def stalled(self, *, queued_for: timedelta, running_for: timedelta) -> Self:
        """Unfinished, and without a sign of life for longer than is usual.

        Of people who restricted the processing of their things nothing is read.
        """
        now = timezone.now()
        return self.filter(user__processing_restricted_at=None).filter(
            Q(status=ImportStatus.QUEUED, touched_at__lt=now - queued_for)
            | Q(status=ImportStatus.RUNNING, touched_at__lt=now - running_for)
        )

    def claim(self, import_id: UUID) -> bool:
        """Mark an unfinished import as running; False if it is finished or gone."""
        return bool(
            self.unfinished()
            .filter(pk=import_id)
            .update(status=ImportStatus.RUNNING, touched_at=Now(), attempts=F("attempts") + 1)
        )

    def queue_again(self) -> None:
        """Give those that failed another chance, from the beginning."""
        self.failed().update(
            status=ImportStatus.QUEUED,
            attempts=0,
            error_code="",
            error_detail="",
            touched_at=Now(),
            finished_at=None,
        )

    def touch(self) -> None:
        self.update(touched_at=Now())

    def fail(self, code: str, detail: str) -> None:
        """End those that are unfinished, for the given reason."""
        self.unfinished().update(
            status=ImportStatus.FAILED,
            error_code=code,
            error_detail=detail,
            touched_at=Now(),
            finished_at=Now(),
        )


class PlacementQuerySet(OwnedQuerySet["Placement"]):
    def in_reading_order(self) -> Self:
        return self.order_by("segment__number", "position")

    def with_age(self) -> Self:
        """With what rises from the last message to the first: ordered by it, the latest first."""
        return self.annotate(segment_age=-F("segment__number"), age=-F("position"))
