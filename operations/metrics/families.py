"""Every metric that /metrics answers with, by its name and what it means."""

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from redis import RedisError

from common.traffic import REQUEST_BUCKETS, TASK_BUCKETS, Durations, Traffic, traffic
from operations.metrics.measures import Measured, snapshot

PREFIX = "commonplace_"

# Name, label if it has one, and meaning of what is measured at the moment of the scrape.
GAUGES: tuple[tuple[str, str, str], ...] = (
    ("imports", "status", "Imports that wait, and those of the last day that are done."),
    ("oldest_unfinished_import_age_seconds", "", "Since when the oldest one waits; 0 if none."),
    ("queue_length", "", "Messages that wait for a worker."),
    ("heartbeat_age_seconds", "process", "Since the last sign of life; infinite if forgotten."),
    ("files_free_ratio", "", "Free share of the disk that FILES_DIR is on."),
    ("database_size_bytes", "", "Size of the database on disk."),
    ("database_connections", "", "Connections to the server, of all databases."),
    ("database_connections_max", "", "How many connections the server allows."),
    ("database_cache_hit_ratio", "", "Share of blocks found in memory since statistics began."),
    ("database_longest_query_seconds", "", "How long the longest running query has run."),
    ("database_blocked_sessions", "", "Connections that wait for a lock of another one."),
    ("database_worst_dead_row_ratio", "", "Share of dead rows in the table that has most."),
    ("database_replication_lag_seconds", "", "How far the slowest standby is behind."),
    ("database_transaction_id_age", "", "Transactions since the oldest one not yet frozen."),
    ("audit_stream_lag_seconds", "", "How long the oldest change waits to be exported."),
    ("backup_age_seconds", "", "Since the last backup; absent if there was none."),
    ("failed_logins_recently", "", "Logins that failed in the last ten minutes."),
)


class Families(Collector):
    """All metrics, measured when they are collected."""

    def collect(self) -> Iterator[Metric]:
        found = snapshot()
        yield from _gauges(found.measured)
        yield _blocks(found.measured)
        try:
            requests, tasks = traffic()
            counted = True
        except RedisError:
            requests, tasks, counted = Traffic(), Traffic(), False
        yield from _requests(requests)
        yield from _tasks(tasks)
        up = {**found.up, "redis": found.up["redis"] and counted}
        yield _gauge("up", "dependency", "1 if it answered just now.", up)


def _gauges(measured: Measured) -> Iterator[Metric]:
    for name, label, meaning in GAUGES:
        yield _gauge(name, label, meaning, measured.get(name, {}))


def _gauge(name: str, label: str, meaning: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, meaning, labels=[label] if label else [])
    for value, amount in values.items():
        family.add_metric([value] if label else [], amount)
    return family


def _blocks(measured: Measured) -> Metric:
    family = CounterMetricFamily(
        f"{PREFIX}database_blocks",
        "Blocks of tables and indexes by where they were found.",
        labels=["source"],
    )
    for source, amount in measured.get("database_blocks", {}).items():
        family.add_metric([source], amount)
    return family


def _requests(counted: Traffic) -> Iterator[Metric]:
    yield _total(
        "http_requests", "Answered requests.", ("route", "method", "status"), counted.totals
    )
    yield _durations(
        "http_request_duration_seconds", "Time to the answer.", "route", counted, REQUEST_BUCKETS
    )


def _tasks(counted: Traffic) -> Iterator[Metric]:
    yield _total("tasks", "Tasks that ended.", ("task", "outcome"), counted.totals)
    yield _durations("task_duration_seconds", "Time they ran.", "task", counted, TASK_BUCKETS)


def _total(
    name: str, meaning: str, labels: tuple[str, ...], totals: Mapping[tuple[str, ...], int]
) -> Metric:
    family = CounterMetricFamily(PREFIX + name, meaning, labels=labels)
    for values, amount in sorted(totals.items()):
        family.add_metric(values, amount)
    return family


def _durations(
    name: str, meaning: str, label: str, counted: Traffic, buckets: tuple[float, ...]
) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, meaning, labels=[label])
    for value, durations in sorted(counted.durations.items()):
        family.add_metric([value], _cumulated(durations, buckets), durations.microseconds / 1e6)
    return family


def _cumulated(durations: Durations, buckets: tuple[float, ...]) -> list[tuple[str, float]]:
    """For each upper end how many were not slower, the last of them without an end."""
    ends = [*map(floatToGoString, buckets), "+Inf"]
    counts = accumulate(durations.counts)
    return [(end, float(count)) for end, count in zip(ends, counts, strict=True)]
