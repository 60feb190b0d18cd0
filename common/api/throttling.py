"""How many requests one caller may make: a count in Redis for each window of time."""

import logging
import time
from typing import TYPE_CHECKING

from django.conf import settings
from redis import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from common import context
from common.encryption.derivation import keyed_digest
from common.health import redis_client
from common.networks import network_of

if TYPE_CHECKING:
    # The framework loads this class while it is itself being imported.
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)


class CallerThrottle(BaseThrottle):
    """API_RATE_LIMIT requests in API_RATE_SECONDS for each person, or network of nobody's."""

    def allow_request(self, request: Request, view: "APIView") -> bool:
        if not settings.API_RATE_LIMIT:
            return True
        seconds = settings.API_RATE_SECONDS
        window, self._passed = divmod(time.time(), seconds)
        caller = context.person_id.get() or network_of(context.origin.get().address)
        digest = keyed_digest("callers", str(caller).encode()).hex()[:32]
        key = f"{settings.REDIS_PREFIX}requests:{digest}:{window:.0f}"
        try:
            with redis_client().pipeline() as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, seconds)
                return int(pipeline.execute()[0]) <= settings.API_RATE_LIMIT
        except RedisError:
            # Readiness says that Redis is away; nobody is kept out for that.
            logger.exception("requests cannot be counted")
            return True

    def wait(self) -> float:
        return float(settings.API_RATE_SECONDS - self._passed)
