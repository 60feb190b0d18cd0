"""What the checks find, on a real server: each time something is made for them to find."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from threading import Thread
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections
from hypothesis import given
from hypothesis import strategies as st

from common.tests.connections import Connection, connect_as, connect_as_superuser
from operations.errors import MissingLoginError
from operations.inspection import CHECKS, Scope, Severity, Unchecked, inspect, server, worst
from operations.inspection.findings import severity_of
from operations.inspection.masking import LONGEST_SHOWN, masked
from operations.inspection.tables import Bloat, _bloat
from tests.pgbouncer import not_through_pgbouncer

pytestmark = pytest.mark.django_db(
    transaction=True, databases=["default", "owner", "metrics", "backup"]
)

PATIENCE_SECONDS = 20
EVERYTHING = Scope(limit=10_000)


@pytest.fixture
def table() -> Iterator[Connection]:
    """The owner's connection, and a table `inspected` of its own."""
    with connect_as("owner") as owner:
        owner.execute("CREATE TABLE inspected (id int PRIMARY KEY, word text, parent int)")
        try:
            yield owner
        finally:
            owner.execute("DROP TABLE inspected")


@contextmanager
def another_running(query: str) -> Iterator[None]:
    """Within the block another connection of `app` works on the query, or waits."""
    with connect_as("default") as connection:
        pid = connection.info.backend_pid
        worker = Thread(target=_run, args=(connection, query))
        worker.start()
        try:
            yield
        finally:
            with connect_as_superuser() as superuser:
                superuser.execute("SELECT pg_cancel_backend(%s)", [pid])
            worker.join()


def _run(connection: Connection, query: str) -> None:
    try:
        connection.execute(query.encode())
    except psycopg.errors.QueryCanceled:
        """The test is done with it."""


def found_by(check: str, scope: Scope = EVERYTHING, /, **wanted: Any) -> list[dict[str, Any]]:
    """What the check found that has these values."""
    findings = [asdict(one) for one in inspect([check], scope)[check]]
    return [one for one in findings if wanted.items() <= one.items()]


