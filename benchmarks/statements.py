"""What one statement costs in each variant. Import this after `django.setup()`.

One execution after the other is done in all variants in turn, with the same keys and in an order
that rotates, so that whatever else goes on meets all of them alike.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import uuid4

from owners import PLAIN, VARIANTS, Connection, connect, some_keys

BATCH = 100
KEYS = 5_000
EXPLAINED = 7

READ_BY_KEY: LiteralString = "SELECT * FROM dedup_conversation WHERE id = %(id)s"
READ_PAGE: LiteralString = """
    SELECT * FROM dedup_conversation WHERE user_id = %(user_id)s
    ORDER BY updated_at DESC LIMIT 50
"""
COUNT: LiteralString = "SELECT count(*) FROM dedup_conversation WHERE user_id = %(user_id)s"
JOIN: LiteralString = """
    SELECT c.id, c.title, s.number
    FROM dedup_conversation c
    JOIN dedup_segment s ON s.user_id = c.user_id AND s.conversation_id = c.id
    WHERE c.user_id = %(user_id)s ORDER BY c.updated_at DESC LIMIT 50
"""
JOIN_BY_KEY: LiteralString = """
    SELECT c.id, c.title, s.number
    FROM dedup_conversation c JOIN dedup_segment s ON s.conversation_id = c.id
    WHERE c.user_id = %(user_id)s ORDER BY c.updated_at DESC LIMIT 50
"""
INSERT: LiteralString = """
    INSERT INTO dedup_conversation (
        user_id, source, native_key, parent_key, title, project, total_messages, metadata)
    VALUES (%(user_id)s, 'claude_code', %(key)s, '', 'A talk', '/home/somebody/project', 0, '{}')
    RETURNING id
"""
UPDATE: LiteralString = """
    UPDATE dedup_conversation
    SET total_messages = total_messages + 1, updated_at = statement_timestamp()
    WHERE id = %(id)s
"""
INSERT_MANY: LiteralString = """
    INSERT INTO dedup_conversation (
        user_id, source, native_key, parent_key, title, project, total_messages, metadata)
    SELECT %(user_id)s, 'claude_code', gen_random_uuid()::text, '', 'A talk',
           '/home/somebody/project', 0, '{}'
    FROM generate_series(1, %(many)s)
