"""Checks of indexes: those that nobody uses, those that are missing, those that are there twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from operations.inspection.findings import Finding, Scope, Severity, severity_of
from operations.inspection.statistics import read

UNUSED_NOTICE_BYTES, UNUSED_WARNING_BYTES = 1 << 20, 1 << 30
# PgHero's limits: a table with so many rows, of whose scans less than this share use an index.
LARGE_TABLE_ROWS = 10_000
LEAST_INDEX_SHARE = 0.95
LEAST_SCANS = 50


@dataclass(frozen=True, kw_only=True)
class UnusedIndex(Finding):
    """An index that was never scanned since statistics began, and that guarantees nothing."""

    table: str
    index: str
    bytes: int
    since: str | None


@dataclass(frozen=True, kw_only=True)
class MissingIndex(Finding):
    """A large table that is mostly read as a whole, or a foreign key that no index serves."""

    table: str
    rows: int
    why: str
    columns: list[str]
    index_share: float | None


@dataclass(frozen=True, kw_only=True)
class DuplicateIndex(Finding):
    """An index whose columns are the first ones of another: that one does its work too."""

    table: str
    index: str
    bytes: int
    covered_by: str


def unused_indexes(scope: Scope) -> Sequence[UnusedIndex]:
    rows = read(
        """
        SELECT s.relname AS table, s.indexrelname AS index,
               pg_relation_size(s.indexrelid) AS bytes,
               (SELECT to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                FROM pg_stat_database WHERE datname = current_database()) AS since
        FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid)
        WHERE s.idx_scan = 0 AND i.indisvalid
          AND NOT (i.indisunique OR i.indisprimary OR i.indisexclusion OR i.indisreplident)
        ORDER BY bytes DESC, index LIMIT %(limit)s
        """,
        limit=scope.limit,
    )
    return [
        UnusedIndex(
            severity=severity_of(
                row["bytes"], notice=UNUSED_NOTICE_BYTES, warning=UNUSED_WARNING_BYTES
            ),
            **row,
        )
        for row in rows
    ]


def missing_indexes(scope: Scope) -> Sequence[MissingIndex]:
    found = [*_read_as_a_whole(scope), *_foreign_keys(scope)]
    return found[: scope.limit]


def _read_as_a_whole(scope: Scope) -> list[MissingIndex]:
    rows = read(
        """
        SELECT relname AS table, n_live_tup AS rows,
               round(idx_scan::numeric / (seq_scan + idx_scan), 4)::float AS index_share
        FROM (SELECT relname, n_live_tup, seq_scan, coalesce(idx_scan, 0) AS idx_scan
              FROM pg_stat_user_tables) tables
        WHERE n_live_tup >= %(rows)s AND seq_scan + idx_scan >= %(scans)s
          AND idx_scan < %(share)s * (seq_scan + idx_scan)
        ORDER BY n_live_tup DESC LIMIT %(limit)s
        """,
        rows=LARGE_TABLE_ROWS,
        scans=LEAST_SCANS,
        share=LEAST_INDEX_SHARE,
        limit=scope.limit,
    )
    why = "mostly read by sequential scans"
    return [MissingIndex(severity=Severity.WARNING, why=why, columns=[], **row) for row in rows]


def _foreign_keys(scope: Scope) -> list[MissingIndex]:
    """Those without an index of all that point somewhere which begins with their columns, in any
    order.

    For a key of several columns one that begins with its last column serves as well: the first
    of ours is the owner, which finds few of the rows.
    """
    rows = read(
        """
        SELECT c.relname AS table, greatest(c.reltuples, 0)::bigint AS rows,
               ARRAY(SELECT attname::text FROM unnest(k.conkey) WITH ORDINALITY key(number, place)
                     JOIN pg_attribute ON attrelid = k.conrelid AND attnum = key.number
                     ORDER BY place) AS columns
        FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid JOIN pg_stat_user_tables s ON s.relid = c.oid
        WHERE k.contype = 'f' AND k.conparentid = 0
          AND NOT EXISTS (
              SELECT FROM pg_index i
              JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am a ON a.oid = x.relam
              WHERE i.indrelid = k.conrelid AND i.indisvalid AND a.amname IN ('btree', 'hash')
                AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) IN (
                    SELECT format('(%%I IS NOT NULL)', attname) FROM pg_attribute
                    WHERE attrelid = k.conrelid AND attnum = ANY (k.conkey)))
                AND ((i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
                     OR i.indkey[0] = k.conkey[cardinality(k.conkey)]))
        ORDER BY c.reltuples DESC, c.relname, columns LIMIT %(limit)s
        """,
        limit=scope.limit,
    )
    return [
        MissingIndex(
            # Deleting what a row points at reads the whole table.
            severity=severity_of(row["rows"], notice=-1, warning=LARGE_TABLE_ROWS),
            why="foreign key without an index",
            index_share=None,
            **row,
        )
        for row in rows
    ]


def duplicate_indexes(scope: Scope) -> Sequence[DuplicateIndex]:
    """Of two equal indexes the later one, or the one that is not unique."""
    rows = read(
        """
        WITH indexes AS (
            SELECT i.*, a.amname, c.relname AS name, i.indrelid::regclass::text AS table,
                   pg_get_expr(i.indpred, i.indrelid) AS predicate,
                   pg_get_expr(i.indexprs, i.indrelid) AS expressions
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_am a ON a.oid = c.relam
            JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid
            WHERE i.indisvalid)
        SELECT DISTINCT ON (b.indexrelid) b.table, b.name AS index,
               pg_relation_size(b.indexrelid) AS bytes, a.name AS covered_by
        FROM indexes b JOIN indexes a
          ON a.indrelid = b.indrelid AND a.indexrelid <> b.indexrelid AND a.amname = b.amname
         AND a.predicate IS NOT DISTINCT FROM b.predicate
         AND a.expressions IS NOT DISTINCT FROM b.expressions
         AND (a.indkey::int2[])[0:b.indnkeyatts - 1] = (b.indkey::int2[])[0:b.indnkeyatts - 1]
         AND (a.indclass::oid[])[0:b.indnkeyatts - 1] = (b.indclass::oid[])[0:b.indnkeyatts - 1]
         AND (a.indcollation::oid[])[0:b.indnkeyatts - 1]
             = (b.indcollation::oid[])[0:b.indnkeyatts - 1]
         AND (a.indoption::int2[])[0:b.indnkeyatts - 1]
             = (b.indoption::int2[])[0:b.indnkeyatts - 1]
        WHERE b.indnatts = b.indnkeyatts
          AND NOT (b.indisprimary OR b.indisexclusion OR b.indisreplident)
          AND (a.indnkeyatts = b.indnkeyatts OR b.amname = 'btree' AND NOT b.indisunique
               AND a.indnkeyatts > b.indnkeyatts)
          AND (NOT b.indisunique OR a.indisunique)
          AND (a.indnkeyatts > b.indnkeyatts OR a.indisunique AND NOT b.indisunique
               OR a.indisprimary OR a.indexrelid < b.indexrelid AND a.indisunique = b.indisunique)
        ORDER BY b.indexrelid, a.indnkeyatts, a.indexrelid LIMIT %(limit)s
        """,
        limit=scope.limit,
    )
    return [DuplicateIndex(severity=Severity.NOTICE, **row) for row in rows]
