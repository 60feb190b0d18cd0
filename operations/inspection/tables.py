"""Checks of tables: how large they are, and how much of that is waste."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import OperationalError, connections, transaction

from common.tenancy import BACKUP_ALIAS
from operations.inspection.findings import Finding, Scope, Severity, severity_of
from operations.inspection.statistics import read, set_limits

# Autovacuum begins at a fifth; more says that it does not come or does not help.
DEAD_NOTICE, DEAD_WARNING = 0.2, 0.4
# In small tables a few rows are a large share.
LEAST_DEAD_ROWS = 1000
WASTED_NOTICE, WASTED_WARNING = 0.3, 0.6
LEAST_WASTED_BYTES = 10 << 20


@dataclass(frozen=True, kw_only=True)
class Bloat(Finding):
    """Dead rows of a table, and how many of its bytes are probably empty.

    `wasted_bytes` is None where the login `backup` is not configured, which may read how wide
    the columns are.
    """

    table: str
    live_rows: int
    dead_rows: int
    dead_share: float
    bytes: int
    wasted_bytes: int | None
    vacuumed_at: datetime | None
    analyzed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Size(Finding):
    """A table with its indexes, and with the long values that lie beside it (toast)."""

    table: str
    rows: int
    total_bytes: int
    table_bytes: int
    index_bytes: int
    toast_bytes: int


def sizes(scope: Scope) -> Sequence[Size]:
    rows = read(
        """
        SELECT relid::regclass::text AS table, n_live_tup AS rows,
               pg_total_relation_size(relid) AS total_bytes,
               pg_relation_size(relid) AS table_bytes, pg_indexes_size(relid) AS index_bytes,
               coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0) AS toast_bytes
        FROM pg_stat_user_tables JOIN pg_class ON oid = relid
        ORDER BY total_bytes DESC, 1 LIMIT %(limit)s
        """,
        limit=scope.limit,
    )
    return [Size(severity=Severity.OK, **row) for row in rows]


def bloat(scope: Scope) -> Sequence[Bloat]:
    """The tables with most waste first, as far as it is known."""
    rows = read(
        """
        SELECT relid::regclass::text AS table, n_live_tup AS live_rows, n_dead_tup AS dead_rows,
               round(n_dead_tup::numeric / greatest(n_live_tup + n_dead_tup, 1), 4)::float
                   AS dead_share,
               pg_table_size(relid) AS bytes,
               greatest(last_vacuum, last_autovacuum) AS vacuumed_at,
               greatest(last_analyze, last_autoanalyze) AS analyzed_at
        FROM pg_stat_user_tables
        """
    )
    wasted = wasted_bytes()
    found = [_bloat(row, wasted.get(row["table"])) for row in rows]
    found.sort(key=lambda one: (-(one.wasted_bytes or 0), -one.dead_rows, one.table))
    return found[: scope.limit]


def _bloat(row: dict[str, object], wasted: int | None) -> Bloat:
    found = Bloat(severity=Severity.OK, wasted_bytes=wasted, **row)  # type: ignore[arg-type]  # as the columns are named
    share = (wasted or 0) / max(found.bytes, 1)
    by_dead = severity_of(
        found.dead_share if found.dead_rows >= LEAST_DEAD_ROWS else None,
        notice=DEAD_NOTICE,
        warning=DEAD_WARNING,
    )
    by_waste = severity_of(
        share if (wasted or 0) >= LEAST_WASTED_BYTES else None,
        notice=WASTED_NOTICE,
        warning=WASTED_WARNING,
    )
    worse = max(by_dead, by_waste, key=list(Severity).index)
    return Bloat(**vars(found) | {"severity": worse})


def wasted_bytes() -> dict[str, int]:
    """For each analysed table how many bytes it has more than its rows need, estimated.

    The formula is that of ioguix/pgsql-bloat-estimation (`table/table_bloat.sql`), which PgHero
    and pgwatch use too: rows times their average width, in pages of the table's fillfactor,
    against the pages that there are. `metrics` may not read the widths, because they stand beside
    samples of the values; `backup` may. Only tables whose every column was analysed are in it.
    """
    if BACKUP_ALIAS not in connections.settings:
        return {}
    try:
        with transaction.atomic(using=BACKUP_ALIAS):
            set_limits(BACKUP_ALIAS)
            rows = read(WASTED, alias=BACKUP_ALIAS)
    except OperationalError:
        return {}
    return {row["table"]: row["wasted"] for row in rows}


WASTED = """
    WITH columns AS (
        SELECT c.oid, c.reltuples, c.relpages, c.reltoastrelid, 8 AS align, 24 AS page_header,
               current_setting('block_size')::numeric AS block,
               coalesce(substring(array_to_string(c.reloptions, ' ')
                        FROM 'fillfactor=([0-9]+)')::int, 100) AS fillfactor,
               23 + CASE WHEN max(coalesce(s.null_frac, 0)) > 0 THEN (7 + count(*)) / 8 ELSE 0 END
                   AS row_header,
               sum((1 - coalesce(s.null_frac, 0)) * coalesce(s.avg_width, 0)) AS row_data
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname
                            AND s.attname = a.attname AND NOT s.inherited
        WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        GROUP BY c.oid HAVING count(*) = count(s.attname)),
    rows AS (
        SELECT *, 4 + row_header + row_data + 2 * align
            - CASE WHEN row_header %% align = 0 THEN align ELSE row_header %% align END
            - CASE WHEN ceil(row_data)::int %% align = 0 THEN align
                   ELSE ceil(row_data)::int %% align END AS row_size
        FROM columns)
    SELECT r.oid::regclass::text AS table,
           (r.block * greatest(0, r.relpages + coalesce(t.relpages, 0)
               - ceil(r.reltuples / ((r.block - r.page_header) * r.fillfactor / (r.row_size * 100)))
               - ceil(coalesce(greatest(t.reltuples, 0), 0) / 4)))::bigint AS wasted
    FROM rows r LEFT JOIN pg_class t ON t.oid = r.reltoastrelid
    WHERE r.reltuples >= 0
"""
