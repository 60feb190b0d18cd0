"""Checks of what the server is doing at this moment, and of what it did most."""

from collections.abc import Sequence
from dataclasses import dataclass

from operations.inspection.findings import Finding, Scope, Severity, severity_of
from operations.inspection.masking import masked
from operations.inspection.statistics import read, read_one

LONG_WARNING_SECONDS = 60
WAIT_WARNING_SECONDS = 10
IDLE_NOTICE_SECONDS, IDLE_WARNING_SECONDS = 10, 60
USED_NOTICE, USED_WARNING = 0.6, 0.8
MEAN_NOTICE_MS, MEAN_WARNING_MS = 100, 1000


@dataclass(frozen=True, kw_only=True)
class LongQuery(Finding):
    """A connection at work, or holding a transaction open, for longer than is usual."""

    pid: int
    role: str
    application: str
    seconds: float
    state: str
    waits_for: str | None
    blocked_by: list[int]
    query: str


@dataclass(frozen=True, kw_only=True)
class Wait(Finding):
    """Who waits for a lock, and who holds it."""

    waiting_pid: int
    waiting_role: str
    seconds: float
    lock: str
    relation: str | None
    waiting_query: str
    holding_pid: int
    holding_role: str
    holding_state: str
    holding_seconds: float | None
    holding_query: str


@dataclass(frozen=True, kw_only=True)
class ConnectionUse(Finding):
    """How many connections of the server's there are of one kind; the first line counts all."""

    role: str
    application: str
    state: str
    connections: int
    share: float
    longest_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Outlier(Finding):
    """A statement on which the server has spent much time."""

    total_seconds: float
    calls: int
    mean_ms: float
    rows: int
    query: str


def long_queries(scope: Scope) -> Sequence[LongQuery]:
    rows = read(
        """
        SELECT pid, usename AS role, application_name AS application, state,
               round(extract(epoch FROM clock_timestamp() - CASE state
                     WHEN 'active' THEN query_start ELSE xact_start END), 1)::float AS seconds,
               wait_event_type || ': ' || wait_event AS waits_for,
               pg_blocking_pids(pid) AS blocked_by, query
        FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND datname = current_database()
          AND pid <> pg_backend_pid() AND state <> 'idle'
          AND clock_timestamp() - CASE state WHEN 'active' THEN query_start ELSE xact_start END
              > make_interval(secs => %(seconds)s)
        ORDER BY seconds DESC LIMIT %(limit)s
        """,
        seconds=scope.longer_than_seconds,
        limit=scope.limit,
    )
    return [
        LongQuery(
            severity=severity_of(row["seconds"], notice=0, warning=LONG_WARNING_SECONDS),
            **row | {"query": masked(row["query"])},
        )
        for row in rows
    ]


def locks(scope: Scope) -> Sequence[Wait]:
    """Each waiting connection with each one that it waits for, the longest wait first."""
    rows = read(
        """
        SELECT waiting.pid AS waiting_pid, waiting.usename AS waiting_role,
               round(extract(epoch FROM clock_timestamp()
                     - coalesce(wanted.waitstart, waiting.query_start)), 1)::float AS seconds,
               wanted.locktype || ' ' || wanted.mode AS lock,
               CASE WHEN wanted.database = (SELECT oid FROM pg_database
                                            WHERE datname = current_database())
                    THEN wanted.relation::regclass::text END AS relation,
               waiting.query AS waiting_query,
               holding.pid AS holding_pid, coalesce(holding.usename, '') AS holding_role,
               coalesce(holding.state, holding.backend_type) AS holding_state,
               round(extract(epoch FROM clock_timestamp() - holding.xact_start), 1)::float
                   AS holding_seconds,
               coalesce(holding.query, '') AS holding_query
        FROM pg_locks wanted
        JOIN pg_stat_activity waiting ON waiting.pid = wanted.pid
        CROSS JOIN LATERAL (SELECT DISTINCT unnest(pg_blocking_pids(wanted.pid)) AS pid) blocker
        JOIN pg_stat_activity holding ON holding.pid = blocker.pid
        WHERE NOT wanted.granted AND waiting.datname = current_database()
        ORDER BY seconds DESC LIMIT %(limit)s
        """,
        limit=scope.limit,
    )
    return [
        Wait(
            severity=severity_of(row["seconds"], notice=-1, warning=WAIT_WARNING_SECONDS),
            **row
            | {
                "waiting_query": masked(row["waiting_query"]),
                "holding_query": masked(row["holding_query"]),
            },
        )
        for row in rows
    ]


def connection_use(scope: Scope) -> Sequence[ConnectionUse]:
    """All connections of all databases of the server, then each kind, the largest first."""
    most = read_one("SELECT current_setting('max_connections')::int AS connections")["connections"]
    rows = read(
        """
        SELECT coalesce(usename, '') AS role, coalesce(application_name, '') AS application,
               coalesce(state, '') AS state, count(*) AS connections,
               round(max(extract(epoch FROM clock_timestamp() - state_change)), 1)::float
                   AS longest_seconds
        FROM pg_stat_activity WHERE backend_type = 'client backend'
        GROUP BY 1, 2, 3 ORDER BY connections DESC, 1, 2, 3
        """
    )
    used = sum(row["connections"] for row in rows)
    everything = ConnectionUse(
        severity=severity_of(used / most, notice=USED_NOTICE, warning=USED_WARNING),
        role="(all)",
        application="",
        state=f"of {most}",
        connections=used,
        share=round(used / most, 3),
        longest_seconds=None,
    )
    kinds = [
        ConnectionUse(
            severity=_severity_of_state(row["state"], row["longest_seconds"]),
            share=round(row["connections"] / most, 3),
            **row,
        )
        for row in rows
    ]
    return [everything, *kinds[: scope.limit]]


def _severity_of_state(state: str, seconds: float | None) -> Severity:
    if not state.startswith("idle in transaction"):
        return Severity.OK
    return severity_of(seconds, notice=IDLE_NOTICE_SECONDS, warning=IDLE_WARNING_SECONDS)


def outliers(scope: Scope) -> Sequence[Outlier]:
    """Of pg_stat_statements; empty where that extension is not installed."""
    if not read_one("SELECT to_regclass('pg_stat_statements') IS NOT NULL AS there")["there"]:
        return []
    rows = read(
        """
        SELECT (total_exec_time / 1000)::float AS total_seconds, calls,
               mean_exec_time::float AS mean_ms, rows, query
        FROM pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        ORDER BY total_exec_time DESC LIMIT %(limit)s
        """,
        limit=scope.limit,
    )
    return [
        Outlier(
            severity=severity_of(row["mean_ms"], notice=MEAN_NOTICE_MS, warning=MEAN_WARNING_MS),
            total_seconds=round(row["total_seconds"], 3),
            mean_ms=round(row["mean_ms"], 3),
            calls=row["calls"],
            rows=row["rows"],
            query=masked(row["query"]),
        )
        for row in rows
    ]
