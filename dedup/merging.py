"""The merge of a staged file into what is kept: a fixed sequence of statements on sets.

Identity, first that applies: (1) the source's own id, where equal content is a duplicate and
other content a revision; (2) an alias (`dedup.aliases`). Watermark and hashes are statistics.
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.db import connection

from dedup.aliases import Candidate, resolve_aliases
from dedup.hashing import HASH_VERSION
from dedup.ordering import merged_order

# Rows of one file with equal time, response id and content that may be copies of one another.
MOST_ALIKE = 20

# A message of the file, and its position if it has one.
Shown = tuple[UUID, int | None]


@dataclass(frozen=True)
class Target:
    """Where a staged file goes. A file without a conversation has no messages."""

    user_id: UUID
    import_id: UUID
    source: str
    conversation_id: UUID | None


@dataclass(frozen=True)
class MergeCounts:
    """What the merge of one file found; new + duplicates + revisions = messages."""

    records: int
    messages: int
    new: int
    duplicates: int
    revisions: int
    collisions: int
    unreadable: int
    last_sent_at: datetime | None


# One row for each id in the file, with the message that has it, directly or as an alias.
RESOLVE = """
    CREATE TEMPORARY TABLE resolved ON COMMIT DROP AS
    SELECT s.native_key, s.ordinal, COALESCE(m.id, a.message_id) AS message_id, false AS fresh
    FROM (SELECT native_key, min(ordinal) AS ordinal FROM staged
          WHERE native_key IS NOT NULL GROUP BY native_key) s
    LEFT JOIN dedup_message m
      ON m.user_id = %(user_id)s AND m.source = %(source)s AND m.native_key = s.native_key
    LEFT JOIN dedup_alias a
      ON a.user_id = %(user_id)s AND a.source = %(source)s AND a.native_key = s.native_key;
    ALTER TABLE resolved ADD PRIMARY KEY (native_key);
    ANALYZE resolved
"""

# Rows with unknown ids beside the earlier ones, stored or of this file, that agree with them
# in time, response id and content hash (which covers the role). The file is of the lineage of
# a conversation with which it shares a message by id or a model's response.
ALIAS_CANDIDATES = """
    WITH unknown AS (
        SELECT s.ordinal, s.native_key, COALESCE(p.native_key, s.parent_key) AS parent_key,
               s.api_id, s.sent_at, s.content_hash,
               count(*) OVER (PARTITION BY s.sent_at, s.api_id, s.content_hash) AS alike
        FROM resolved r JOIN staged s USING (ordinal)
        LEFT JOIN dedup_alias pa ON pa.user_id = %(user_id)s AND pa.source = %(source)s
          AND pa.native_key = s.parent_key
        LEFT JOIN dedup_message p ON p.id = pa.message_id
        WHERE r.message_id IS NULL AND s.sent_at IS NOT NULL
    ),
    -- So many that agree are no copies of one message; to compare them all would be quadratic.
    fresh AS MATERIALIZED (SELECT * FROM unknown WHERE alike <= %(most_alike)s),
    known AS MATERIALIZED (
        SELECT m.id, m.sent_at, m.api_id, v.content_hash
        FROM dedup_message m
        JOIN dedup_revision v ON v.message_id = m.id AND v.hash_version = %(hash_version)s
        WHERE m.user_id = %(user_id)s AND m.source = %(source)s
          AND m.sent_at IN (SELECT sent_at FROM fresh)
    ),
    -- Joined apart, by hash: an export may give one time to all of its messages.
    agreeing AS MATERIALIZED (
        SELECT f.ordinal, k.id FROM fresh f JOIN known k USING (sent_at, api_id, content_hash)
    ),
    lineage AS (
        SELECT %(conversation_id)s::uuid AS conversation_id
        UNION
        SELECT m.conversation_id FROM resolved r JOIN dedup_message m ON m.id = r.message_id
        UNION
        SELECT m.conversation_id FROM agreeing a JOIN dedup_message m USING (id)
        WHERE m.api_id <> ''
    )
    SELECT f.ordinal, m.message_index AS earlier, f.native_key, f.parent_key, f.api_id,
           m.native_key, COALESCE(p.native_key, m.parent_key), m.api_id,
           m.conversation_id IN (SELECT conversation_id FROM lineage)
    FROM agreeing
    JOIN fresh f USING (ordinal)
    JOIN dedup_message m USING (id)
    LEFT JOIN dedup_alias pa ON pa.user_id = %(user_id)s AND pa.source = %(source)s
      AND pa.native_key = m.parent_key
    LEFT JOIN dedup_message p ON p.id = pa.message_id
    UNION ALL
    SELECT f.ordinal, e.ordinal, f.native_key, f.parent_key, f.api_id,
           e.native_key, e.parent_key, e.api_id, true
    FROM fresh f
    JOIN fresh e ON e.sent_at = f.sent_at AND e.api_id = f.api_id
      AND e.content_hash = f.content_hash AND e.ordinal < f.ordinal
    ORDER BY 1, 2