def eventually(look: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The first answer that is not empty: statistics arrive a moment later."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_every_check_looks_at_the_schema_of_ours_and_none_is_refused() -> None:
    found = inspect()

    assert list(found) == list(CHECKS)
    assert not [
        one for findings in found.values() for one in findings if isinstance(one, Unchecked)
    ]
    assert len(found["sizes"]) == 20
    assert {one["of"] for one in map(asdict, found["cache-hit"])} == {"tables", "indexes"}
    assert found["outliers"] == []


NOT_OURS = ("auth_", "django_", "account_", "mfa_", "socialaccount_")


def test_the_schema_of_ours_lacks_no_index_and_has_none_twice() -> None:
    found = inspect(["missing-indexes", "duplicate-indexes"], EVERYTHING)

    # How tables were read so far says what other tests did with them.
    lacking = [
        one for one in map(asdict, found["missing-indexes"]) if "sequential" not in one["why"]
    ]
    assert lacking == []
    duplicates = {one["table"] for one in map(asdict, found["duplicate-indexes"])}
    assert {name for name in duplicates if not name.startswith(NOT_OURS)} == set()


def test_a_limit_holds_for_each_check() -> None:
    found = inspect(scope=Scope(limit=1))

    # The databases and the tables that are oldest are two lists, as are all connections and theirs.
    assert max(len(findings) for findings in found.values()) == 2


def test_an_unused_index_is_shown_with_its_size(table: Connection) -> None:
    table.execute("CREATE INDEX inspected_word ON inspected (word)")
    table.execute("CREATE UNIQUE INDEX inspected_unique ON inspected (parent)")

    assert found_by("unused-indexes", table="inspected") == [
        {
            "severity": Severity.OK,
            "table": "inspected",
            "index": "inspected_word",
            "bytes": 8192,
            "since": None,
        }
    ]


@pytest.mark.parametrize(
    ("first", "second", "duplicate"),
    [
        ("(word)", "(word, parent)", True),
        ("(word)", "(word)", True),
        ("(lower(word))", "(lower(word))", True),
        ("(word) WHERE parent > 0", "(word) WHERE parent > 0", True),
        ("USING hash (word)", "USING hash (word)", True),
        ("(word)", "(parent, word)", False),
        ("(word)", "(word DESC, parent)", False),
        ("(word)", "(word text_pattern_ops)", False),
        ("(word) WHERE parent > 0", "(word)", False),
        ("(lower(word))", "(upper(word))", False),
        ("(word) INCLUDE (parent)", "(word, parent)", False),
        ("USING hash (word)", "(word)", False),
    ],
)
def test_a_duplicate_index_is_the_beginning_of_another(
    table: Connection, first: str, second: str, *, duplicate: bool
) -> None:
    table.execute(f"CREATE INDEX the_first ON inspected {first}".encode())
    table.execute(f"CREATE INDEX the_second ON inspected {second}".encode())

    found = found_by("duplicate-indexes", table="inspected")

    pairs = {(one["index"], one["covered_by"]) for one in found}
    equal = {("the_second", "the_first")} if first == second else {("the_first", "the_second")}
    assert pairs == (equal if duplicate else set())


def test_a_unique_index_is_no_duplicate_of_one_that_only_begins_like_it(table: Connection) -> None:
    table.execute("CREATE UNIQUE INDEX the_rule ON inspected (word)")
    table.execute("CREATE INDEX the_second ON inspected (word)")
    table.execute("CREATE INDEX the_third ON inspected (word, parent)")
    table.execute("CREATE INDEX like_the_key ON inspected (id)")

    assert {one["index"] for one in found_by("duplicate-indexes", table="inspected")} == {
        "the_second",
        "like_the_key",
    }


def test_a_foreign_key_without_an_index_is_shown(table: Connection) -> None:
    table.execute("ALTER TABLE inspected ADD FOREIGN KEY (parent) REFERENCES inspected")

    (found,) = found_by("missing-indexes", table="inspected")
    table.execute("CREATE INDEX inspected_parent ON inspected (parent)")

    assert found == {
        "severity": Severity.NOTICE,
        "table": "inspected",
        "rows": 0,
        "why": "foreign key without an index",
        "columns": ["parent"],
        "index_share": None,
    }
    assert found_by("missing-indexes", table="inspected") == []


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ("(parent) WHERE word = 'x'", False),
        ("(parent) WHERE word IS NOT NULL", False),
        ("(parent) WHERE parent IS NOT NULL", True),
        ("USING hash (parent)", True),
        ("USING brin (parent)", False),
    ],
)
def test_a_foreign_key_is_served_by_an_index_that_finds_every_row_that_points(
    table: Connection,
    index: str,
    serves: bool,  # noqa: FBT001 - a case
) -> None:
    table.execute("ALTER TABLE inspected ADD FOREIGN KEY (parent) REFERENCES inspected")
    table.execute(f"CREATE INDEX the_index ON inspected {index}")

    found = found_by("missing-indexes", table="inspected")

    assert [one["columns"] for one in found] == ([] if serves else [["parent"]])


def test_a_large_table_that_is_read_as_a_whole_is_shown(table: Connection) -> None:
    table.execute("INSERT INTO inspected SELECT n, 'x' FROM generate_series(1, 10000) n")
    for _ in range(50):
        table.execute("SELECT count(*) FROM inspected WHERE word = 'y'")
    table.execute("SELECT pg_stat_force_next_flush()")

    (found,) = eventually(lambda: found_by("missing-indexes", table="inspected"))

    assert found["why"] == "mostly read by sequential scans"
    assert found["severity"] == Severity.WARNING
    assert (found["rows"], found["index_share"]) == (10000, 0.0)


