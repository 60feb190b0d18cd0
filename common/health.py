"""Is it alive, is it ready: each thing it depends on, by name, with what is wrong."""

import logging
import time
import urllib.request
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from common.encryption.checks import verify_keys

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 60
# Anybody may ask /readyz: however often they do, the checks run once in this time.
READINESS_SECONDS = 2


class UnhealthyError(Exception):
    """A dependency is missing; the text says what and where to look."""


def redis_client() -> "redis.Redis":
    """One that uses this process's connections, which are opened as they are needed and kept."""
    return redis.Redis(connection_pool=_connections(settings.REDIS_URL))


@lru_cache(maxsize=4)
def _connections(url: str) -> redis.ConnectionPool:
    return redis.ConnectionPool.from_url(
        url, socket_connect_timeout=2, socket_timeout=2, decode_responses=True
    )


def check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        (role,) = cursor.fetchone()
    if role != "app":
        raise UnhealthyError(f"connected as {role}, not as app: policies may not hold")


def check_migrations() -> None:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        raise UnhealthyError(f"{len(pending)} migrations are pending: run manage.py migrate")


def check_redis() -> None:
    redis_client().ping()


def check_keys() -> None:
    """Those that were right stay right for a while: a service that holds them is not free."""
    _verified_keys(int(time.monotonic() // max(settings.ENCRYPTION_CACHE_SECONDS, 1)))


@lru_cache(maxsize=1)
def _verified_keys(period: int) -> None:
    verify_keys()


def check_worker() -> None:
    _check_heartbeat("worker")


def check_beat() -> None:
    _check_heartbeat("beat")


def check_live() -> None:
    # It answers to its public name only, wherever it is reached.
    host = urlsplit(settings.LIVE_URL).netloc
    request = urllib.request.Request(  # noqa: S310 - the address is a setting
        f"{settings.LIVE_INTERNAL_URL}/healthz", headers={"Host": host}
    )
    with urllib.request.urlopen(request, timeout=2) as answer:  # noqa: S310
        answer.read()


CHECKS: dict[str, Callable[[], None]] = {
    "database": check_database,
    "migrations": check_migrations,
    "redis": check_redis,
    "keys": check_keys,
    "worker": check_worker,
    "beat": check_beat,
    "live": check_live,
}


def record_heartbeat(process: str) -> None:
    """Say that a process is alive; `check_…` believes it for HEARTBEAT_SECONDS."""
    redis_client().set(
        f"{settings.REDIS_PREFIX}alive:{process}", int(time.time()), ex=HEARTBEAT_SECONDS
    )


def _check_heartbeat(process: str) -> None:
    if not redis_client().exists(f"{settings.REDIS_PREFIX}alive:{process}"):
        raise UnhealthyError(f"no sign of life from {process} for {HEARTBEAT_SECONDS} s")


def readiness(names: list[str]) -> dict[str, str]:
    """For each named check "ok", or in a sentence what is wrong."""
    return {name: _outcome(name) for name in names}


def _outcome(name: str) -> str:
    try:
        CHECKS[name]()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it is the answer
        return f"{type(error).__name__}: {error}".strip()
    return "ok"


@lru_cache(maxsize=1)
def recent_readiness(period: int) -> dict[str, str]:
    """The outcome of READINESS_CHECKS, looked at once in each period; the causes are logged."""
    checks = readiness(settings.READINESS_CHECKS)
    for name, outcome in checks.items():
        if outcome != "ok":
            logger.warning("not ready: %s: %s", name, outcome)
    return checks


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when everything in READINESS_CHECKS works, else 503; the causes go to the log."""
    checks = recent_readiness(int(time.monotonic() // READINESS_SECONDS))
    ready = all(outcome == "ok" for outcome in checks.values())
    # The caller is anonymous: what exactly failed, with its addresses, stays in the log.
    public = {name: "ok" if outcome == "ok" else "failed" for name, outcome in checks.items()}
    return JsonResponse(
        {"status": "ok" if ready else "unavailable", "checks": public}, status=200 if ready else 503
    )
