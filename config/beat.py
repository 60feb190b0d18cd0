"""Beat's schedule, with a sign of life."""

import logging
import time

from celery.beat import PersistentScheduler
from redis import RedisError

from common.health import record_heartbeat

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_SIGNS = 10


class LivingScheduler(PersistentScheduler):
    """Says at each tick that beat is alive: a message through the queue would wait behind work."""

    _due = 0.0
    max_interval = SECONDS_BETWEEN_SIGNS

    def tick(self) -> float:  # type: ignore[override]  # its service gives no arguments
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + SECONDS_BETWEEN_SIGNS
            self._give_sign()
        return min(float(super().tick()), SECONDS_BETWEEN_SIGNS)

    def _give_sign(self) -> None:
        try:
            record_heartbeat("beat")
        except RedisError as error:
            # Raised out of the tick it would end beat.
            logger.warning("no sign of life could be given: %s", error)
