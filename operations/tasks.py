"""What the operations do by the clock."""

import logging

from celery import shared_task
from django.conf import settings

from common.queue import BaseTask
from operations.backups.making import make_backup
from operations.errors import BackupBusyError

logger = logging.getLogger(__name__)

HOUR = 3600


@shared_task(
    base=BaseTask,
    # Never delivered twice: a backup that is lost is made again tomorrow, or by hand.
    acks_late=False,
    soft_time_limit=6 * HOUR,
    time_limit=6 * HOUR + 60,
)
def back_up() -> None:
    """Afterwards there is one more backup, and those that are too old are gone."""
    try:
        made = make_backup(label="daily", keep_days=settings.BACKUP_KEEP_DAYS)
    except BackupBusyError as error:
        logger.warning("no backup was made: %s", error.detail)
        return
    if made.taken.damaged:
        logger.error("%d stored files are damaged", len(made.taken.damaged))
