"""What one asks of events."""

from datetime import timedelta

from django.db.models import TextChoices
from django.utils import timezone

from audit.choices import SecurityKind
from audit.models import Activity, SecurityEvent
from audit.times import first_key

# The kind of every change of a row; the others are those of SecurityKind.
CHANGE = "change"


class By(TextChoices):
    """Who did something, as the person it concerns is told."""

    YOU = "you", "You"
    OPERATOR = "operator", "An operator"
    HOUSE = "house", "The house itself"
    SOMEBODY = "somebody", "Somebody who was not known then"


def done_by(event: Activity) -> By:
    """Who did it. Which operator it was is for the house to know."""
    if event.role != "app":
        return By.OPERATOR if event.actor_id else By.HOUSE
    if event.actor_id != event.user_id:
        return By.SOMEBODY
    # What a person does, and what follows from it, has a request: the rest is done by command.
    return By.YOU if event.request_id else By.HOUSE


def last_event(kind: SecurityKind) -> SecurityEvent | None:
    """The latest event of the kind."""
    latest: SecurityEvent | None = SecurityEvent.objects.filter(kind=kind).order_by("-id").first()
    return latest


def failed_logins(*, within: timedelta) -> int:
    """How many logins failed lately."""
    return SecurityEvent.objects.filter(
        kind=SecurityKind.LOGIN_FAILED, id__gte=first_key(timezone.now() - within)
    ).count()