def test_a_long_query_is_shown_with_its_words_masked() -> None:
    query = "SELECT 'marzipan', $tag$nougat$tag$, E'pra\\'line', 4711, pg_sleep(30) /* truffle */"
    with another_running(query):
        assert found_by("long-queries", Scope(longer_than_seconds=25)) == []
        (found,) = eventually(
            lambda: found_by("long-queries", Scope(longer_than_seconds=0.2), role="app")
        )

    assert found["query"] == "SELECT ?, ?, ?, ?, pg_sleep(?)"
    assert (found["state"], found["waits_for"]) == ("active", "Timeout: PgSleep")
    assert (found["blocked_by"], found["severity"]) == ([], Severity.NOTICE)
    assert found["seconds"] >= 0.2


@not_through_pgbouncer
def test_who_waits_for_whom_is_shown_with_their_words_masked(table: Connection) -> None:
    table.execute("INSERT INTO inspected VALUES (1, 'marzipan')")
    table.execute("GRANT SELECT, UPDATE ON inspected TO app")
    pid = table.info.backend_pid
    with table.transaction():
        table.execute("UPDATE inspected SET word = 'nougat'")
        with another_running("UPDATE inspected SET word = 'truffle' WHERE id = 1"):
            (found,) = eventually(lambda: found_by("locks", holding_pid=pid))
            (blocked,) = found_by("long-queries", Scope(longer_than_seconds=0), role="app")

    assert found["waiting_query"] == "UPDATE inspected SET word = ? WHERE id = ?"
    assert found["holding_query"] == "UPDATE inspected SET word = ?"
    assert (found["holding_pid"], found["holding_role"]) == (pid, "owner")
    assert (found["waiting_role"], found["holding_state"]) == ("app", "idle in transaction")
    assert (found["lock"], found["severity"]) == ("transactionid ShareLock", Severity.NOTICE)
    assert blocked["blocked_by"] == [pid]
    assert blocked["waits_for"] == "Lock: transactionid"


def test_a_transaction_that_is_left_open_is_a_long_one(table: Connection) -> None:
    with table.transaction():
        table.execute("SELECT 'marzipan'")
        time.sleep(0.2)

        (found,) = found_by("long-queries", Scope(longer_than_seconds=0.1), role="owner")
        kinds = found_by("connections", role="owner", state="idle in transaction")

    assert (found["state"], found["query"]) == ("idle in transaction", "SELECT ?")
    assert sum(kind["connections"] for kind in kinds) >= 1


def test_dead_rows_and_waste_are_shown(table: Connection) -> None:
    table.execute("ALTER TABLE inspected SET (autovacuum_enabled = false)")
    table.execute(
        "INSERT INTO inspected SELECT n, repeat('x', 900) FROM generate_series(1, 20000) n"
    )
    table.execute("DELETE FROM inspected WHERE id > 2000")
    table.execute("SELECT pg_stat_force_next_flush()")
    (dead,) = eventually(lambda: found_by("bloat", table="inspected", dead_rows=18000))
    # Afterwards rows at the end keep the pages, which are empty.
    table.execute("INSERT INTO inspected VALUES (99999, 'the last')")
    table.execute("VACUUM (ANALYZE, TRUNCATE false) inspected")
    table.execute("SELECT pg_stat_force_next_flush()")
    (empty,) = eventually(lambda: found_by("bloat", table="inspected", dead_rows=0))

    assert (dead["dead_share"], dead["severity"]) == (0.9, Severity.WARNING)
    assert (dead["vacuumed_at"], dead["wasted_bytes"]) == (None, None)
    assert empty["vacuumed_at"] is not None
    assert 0.85 < empty["wasted_bytes"] / empty["bytes"] < 0.95
    assert empty["severity"] == Severity.WARNING


def test_without_the_login_of_backups_waste_is_not_estimated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "settings", without("backup"))

    assert {one["wasted_bytes"] for one in found_by("bloat")} == {None}


def test_sizes_are_those_of_the_server(table: Connection) -> None:
    table.execute("INSERT INTO inspected SELECT n, 'x' FROM generate_series(1, 1000) n")
    row = table.execute(
        "SELECT pg_total_relation_size('inspected'), pg_relation_size('inspected'),"
        " pg_indexes_size('inspected')"
    ).fetchone()

    (found,) = found_by("sizes", table="inspected")

    assert row == (found["total_bytes"], found["table_bytes"], found["index_bytes"])
    assert found["toast_bytes"] == 8192


