"""Counts that all processes keep together, in hashes of Redis; they may be lost with it.

Nobody waits for a count or fails by one: while Redis is away, nothing is counted.
"""

import logging
import time
from collections.abc import Mapping
from functools import lru_cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

# Redis stands beside us or is away: a request does not wait longer for a count.
PATIENCE_SECONDS = 0.25
# After an error nothing is counted for so long, or every request would wait in vain.
QUIET_SECONDS = 10


class Tallies:
    """The hashes of one Redis, through connections that this process keeps open."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_connect_timeout=PATIENCE_SECONDS,
            socket_timeout=PATIENCE_SECONDS,
            decode_responses=True,
            # Once more for a connection that Redis has closed; what timed out may have counted.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._quiet_until = 0.0

    def add(self, key: str, amounts: Mapping[str, int], *, kept_seconds: int | None = None) -> None:
        """Add each amount to its field of the hash, in one round trip; nothing is ever raised."""
        if time.monotonic() < self._quiet_until:
            return
        name = settings.REDIS_PREFIX + key
        pipeline = self._client.pipeline(transaction=False)
        for field, amount in amounts.items():
            pipeline.hincrby(name, field, amount)
        if kept_seconds is not None:
            pipeline.expire(name, kept_seconds)
        try:
            pipeline.execute()
        except redis.RedisError as error:
            if not self._quiet_until:
                logger.info("nothing is counted while Redis is away: %s", type(error).__name__)
            self._quiet_until = time.monotonic() + QUIET_SECONDS
        else:
            self._quiet_until = 0.0

    def read(self, *keys: str) -> list[dict[str, int]]:
        """Each hash with its fields, empty if there is none; raises RedisError."""
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(settings.REDIS_PREFIX + key)
        return [
            {field: int(amount) for field, amount in found.items()} for found in pipeline.execute()
        ]


@lru_cache(maxsize=4)
def _tallies(url: str) -> Tallies:
    return Tallies(url)


def tallies() -> Tallies:
    """Those of the Redis that is configured."""
    return _tallies(settings.REDIS_URL)
