"""Beat's door to the stream. Each task may run twice or side by side: locks decide."""

import logging

from celery import shared_task
from django.db import OperationalError
from psycopg.errors import LockNotAvailable

from audit import exporting, retention
from common.queue import BaseTask

logger = logging.getLogger(__name__)

HOUR = 3600


@shared_task(base=BaseTask)
def export_events() -> None:
    """Write what happened since the last file into the next one."""
    exporting.export_events()


@shared_task(
    base=BaseTask,
    # Never delivered twice: it is tried again in an hour. The files of a month may be many.
    acks_late=False,
    soft_time_limit=6 * HOUR,
    time_limit=6 * HOUR + 60,
)
def keep_partitions() -> None:
    """Make the partitions of the months to come, and drop those past their time."""
    try:
        retention.make_partitions()
        retention.apply_retention()
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        # There are months ahead, and it is tried again in an hour.
        logger.warning("a long transaction holds the stream's tables: nothing was made or dropped")