@not_through_pgbouncer
def test_connections_are_counted_and_compared_with_what_there_may_be() -> None:
    with connect_as("default") as one, connect_as("default"):
        most = one.execute("SELECT current_setting('max_connections')::int").fetchone()

        (everything, *kinds) = found_by("connections")

    assert most is not None
    assert (everything["role"], everything["state"]) == ("(all)", f"of {most[0]}")
    assert everything["connections"] == sum(kind["connections"] for kind in kinds)
    assert sum(kind["connections"] for kind in kinds if kind["role"] == "app") >= 2


def test_how_far_transaction_ids_have_come_is_shown() -> None:
    found = found_by("vacuum")

    assert {one["of"] for one in found} == {"database", "table"}
    assert all(0 <= one["share_used"] < 0.01 for one in found)
    assert {one["severity"] for one in found} == {Severity.OK}


def test_a_replication_slot_that_nobody_reads_is_a_warning() -> None:
    with connect_as_superuser() as superuser:
        name = f"inspected_{superuser.info.backend_pid}"
        superuser.execute("SELECT pg_create_physical_replication_slot(%s, true)", [name])
        try:
            (found,) = found_by("replication", name=name)
        finally:
            superuser.execute("SELECT pg_drop_replication_slot(%s)", [name])

    assert found["severity"] == Severity.WARNING
    assert (found["of"], found["state"]) == ("slot", "inactive, reserved")


def test_outliers_are_read_where_the_extension_is() -> None:
    with connect_as_superuser() as superuser:
        superuser.execute(
            """
            CREATE VIEW pg_stat_statements AS
            SELECT oid AS dbid, 7200.0::float8 AS total_exec_time, 3::bigint AS calls,
                   2400.0::float8 AS mean_exec_time, 9::bigint AS rows,
                   'SELECT ''marzipan'', $1' AS query FROM pg_database
            """
        )
        try:
            superuser.execute("GRANT SELECT ON pg_stat_statements TO metrics")
            found = found_by("outliers")
        finally:
            superuser.execute("DROP VIEW pg_stat_statements")

    assert found == [
        {
            "severity": Severity.WARNING,
            "total_seconds": 7.2,
            "calls": 3,
            "mean_ms": 2400.0,
            "rows": 9,
            "query": "SELECT ?, $1",
        }
    ]


def test_a_check_that_waits_for_a_lock_gives_up_and_the_others_go_on(table: Connection) -> None:
    with table.transaction():
        table.execute("LOCK TABLE inspected IN ACCESS EXCLUSIVE MODE")

        found = inspect(["sizes", "connections"])

    assert found["sizes"] == [Unchecked(severity=Severity.NOTICE, reason="LockNotAvailable")]
    assert len(found["connections"]) > 1


@pytest.mark.parametrize(
    ("hit", "missed", "severity", "ratio"),
    [
        (0, 0, Severity.OK, None),
        (10, 90, Severity.OK, 0.1),
        (99_500, 500, Severity.OK, 0.995),
        (97_000, 3_000, Severity.NOTICE, 0.97),
        (90_000, 10_000, Severity.WARNING, 0.9),
    ],
)
def test_a_cache_that_is_missed_often_is_worse(
    hit: int, missed: int, severity: Severity, ratio: float | None
) -> None:
    found = server._cache_hit("tables", hit, missed)

    assert (found.severity, found.hit_ratio) == (severity, ratio)


