"""Checks of the whole database or server: cache, transaction ids, replication."""

from collections.abc import Sequence
from dataclasses import dataclass

from operations.inspection.findings import Finding, Scope, Severity, severity_of
from operations.inspection.statistics import read

MISS_NOTICE, MISS_WARNING = 0.01, 0.05
# After so few blocks the share says nothing.
LEAST_BLOCKS = 10_000

# The server refuses to write when transaction ids have come this far.
LAST_TRANSACTION = 2**31
AGE_WARNING = 1_000_000_000

LAG_NOTICE_SECONDS, LAG_WARNING_SECONDS = 10, 60
KEPT_WAL_NOTICE_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class CacheHit(Finding):
    """The share of blocks that were in the server's memory when they were asked for."""

    of: str
    hit_ratio: float | None
    blocks: int


@dataclass(frozen=True, kw_only=True)
class Age(Finding):
    """How many transactions a database or table is behind: vacuum brings it forward."""

    of: str
    name: str
    transactions: int
    multixacts: int
    share_used: float


@dataclass(frozen=True, kw_only=True)
class Replica(Finding):
    """A standby or a replication slot, and how far it is behind."""

    of: str
    name: str
    state: str
    lag_bytes: int | None
    lag_seconds: float | None


def cache_hit(scope: Scope) -> Sequence[CacheHit]:
    rows = read(
        """
        SELECT 'tables' AS of, sum(heap_blks_hit)::bigint AS hit,
               sum(heap_blks_read)::bigint AS missed
        FROM pg_statio_user_tables
        UNION ALL
        SELECT 'indexes', sum(idx_blks_hit)::bigint, sum(idx_blks_read)::bigint
        FROM pg_statio_user_tables
        """
    )
    return [_cache_hit(row["of"], row["hit"] or 0, row["missed"] or 0) for row in rows]


def _cache_hit(of: str, hit: int, missed: int) -> CacheHit:
    blocks = hit + missed
    severity = severity_of(
        missed / blocks if blocks >= LEAST_BLOCKS else None,
        notice=MISS_NOTICE,
        warning=MISS_WARNING,
    )
    ratio = round(hit / blocks, 4) if blocks else None
    return CacheHit(severity=severity, of=of, hit_ratio=ratio, blocks=blocks)


def wraparound(scope: Scope) -> Sequence[Age]:
    """The databases and the tables of this one that are furthest behind."""
    rows = read(
        """
        (SELECT 'database' AS of, datname AS name, age(datfrozenxid) AS transactions,
                mxid_age(datminmxid) AS multixacts
         FROM pg_database ORDER BY age(datfrozenxid) DESC LIMIT %(limit)s)
        UNION ALL
        (SELECT 'table', c.relname, age(relfrozenxid), mxid_age(relminmxid)
         FROM pg_class c JOIN pg_stat_user_tables ON relid = oid
         -- A partitioned table has no rows and no age: its partitions have.
         WHERE relkind IN ('r', 'm')
         ORDER BY age(relfrozenxid) DESC, c.relname LIMIT %(limit)s)
        """,
        limit=scope.limit,
    )
    (started,) = read("SELECT current_setting('autovacuum_freeze_max_age')::int AS age")
    return [
        Age(
            severity=severity_of(
                max(row["transactions"], row["multixacts"]),
                # Vacuum begins at the setting: further behind, it does not keep up.
                notice=started["age"] * 1.5,
                warning=AGE_WARNING,
            ),
            share_used=round(max(row["transactions"], row["multixacts"]) / LAST_TRANSACTION, 4),
            **row,
        )
        for row in rows
    ]


def replication(scope: Scope) -> Sequence[Replica]:
    """Standbys and slots, and on a standby how far it is itself; none of them is fine."""
    rows = read(
        """
        WITH here AS (
            SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                        ELSE pg_current_wal_lsn() END AS lsn)
        SELECT 'standby' AS of, application_name AS name, state,
               pg_wal_lsn_diff(lsn, replay_lsn)::bigint AS lag_bytes,
               extract(epoch FROM replay_lag)::float AS lag_seconds
        FROM pg_stat_replication, here
        UNION ALL
        SELECT 'slot', slot_name,
               concat_ws(', ', CASE WHEN active THEN 'active' ELSE 'inactive' END, wal_status),
               pg_wal_lsn_diff(lsn, restart_lsn)::bigint, NULL
        FROM pg_replication_slots, here
        UNION ALL
        SELECT 'this server', 'standby', 'in recovery', NULL,
               extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float
        WHERE pg_is_in_recovery()
        LIMIT %(limit)s
        """,
        limit=scope.limit,
    )
    return [Replica(severity=_severity_of_replica(row["of"], row), **row) for row in rows]


def _severity_of_replica(of: str, row: dict[str, object]) -> Severity:
    state = str(row["state"])
    if of == "slot" and any(word in state for word in ("inactive", "lost", "unreserved")):
        return Severity.WARNING
    kept, lag = row["lag_bytes"], row["lag_seconds"]
    if isinstance(kept, int) and kept > KEPT_WAL_NOTICE_BYTES:
        return Severity.NOTICE
    return severity_of(
        lag if isinstance(lag, float) else None,
        notice=LAG_NOTICE_SECONDS,
        warning=LAG_WARNING_SECONDS,
    )
