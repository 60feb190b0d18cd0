from datetime import datetime
from uuid import UUID

from django.utils import timezone

from accounts.models import User
from common.tenancy import as_operator


def restrict_processing(*, user_id: UUID) -> datetime:
    """Afterwards the person's things are kept and nothing else is done with them.

    Returns since when that holds: asking again changes nothing.
    """
    with as_operator("a person restricts the processing of their things"):
        mine = User.objects.filter(pk=user_id)
        mine.filter(processing_restricted_at=None).update(processing_restricted_at=timezone.now())
        since: datetime = mine.values_list("processing_restricted_at", flat=True).get()
    return since


def lift_restriction(*, user_id: UUID) -> None:
    """Afterwards the person's things are processed again, with what has waited meanwhile."""
    with as_operator("a person lets their things be processed again"):
        User.objects.filter(pk=user_id).exclude(processing_restricted_at=None).update(
            processing_restricted_at=None
        )