def test_a_table_is_as_bad_as_its_waste_or_its_dead_rows() -> None:
    row = {"table": "t", "live_rows": 1, "dead_rows": 0, "dead_share": 0.0, "bytes": 100 << 20}
    row |= {"vacuumed_at": None, "analyzed_at": None}

    assert isinstance(_bloat(row, None), Bloat)
    assert _bloat(row, None).severity == Severity.OK
    assert _bloat(row, 40 << 20).severity == Severity.NOTICE
    assert _bloat(row, 70 << 20).severity == Severity.WARNING
    assert _bloat(row | {"dead_rows": 999, "dead_share": 0.9}, 0).severity == Severity.OK
    assert _bloat(row | {"dead_rows": 1000, "dead_share": 0.3}, 0).severity == Severity.NOTICE


def test_the_worst_of_all_findings_counts() -> None:
    notice = Unchecked(severity=Severity.NOTICE, reason="")
    fine = Unchecked(severity=Severity.OK, reason="")

    assert worst({}) == Severity.OK
    assert worst({"a": [notice, fine], "b": []}) == Severity.NOTICE
    assert severity_of(None, notice=1, warning=2) == Severity.OK
    assert severity_of(2, notice=1, warning=2) == Severity.NOTICE


def without(alias: str) -> dict[str, Any]:
    return {name: entry for name, entry in connections.settings.items() if name != alias}


def test_without_its_login_nothing_is_inspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "settings", without("metrics"))

    with pytest.raises(MissingLoginError, match="Set DATABASE_METRICS_URL"):
        inspect()


@not_through_pgbouncer
def test_a_login_that_is_refused_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    connections["metrics"].close()
    monkeypatch.setitem(connections["metrics"].settings_dict, "PASSWORD", "wrong")

    with pytest.raises(OperationalError, match="metrics"):
        inspect(["sizes"])


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT 'it''s', 'a' || 'b'", "SELECT ?, ? || ?"),
        ("SELECT E'a\\'b''c', e'\\\\', 'next'", "SELECT ?, ?, ?"),
        ("SELECT 'C:\\', word", "SELECT ?, word"),
        ("SELECT U&'d\\0061t', x'1F', B'01', N'n'", "SELECT ?, ?, ?, ?"),
        ("SELECT $$a 'b' $x$ c$$, $x$ $$ $x$, $1", "SELECT ?, ?, $1"),
        (
            "SELECT 1, -2.5, .5, 1e-10, 0xFF, 1_000, a1, t2.b3",
            "SELECT ?, -?, ?, ?, ?, ?, a1, t2.b3",
        ),
        ("SELECT \"a 1 'b'\" FROM t", "SELECT \"a 1 'b'\" FROM t"),
        ("SELECT a -- word\nFROM t", "SELECT a FROM t"),
        ("SELECT /* word /* 'nested */ word */ a", "SELECT a"),
        ("SELECT '/* no comment', a", "SELECT ?, a"),
        ("SELECT a$b$c, date'2026-01-01'", "SELECT a$b$c, date?"),
        ("SELECT 'cut off", "SELECT ?"),
        ("SELECT E'cut off\\", "SELECT ?"),
        ("SELECT $tag$cut off", "SELECT ?"),
        ("SELECT /* cut off", "SELECT"),
        ("SELECT /* cut /* off */", "SELECT"),
        ("SELECT\n\ta,\x1b[31m 'Ω'", "SELECT a, [? ?"),
        ("", ""),
    ],
)
def test_every_literal_is_masked(query: str, shown: str) -> None:
    assert masked(query) == shown


def test_a_long_text_is_cut() -> None:
    assert masked("SELECT " + "a, " * 200) == ("SELECT " + "a, " * 200)[: LONGEST_SHOWN - 1] + "…"


WORD = "marzipan"


@given(st.lists(st.tuples(st.text(), st.text()), max_size=4), st.integers(min_value=0))
def test_no_word_of_a_literal_is_ever_shown(texts: list[tuple[str, str]], cut: int) -> None:
    """As the driver writes them, wherever the server cuts the text off."""
    literals = [
        psycopg.sql.Literal((before + WORD + after).replace("\0", "")).as_string(None)
        for before, after in texts
    ]
    query = "SELECT " + ", ".join([*literals, "a"])

    assert WORD not in masked(query)
    assert WORD not in masked(query[: cut % (len(query) + 1)])