"""

# An id of this file that is another name of a message of this file waits for its insertion.
INSERT_MESSAGES = """
    WITH inserted AS (
        INSERT INTO dedup_message (user_id, conversation_id, source, native_key, parent_key,
                                   message_index, sent_at, api_id)
        SELECT %(user_id)s, %(conversation_id)s, %(source)s, s.native_key, s.parent_key,
               %(next_index)s - 1 + row_number() OVER (ORDER BY s.ordinal), s.sent_at, s.api_id
        FROM resolved r JOIN staged s USING (ordinal)
        WHERE r.message_id IS NULL AND NOT r.native_key = ANY(%(aliases)s)
        ORDER BY s.ordinal
        RETURNING id, native_key
    )
    UPDATE resolved r SET message_id = inserted.id, fresh = true
    FROM inserted WHERE inserted.native_key = r.native_key
"""

INSERT_ALIASES = """
    WITH pairs AS (SELECT * FROM unnest(%(aliases)s::text[], %(canonical)s::text[])
                   AS pair (native_key, canonical_key)),
    inserted AS (
        INSERT INTO dedup_alias (user_id, message_id, source, native_key)
        SELECT %(user_id)s, m.id, %(source)s, pairs.native_key
        FROM pairs JOIN dedup_message m ON m.user_id = %(user_id)s AND m.source = %(source)s
          AND m.native_key = pairs.canonical_key
        RETURNING message_id, native_key
    )
    UPDATE resolved r SET message_id = inserted.message_id
    FROM inserted WHERE inserted.native_key = r.native_key
"""

# Contents that a message has not had yet, at their first place in the file. The OR keeps the
# planner from an anti-join, which is quadratic while a table that has just grown is not analysed.
INSERT_REVISIONS = """
    INSERT INTO dedup_revision (user_id, message_id, role, content, text, content_hash,
                                hash_version, raw, raw_sha256, metadata)
    SELECT %(user_id)s, t.message_id, s.role, s.content, s.text, s.content_hash,
           %(hash_version)s, s.raw, s.raw_sha256, s.metadata
    FROM (SELECT r.message_id, s.content_hash, min(s.ordinal) AS ordinal, bool_or(r.fresh) AS fresh
          FROM staged s JOIN resolved r USING (native_key)
          GROUP BY r.message_id, s.content_hash) t
    JOIN staged s USING (ordinal)
    WHERE t.fresh OR NOT EXISTS (
        SELECT FROM dedup_revision v WHERE v.message_id = t.message_id
          AND v.hash_version = %(hash_version)s AND v.content_hash = t.content_hash)
    ORDER BY s.ordinal
"""

# Each place in the file with its revision, and whether the revision's bytes are the file's.
OBSERVE = """
    CREATE TEMPORARY TABLE observed ON COMMIT DROP AS
    SELECT s.ordinal, s.raw_sha256, s.unreadable, v.id AS revision_id,
           v.raw_sha256 IS DISTINCT FROM s.raw_sha256 AS needs_record
    FROM staged s
    LEFT JOIN resolved r USING (native_key)
    LEFT JOIN dedup_revision v ON v.message_id = r.message_id
      AND v.hash_version = %(hash_version)s AND v.content_hash = s.content_hash;
    ANALYZE observed
