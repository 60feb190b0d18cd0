"""Beat's schedule, with a sign of life."""

import time

from celery.beat import PersistentScheduler

from common.health import record_heartbeat

SECONDS_BETWEEN_SIGNS = 10


class LivingScheduler(PersistentScheduler):
    """Says at each tick that beat is alive: a message through the queue would wait behind work."""

    _due = 0.0
    max_interval = SECONDS_BETWEEN_SIGNS

    def tick(self) -> float:  # type: ignore[override]  # its service gives no arguments
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + SECONDS_BETWEEN_SIGNS
            record_heartbeat("beat")
        return min(float(super().tick()), SECONDS_BETWEEN_SIGNS)
