"""What lies in the tests' queue: real messages in the real Redis."""

import json
from typing import Any

from django.conf import settings

from common.health import redis_client

QUEUE = f"{settings.REDIS_PREFIX}celery"


def empty_queue() -> None:
    redis_client().delete(QUEUE)


def queued_messages() -> list[dict[str, Any]]:
    """The headers of each message that waits for a worker, the oldest first."""
    lines = redis_client().lrange(QUEUE, 0, -1)
    return [json.loads(line)["headers"] for line in reversed(lines)]