"""

INSERT_RECORDS = """
    INSERT INTO dedup_record (user_id, sha256, raw)
    SELECT %(user_id)s, s.raw_sha256, s.raw
    FROM (SELECT min(ordinal) AS ordinal FROM observed WHERE needs_record GROUP BY raw_sha256) o
    JOIN staged s USING (ordinal)
    WHERE NOT EXISTS (SELECT FROM dedup_record d
                      WHERE d.user_id = %(user_id)s AND d.sha256 = s.raw_sha256)
    ORDER BY s.ordinal
"""

INSERT_OBSERVATIONS = """
    INSERT INTO dedup_observation (user_id, import_id, ordinal, revision_id, record_id, unreadable)
    SELECT %(user_id)s, %(import_id)s, o.ordinal, o.revision_id, d.id, o.unreadable
    FROM observed o
    LEFT JOIN dedup_record d ON o.needs_record
      AND d.user_id = %(user_id)s AND d.sha256 = o.raw_sha256
    ORDER BY o.ordinal
"""

COUNT = """
    SELECT count(*), count(s.native_key), count(*) FILTER (WHERE s.unreadable),
           (SELECT count(*) FROM resolved WHERE fresh), max(s.sent_at)
    FROM staged s
"""

# New messages whose content the conversation had in another message, earlier or above.
COUNT_COLLISIONS = """
    SELECT COALESCE(sum(new - CASE WHEN old = 0 THEN 1 ELSE 0 END), 0)::integer
    FROM (SELECT count(*) FILTER (WHERE m.message_index >= %(next_index)s) AS new,
                 count(*) FILTER (WHERE m.message_index < %(next_index)s) AS old
          FROM dedup_message m
          JOIN dedup_revision v ON v.message_id = m.id AND v.hash_version = %(hash_version)s
          WHERE m.conversation_id = %(conversation_id)s
          GROUP BY v.content_hash) c
    WHERE new > 0
"""

# The messages of the file in its order, each once, and where they stand already.
SHOWN = """
    SELECT r.message_id, p.position
    FROM (SELECT message_id, min(ordinal) AS ordinal FROM resolved GROUP BY message_id) r
    LEFT JOIN dedup_placement p ON p.segment_id = %(segment_id)s AND p.message_id = r.message_id
    ORDER BY r.ordinal
"""

PLACE = """
    INSERT INTO dedup_placement (user_id, segment_id, message_id, position)
    SELECT %(user_id)s, %(segment_id)s, t.message_id, %(first)s + t.place - 1
    FROM unnest(%(messages)s::uuid[]) WITH ORDINALITY AS t (message_id, place)
"""

MOVE = """
    UPDATE dedup_placement p SET position = t.place - 1
    FROM unnest(%(messages)s::uuid[]) WITH ORDINALITY AS t (message_id, place)
    WHERE p.segment_id = %(segment_id)s AND p.message_id = t.message_id
      AND p.position <> t.place - 1
"""

PLACED = """
    SELECT message_id FROM dedup_placement WHERE segment_id = %(segment_id)s ORDER BY position
"""

SENT = """
    SELECT id, sent_at FROM dedup_message WHERE id = ANY(%(messages)s) AND sent_at IS NOT NULL
"""

IS_EARLIER = """
    SELECT (SELECT min(m.sent_at) FROM dedup_message m WHERE m.id = ANY(%(messages)s))
         < (SELECT min(m.sent_at) FROM dedup_placement p JOIN dedup_message m ON m.id = p.message_id
            WHERE p.segment_id = %(segment_id)s)
