"""Beat's door to the stream. Each task may run twice or side by side: locks decide."""

from celery import shared_task

from audit import exporting, retention
from common.queue import BaseTask


@shared_task(base=BaseTask)
def export_events() -> None:
    """Write what happened since the last file into the next one."""
    exporting.export_events()


@shared_task(base=BaseTask)
def keep_partitions() -> None:
    """Make the partitions of the months to come, and drop those past their time."""
    retention.make_partitions()
    retention.apply_retention()