"""
ACT: LiteralString = (
    "SELECT set_config('app.user_id', %(user_id)s, true), set_config('app.request_id', '', true)"
)

Values = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """A statement, how often it is executed in one transaction and how it is committed.

    `whole` counts the time of the whole transaction, else that of the statement alone.
    """

    name: str
    label: str
    statement: LiteralString
    times: int
    repeated: int = 1
    whole: bool = True
    waits: bool = False


READS = (
    Measure("read_by_key", "read by key", READ_BY_KEY, 800, whole=False),
    Measure("read_page", "page of the 50 newest", READ_PAGE, 400, whole=False),
    Measure("count", "count of one owner", COUNT, 400, whole=False),
    Measure("join", "page with a join", JOIN, 400, whole=False),
    Measure("join_by_key", "  by the key alone", JOIN_BY_KEY, 60, whole=False),
)
READ_IN_TRANSACTION = Measure("transaction_by_key", "  its transaction", READ_BY_KEY, 400)
SINGLE_INSERTS = (
    Measure("insert", "insert", INSERT, 800),
    Measure("insert_durable", "  commit awaited", INSERT, 400, waits=True),
)
BATCHES = (Measure("insert_100", "100 inserts", INSERT, 20, repeated=BATCH),)
UPDATES = (Measure("update", "update", UPDATE, 800),)
BULK = Measure("insert_select", "INSERT … SELECT", INSERT_MANY, 4)
MEASURES = (
    *READS[:1], READ_IN_TRANSACTION, *READS[1:], *SINGLE_INSERTS, *BATCHES, *UPDATES, BULK,
)  # fmt: skip


class Statements:
    """Sessions in all variants, and the rows to ask for."""

    def __init__(self, sessions: dict[str, Connection], many: int) -> None:
        self._sessions = sessions
        self._many = many
        self._random = random.Random(11)
        self._keys = some_keys(KEYS)

    def timed(self, measure: Measure, times: int) -> dict[str, list[float]]:
        """Seconds of each execution by variant."""
        for session in self._sessions.values():
            waits = "on" if measure.waits else "off"
            session.execute("SELECT set_config('synchronous_commit', %s, false)", [waits])
        found: dict[str, list[float]] = {name: [] for name in VARIANTS}
        warm = max(times // 10, 1)
        for number in range(-warm, times):
            values = self._values()
            first = number % len(VARIANTS)
            for name in VARIANTS[first:] + VARIANTS[:first]:
                took = _execute(self._sessions[name], measure, values)
                if number >= 0:
                    found[name].append(took)
        return found

    def explained(self, measure: Measure) -> dict[str, dict[str, float]]:
        """Milliseconds that the server gives for the statement, by variant; nothing is kept."""
        found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
        for _ in range(EXPLAINED):
            values = self._values()
            for name, session in self._sessions.items():
                found[name].append(_explain(session, measure.statement, values))
        return {
            name: {part: statistics.median(one[part] for one in all_of_it) for part in all_of_it[0]}
            for name, all_of_it in found.items()
        }

    def _values(self) -> Values:
        key, user_id = self._random.choice(self._keys)
        return {"id": key, "user_id": user_id, "many": self._many}


@contextmanager
def statements(many: int) -> Iterator[Statements]:
    with ExitStack() as stack:
        sessions = {name: stack.enter_context(connect(name)) for name in VARIANTS}
        yield Statements(sessions, many)


def measure_statements(
    many: int, share: float, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """For each measure and variant the median and the best time, and both of plain's.

    The rounds go through all measures, so that each is looked at at several times.
    """
    times: dict[str, dict[str, list[float]]] = {}
    with statements(many) as asked:
        for number in range(rounds):
            say(f"statements, round {number + 1} of {rounds}")
            for measure in MEASURES:
                repeated = max(round(measure.times * share), 2)
                for name, spans in asked.timed(measure, repeated).items():
                    times.setdefault(measure.name, {}).setdefault(name, []).extend(spans)
    return {name: _summary(of_variants) for name, of_variants in times.items()}


def profile(many: int) -> dict[str, Any]:
    """Where the server spends the time, as EXPLAIN ANALYZE tells it."""
    with statements(many) as asked:
        chosen = [*READS, SINGLE_INSERTS[0], *UPDATES, BULK]
        return {measure.name: asked.explained(measure) for measure in chosen}


def _summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    median = {name: statistics.median(spans) for name, spans in times.items()}
    best = {name: min(spans) for name, spans in times.items()}
    return {
        name: {
            "median_ms": round(median[name] * 1000, 4),
            "min_ms": round(best[name] * 1000, 4),
            "ratio": round(median[name] / median[PLAIN], 3),
            "min_ratio": round(best[name] / best[PLAIN], 3),
        }
        for name in times
    }


def _execute(session: Connection, measure: Measure, values: Values) -> float:
    begun = time.perf_counter()
    with session.transaction(), session.cursor() as cursor:
        cursor.execute(ACT, {"user_id": str(values["user_id"])})
        started = time.perf_counter()
        for _ in range(measure.repeated):
            cursor.execute(measure.statement, values | {"key": str(uuid4())})
            if cursor.description:
                cursor.fetchall()
        ended = time.perf_counter()
    return time.perf_counter() - begun if measure.whole else ended - started


def _explain(session: Connection, statement: LiteralString, values: Values) -> dict[str, float]:
    with session.transaction(force_rollback=True), session.cursor() as cursor:
        cursor.execute(ACT, {"user_id": str(values["user_id"])})
        cursor.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + statement, values | {"key": str(uuid4())}
        )
        rows: list[Any] = cursor.fetchall()
    (((told,),),) = rows
    return {
        "planning_ms": told["Planning Time"],
        "execution_ms": told["Execution Time"],
        "triggers_ms": sum(trigger["Time"] for trigger in told.get("Triggers", [])),
    }
