from celery import shared_task

from common.health import record_heartbeat
from common.queue import BaseTask


@shared_task(base=BaseTask)
def beat_is_alive() -> None:
    """Beat sends it and a worker runs it: both are alive."""
    record_heartbeat("beat")
