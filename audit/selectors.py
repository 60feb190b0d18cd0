"""What one asks of events."""

from django.db.models import TextChoices

from audit.models import Activity

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
    return By.YOU if event.actor_id == event.user_id else By.SOMEBODY