"""


def merge_staged(target: Target) -> MergeCounts:
    """Afterwards everything of the staged file is kept, each message once and in order.

    Needs the lock of the person's archive: a concurrent merge could bring the same message.
    """
    values = {
        "user_id": target.user_id,
        "import_id": target.import_id,
        "source": target.source,
        "conversation_id": target.conversation_id,
        "hash_version": HASH_VERSION,
        "most_alike": MOST_ALIKE,
    }
    _run(RESOLVE, values)
    aliases = _find_aliases(values)
    values |= {"aliases": list(aliases), "canonical": list(aliases.values())}
    if target.conversation_id:
        values["next_index"] = _next_index(target.conversation_id)
        _run(INSERT_MESSAGES, values)
    if aliases:
        _run(INSERT_ALIASES, values)
    revisions = _run(INSERT_REVISIONS, values)
    _run(OBSERVE, values)
    _run(INSERT_RECORDS, values)
    _run(INSERT_OBSERVATIONS, values)
    if target.conversation_id:
        _place(target.user_id, target.conversation_id)
    return _count(values, revisions)


def _find_aliases(values: dict[str, Any]) -> dict[str, str]:
    return resolve_aliases(Candidate(*row[2:]) for row in _rows(ALIAS_CANDIDATES, values))


def _next_index(conversation_id: UUID) -> int:
    ((highest,),) = _rows(
        "SELECT max(message_index) FROM dedup_message WHERE conversation_id = %(id)s",
        {"id": conversation_id},
    )
    return 0 if highest is None else highest + 1


def _count(values: dict[str, Any], revisions: int) -> MergeCounts:
    ((records, messages, unreadable, new, last_sent_at),) = _rows(COUNT, values)
    collisions = 0
    if new:
        ((collisions,),) = _rows(COUNT_COLLISIONS, values)
    # Every new message brought its first content; what is beyond that are revisions.
    return MergeCounts(
        records=records,
        messages=messages,
        new=new,
        duplicates=messages - revisions,
        revisions=revisions - new,
        collisions=collisions,
        unreadable=unreadable,
        last_sent_at=last_sent_at,
    )


def _place(user_id: UUID, conversation_id: UUID) -> None:
    """Give every message of the file its place in the conversation's order."""
    segment_id = _segment(user_id, conversation_id)
    values: dict[str, Any] = {"user_id": user_id, "segment_id": segment_id}
    shown = _rows(SHOWN, values)
    new = [message for message, position in shown if position is None]
    ((end,),) = _rows(
        "SELECT COALESCE(max(position) + 1, 0) FROM dedup_placement"
        " WHERE segment_id = %(segment_id)s",
        values,
    )
    order = None if _continues(shown, end) else _new_order(shown, new, values)
    if new:
        _run(PLACE, values | {"messages": new, "first": end})
    if order:
        _run(MOVE, values | {"messages": order})


def _new_order(shown: list[Shown], new: list[UUID], values: dict[str, Any]) -> list[UUID] | None:
    """The whole segment's order where a file puts messages elsewhere than at its end.

    Where the file and the placements contradict each other, parts may have come before the
    whole: of the two orders the one that goes back in time less often is right, and what is
    placed if they do so alike. None where nothing moves.
    """
    positions = [position for _, position in shown if position is not None]
    agree = positions == sorted(positions)
    if agree and not new:
        return None
    placed = [message for (message,) in _rows(PLACED, values)]
    if not positions and _rows(IS_EARLIER, values | {"messages": new}) == [(True,)]:
        return new + placed
    order = [message for message, _ in shown]
    kept = merged_order(placed, order)
    if agree:
        return kept
    sent = dict(_rows(SENT, {"messages": kept}))
    return min(kept, merged_order(order, placed), key=lambda ids: _steps_back(ids, sent))


def _steps_back(order: list[UUID], sent: dict[UUID, datetime]) -> int:
    """How often the time goes back from one message to the next."""
    times = [sent[message] for message in order if message in sent]
    return sum(later < earlier for earlier, later in pairwise(times))


def _continues(shown: list[Shown], end: int) -> bool:
    """Whether the file only adds at the end: known messages, the last placed one, new ones."""
    positions = [position for _, position in shown]
    known = next((i for i, position in enumerate(positions) if position is None), len(positions))
    if any(position is not None for position in positions[known:]):
        return False
    return end == 0 or (known > 0 and positions[known - 1] == end - 1)


def _segment(user_id: UUID, conversation_id: UUID) -> UUID:
    """The one segment of a conversation whose messages have ids of their own."""
    values = {"user_id": user_id, "conversation_id": conversation_id}
    _run(
        "INSERT INTO dedup_segment (user_id, conversation_id, number)"
        " VALUES (%(user_id)s, %(conversation_id)s, 0) ON CONFLICT DO NOTHING",
        values,
    )
    ((segment_id,),) = _rows(
        "SELECT id FROM dedup_segment WHERE conversation_id = %(conversation_id)s AND number = 0",
        values,
    )
    found: UUID = segment_id
    return found


def _run(statement: str, values: dict[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def _rows(statement: str, values: dict[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
