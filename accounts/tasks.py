from datetime import timedelta

from celery import shared_task

from accounts.models import RecordedAnswer
from common.queue import SweepTask

# A client that repeats a request does so within minutes.
KEPT = timedelta(days=2)


@shared_task(base=SweepTask)
def forget_recorded_answers() -> None:
    """Delete answers to writes that nobody will repeat any more."""
    RecordedAnswer.objects.older_than(KEPT).delete()
