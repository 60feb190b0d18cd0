"""How far a running import is, in Redis: it changes too often for a row."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from redis.exceptions import RedisError

from common.health import redis_client

SECONDS_BETWEEN_REPORTS = 0.2
KEPT_SECONDS = 3600


@dataclass(frozen=True)
class Progress:
    records: int
    bytes_read: int
    bytes_total: int


def reporter(import_id: UUID, bytes_total: int) -> Callable[[int, int], None]:
    """A function of (records, bytes) so far that notes the progress a few times a second."""
    client = redis_client()
    due = 0.0

    def report(records: int, bytes_read: int) -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due = time.monotonic() + SECONDS_BETWEEN_REPORTS
        try:
            state = json.dumps(asdict(Progress(records, bytes_read, bytes_total)))
            client.set(_key(import_id), state, ex=KEPT_SECONDS)
        except RedisError:
            # Nobody sees the bar move; the import itself does not need it. Ask again later.
            due = time.monotonic() + 30

    return report


def progress_of(import_id: UUID) -> Progress | None:
    return progress_of_many([import_id]).get(import_id)


def progress_of_many(import_ids: Sequence[UUID]) -> dict[UUID, Progress]:
    """How far imports are, of those of which anybody knows: one question for all of them."""
    if not import_ids:
        return {}
    try:
        states: Any = redis_client().mget([_key(import_id) for import_id in import_ids])
    except RedisError:
        # Their state is in their rows; how far they are, nobody can say at the moment.
        return {}
    known = zip(import_ids, states, strict=True)
    return {import_id: Progress(**json.loads(str(state))) for import_id, state in known if state}


def _key(import_id: UUID) -> str:
    return f"{settings.REDIS_PREFIX}import:{import_id}"
