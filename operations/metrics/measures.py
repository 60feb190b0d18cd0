"""What is measured when it is asked for: the database, the queue, the disk, the upkeep."""

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from threading import Lock

from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import transaction
from django.db.models import Count, Min, QuerySet
from django.utils import timezone

from audit.choices import SecurityKind
from audit.exporting import stream_lag
from audit.selectors import failed_logins, last_event
from audit.times import first_key
from common.health import redis_client
from common.tenancy import METRICS_ALIAS, OPERATOR_ALIAS, as_operator
from dedup.choices import ImportStatus
from dedup.models import Import
from operations.inspection.statistics import read_one, require_login, set_limits

# However often /metrics is asked, a process looks once in this time.
FRESH_SECONDS = 5
# Prometheus waits for ten seconds unless told otherwise.
STATEMENT_SECONDS = 3
PATIENCE_SECONDS = 5
# After so long nothing more is asked: a source takes one statement's time, or a few.
LONGEST_LOOK_SECONDS = 6
FAILED_LOGINS_WITHIN = timedelta(minutes=10)
DONE_WITHIN = timedelta(days=1)
DONE = (ImportStatus.COMPLETED, ImportStatus.FAILED)
SIGNS_OF_LIFE = ("worker", "beat")

logger = logging.getLogger(__name__)

_looking = Lock()

# Name of a metric → the values of its label (or nothing), each with what was measured.
Measured = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Snapshot:
    """What was measured at one moment, and which dependencies answered."""

    measured: Measured
    up: Mapping[str, bool]


def snapshot() -> Snapshot:
    """What is measured in this moment, or was a few seconds ago.

    Nothing, and all of it away, while another look takes long: threads that wait for a server
    which does not answer would be missed by everybody else.
    """
    if not _looking.acquire(timeout=PATIENCE_SECONDS):
        return Snapshot({}, dict.fromkeys(SOURCES, False))
    try:
        return _snapshot(int(time.monotonic() // FRESH_SECONDS))
    finally:
        _looking.release()


@lru_cache(maxsize=1)
def _snapshot(period: int) -> Snapshot:
    measured: dict[str, Mapping[str, float]] = {}
    up = dict.fromkeys(SOURCES, False)
    end = time.monotonic() + LONGEST_LOOK_SECONDS
    for dependency, measure in SOURCES.items():
        if time.monotonic() > end:
            logger.warning("%s was not measured: the look took too long", dependency)
            continue
        try:
            measured |= measure()
            up[dependency] = True
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the rest is measured
            logger.warning("%s could not be measured: %s", dependency, type(error).__name__)
    return Snapshot(measured, up)


def imports() -> Measured:
    with _looking_briefly():
        waiting, lately = Import.objects.unfinished(), first_key(timezone.now() - DONE_WITHIN)
        # A count of all that were ever done would read the whole table.
        done = Import.objects.filter(pk__gte=lately, status__in=DONE)
        counts = {**_by_status(waiting), **_by_status(done)}
        (oldest,) = waiting.aggregate(Min("created_at")).values()
    age = (timezone.now() - oldest).total_seconds() if oldest else 0.0
    return {
        "imports": {status.value: counts.get(status, 0) for status in ImportStatus},
        "oldest_unfinished_import_age_seconds": {"": max(age, 0.0)},
    }


def _by_status(rows: QuerySet[Import]) -> dict[str, int]:
    return dict(rows.values_list("status").annotate(Count("pk")).order_by())


def statistics() -> Measured:
    """What the server knows of itself, in one look as `metrics`."""
    require_login()
    with transaction.atomic(using=METRICS_ALIAS):
        set_limits(METRICS_ALIAS, statement_seconds=STATEMENT_SECONDS)
        row = read_one(STATISTICS)
    blocks = {"cache": float(row.pop("blocks_hit")), "disk": float(row.pop("blocks_read"))}
    asked = sum(blocks.values())
    return {
        "database_blocks": blocks,
        "database_cache_hit_ratio": {"": blocks["cache"] / asked if asked else math.nan},
        **{f"database_{name}": {"": float(value)} for name, value in row.items()},
    }


STATISTICS = """
    WITH backends AS (
        SELECT *, cardinality(pg_blocking_pids(pid)) > 0 AS blocked FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
    here AS (SELECT * FROM pg_database WHERE datname = current_database())
    SELECT (SELECT pg_database_size(oid) FROM here) AS size_bytes,
           (SELECT count(*) + 1 FROM backends) AS connections,
           current_setting('max_connections')::int AS connections_max,
           (SELECT coalesce(sum(heap_blks_hit + coalesce(idx_blks_hit, 0)), 0)
            FROM pg_statio_user_tables) AS blocks_hit,
           (SELECT coalesce(sum(heap_blks_read + coalesce(idx_blks_read, 0)), 0)
            FROM pg_statio_user_tables) AS blocks_read,
           (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - query_start)), 0)
            FROM backends WHERE state = 'active' AND datname = current_database())
               AS longest_query_seconds,
           (SELECT count(*) FROM backends WHERE blocked AND datname = current_database())
               AS blocked_sessions,
           (SELECT coalesce(max(n_dead_tup::float / (n_live_tup + n_dead_tup)), 0)
            FROM pg_stat_user_tables WHERE n_dead_tup >= 1000) AS worst_dead_row_ratio,
           (SELECT coalesce(max(extract(epoch FROM replay_lag)), 0) FROM pg_stat_replication)
               AS replication_lag_seconds,
           (SELECT max(age(datfrozenxid)) FROM pg_database) AS transaction_id_age
"""


def queue() -> Measured:
    with redis_client() as client:
        length = client.llen(f"{settings.REDIS_PREFIX}celery")
        signs = client.mget([f"{settings.REDIS_PREFIX}alive:{name}" for name in SIGNS_OF_LIFE])
    return {
        "queue_length": {"": float(length)},
        "heartbeat_age_seconds": {
            # Redis forgets a sign of life after a minute.
            name: max(time.time() - float(at), 0.0) if at else math.inf
            for name, at in zip(SIGNS_OF_LIFE, signs, strict=True)
        },
    }


def files() -> Measured:
    """How much of the disk is free; nothing where the files lie in a bucket."""
    if not isinstance(default_storage, FileSystemStorage):
        return {}
    wanted = Path(settings.MEDIA_ROOT)
    folder = next(path for path in (wanted, *wanted.parents) if path.exists())
    disk = shutil.disk_usage(folder)
    return {"files_free_ratio": {"": disk.free / disk.total}}


def stream() -> Measured:
    with _looking_briefly():
        return {"audit_stream_lag_seconds": {"": stream_lag()}}


def logins() -> Measured:
    with _looking_briefly():
        return {"failed_logins_recently": {"": failed_logins(within=FAILED_LOGINS_WITHIN)}}


def backups() -> Measured:
    """Nothing as long as none was made."""
    with _looking_briefly():
        latest = last_event(SecurityKind.BACKUP_MADE)
    if latest is None:
        return {}
    return {"backup_age_seconds": {"": (timezone.now() - latest.at).total_seconds()}}


@contextmanager
def _looking_briefly() -> Iterator[None]:
    with as_operator("metrics"):
        set_limits(OPERATOR_ALIAS, statement_seconds=STATEMENT_SECONDS)
        yield


# What is asked, by the name that `commonplace_up` gives it.
SOURCES: dict[str, Callable[[], Measured]] = {
    "database": imports,
    "statistics": statistics,
    "redis": queue,
    "files": files,
    "stream": stream,
    "logins": logins,
    "backups": backups,
}
