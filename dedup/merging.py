"""The merge of a staged file into what is kept: a fixed sequence of statements on sets.

Identity, first that applies: (1) the source's own id, where equal content is a duplicate and
other content a revision; (2) an alias (`dedup.aliases`); (3) where the source gives out no ids,
the neighbours (`dedup.matching`, which gives ids before the merge). Watermark and hashes are
statistics.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import DatabaseError, transaction

from dedup.aliases import Candidate, resolve_aliases
from dedup.choices import Source
from dedup.hashing import HASH_VERSION
from dedup.matching import Found
from dedup.placing import join_segments, new_segment, place_messages
from dedup.statements import rows, run

logger = logging.getLogger(__name__)

# Rows of one file with equal time, response id and content that may be copies of one another.
MOST_ALIKE = 20

# While the planner expects no more messages of a person, to go through all of them looks cheaper
# than an id; where there are this many, it is not.
HARDLY_ANY = 20
QUITE_SOME = 500
# ANALYZE looks at 30,000 rows: whoever has a smaller part of them may not be seen.
SEEN_PART = 3000


@dataclass(frozen=True)
class Target:
    """Where a staged file goes; `beginnings` are the imports of files with which it begins."""

    user_id: UUID
    import_id: UUID
    source: Source
    beginnings: Sequence[UUID] = ()


@dataclass(frozen=True)
class MergeCounts:
    """What a file brought to one conversation; the rest of its messages were duplicates."""

    messages: int = 0
    new: int = 0
    revisions: int = 0
    collisions: int = 0

    @property
    def duplicates(self) -> int:
        return self.messages - self.new - self.revisions

    def plus(self, other: "MergeCounts") -> "MergeCounts":
        return MergeCounts(
            self.messages + other.messages,
            self.new + other.new,
            self.revisions + other.revisions,
            self.collisions + other.collisions,
        )


LIST_CONVERSATIONS = """
    INSERT INTO staged_conversation
    SELECT g.number, g.id, g.segment_id, g.messages, g.unkeyed,
           (SELECT COALESCE(max(m.message_index) + 1, 0) FROM dedup_message m
            WHERE m.conversation_id = g.id)
    FROM unnest(%(numbers)s::integer[], %(ids)s::uuid[], %(segments)s::uuid[],
                %(messages)s::integer[], %(unkeyed)s::boolean[])
      AS g (number, id, segment_id, messages, unkeyed);
    ANALYZE staged_conversation
"""

RESOLVE = """
    INSERT INTO resolved
    SELECT s.native_key, s.ordinal, COALESCE(m.id, a.message_id), false
    FROM (SELECT native_key, min(ordinal) AS ordinal FROM staged
          WHERE native_key IS NOT NULL GROUP BY native_key) s
    LEFT JOIN dedup_message m
      ON m.user_id = %(user_id)s AND m.source = %(source)s AND m.native_key = s.native_key
    LEFT JOIN dedup_alias a
      ON a.user_id = %(user_id)s AND a.source = %(source)s AND a.native_key = s.native_key;
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

# An id of this file that is another name of a message of this file waits for its insertion. The
# planner must learn that many rows are fresh, or it joins them one by one.
INSERT_MESSAGES = """
    WITH inserted AS (
        INSERT INTO dedup_message (user_id, conversation_id, source, native_key, parent_key,
                                   native_index, message_index, sent_at, api_id)
        SELECT %(user_id)s, c.conversation_id, %(source)s, s.native_key, s.parent_key,
               s.native_index,
               c.next_index - 1 + row_number()
                   OVER (PARTITION BY c.conversation_id ORDER BY s.place, s.ordinal),
               s.sent_at, s.api_id
        FROM resolved r
        JOIN staged s USING (ordinal)
        JOIN staged_conversation c ON c.number = s.conversation
        WHERE r.message_id IS NULL AND NOT r.native_key = ANY(%(aliases)s::text[])
        ORDER BY s.ordinal
        RETURNING id, native_key
    )
    UPDATE resolved r SET message_id = inserted.id, fresh = true
    FROM inserted WHERE inserted.native_key = r.native_key;
    ANALYZE resolved
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

# The OR keeps the planner from an anti-join, which is quadratic while a table that has just grown
# is not analysed.
ADD = """
    INSERT INTO added
    SELECT t.ordinal, t.message_id
    FROM (SELECT r.message_id, s.content_hash, min(s.ordinal) AS ordinal, bool_or(r.fresh) AS fresh
          FROM staged s JOIN resolved r USING (native_key)
          GROUP BY r.message_id, s.content_hash) t
    WHERE t.fresh OR NOT EXISTS (
        SELECT FROM dedup_revision v WHERE v.message_id = t.message_id
          AND v.hash_version = %(hash_version)s AND v.content_hash = t.content_hash);
    ANALYZE added
"""

INSERT_REVISIONS = """
    INSERT INTO dedup_revision (user_id, message_id, role, content, text, secrets, content_hash,
                                hash_version, raw, raw_sha256, metadata, search)
    SELECT %(user_id)s, a.message_id, s.role, s.content, s.text, s.secrets, s.content_hash,
           %(hash_version)s, s.raw, s.raw_sha256, s.metadata, s.search
    FROM added a JOIN staged s USING (ordinal)
    ORDER BY s.ordinal
"""

OBSERVE = """
    INSERT INTO observed
    SELECT s.ordinal, s.raw_sha256, s.unreadable, v.id,
           v.raw_sha256 IS DISTINCT FROM s.raw_sha256
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

# What the file brought to each conversation. A message counts as new where it came first.
COUNT = """
    SELECT c.conversation_id, sum(t.messages)::integer, sum(t.new)::integer,
           sum(t.added - t.new)::integer
    FROM (SELECT conversation, count(*) AS messages, 0 AS new, 0 AS added
          FROM staged WHERE native_key IS NOT NULL GROUP BY conversation
          UNION ALL
          SELECT s.conversation, 0, count(*), 0
          FROM resolved r JOIN staged s USING (ordinal) WHERE r.fresh GROUP BY s.conversation
          UNION ALL
          SELECT s.conversation, 0, 0, count(*)
          FROM added a JOIN staged s USING (ordinal) GROUP BY s.conversation) t
    JOIN staged_conversation c ON c.number = t.conversation
    GROUP BY c.conversation_id
"""

# New messages whose content the conversation had in another message, earlier or above. As a join
# the planner would begin with all messages of the conversation, for each content anew.
COUNT_COLLISIONS = """
    SELECT conversation_id, sum(new - CASE WHEN known THEN 0 ELSE 1 END)::integer
    FROM (SELECT g.conversation_id, g.new, g.next_index > 0 AND EXISTS (
              SELECT FROM dedup_revision v
              WHERE v.content_hash = g.content_hash AND v.hash_version = %(hash_version)s
                AND (SELECT m.conversation_id = g.conversation_id
                            AND m.message_index < g.next_index
                     FROM dedup_message m WHERE m.id = v.message_id)
          ) AS known
          FROM (SELECT c.conversation_id, c.next_index, s.content_hash, count(*) AS new
                FROM added a
                JOIN staged s USING (ordinal)
                JOIN resolved r USING (native_key)
                JOIN staged_conversation c ON c.number = s.conversation
                WHERE r.fresh
                GROUP BY c.conversation_id, c.next_index, s.content_hash) g) counted
    GROUP BY conversation_id
"""

EXPECTED = "EXPLAIN (FORMAT JSON) SELECT FROM dedup_message WHERE user_id = %(user_id)s"

# No more than matter are counted.
HAS_MANY = """
    WITH many AS (
        SELECT GREATEST(%(least)s, reltuples::bigint / %(part)s) AS number
        FROM pg_class WHERE oid = 'dedup_message'::regclass
    )
    SELECT count(*) = (SELECT number FROM many)
    FROM (SELECT FROM dedup_message WHERE user_id = %(user_id)s
          LIMIT (SELECT number FROM many)) message
"""


def merge_staged(target: Target, conversations: Sequence[Found]) -> dict[UUID, MergeCounts]:
    """Afterwards everything of the staged file is kept, each message once and in order.

    Returns what came to each conversation. Every conversation has a row, and every staged
    message an id. Needs the lock of the person's archive: a concurrent merge could bring the
    same message.
    """
    values: dict[str, Any] = {
        "user_id": target.user_id,
        "import_id": target.import_id,
        "source": target.source,
        "hash_version": HASH_VERSION,
        "most_alike": MOST_ALIKE,
    }
    _ensure_planner_knows(target.user_id)
    run(LIST_CONVERSATIONS, _conversation_values(target.user_id, conversations))
    run(RESOLVE, values)
    aliases = _find_aliases(target, conversations, values)
    values |= {"aliases": list(aliases), "canonical": list(aliases.values())}
    run(INSERT_MESSAGES, values)
    if aliases:
        run(INSERT_ALIASES, values)
    run(ADD, values)
    run(INSERT_REVISIONS, values)
    run(OBSERVE, values)
    run(INSERT_RECORDS, values)
    run(INSERT_OBSERVATIONS, values)
    place_messages(target.user_id, target.beginnings)
    return _count(values)


def _ensure_planner_knows(user_id: UUID) -> None:
    """Afterwards no statement is planned as if a person with many messages had none.

    Whoever the statistics do not know counts as one row, and joins are then made row by row
    through everything that the person has. The lock of the archive is passed on as an import is
    committed: what that import tells the planner comes later than the next merge begins.
    """
    values = {"user_id": user_id, "least": QUITE_SOME, "part": SEEN_PART}
    (((expected,),),) = rows(EXPECTED, values)
    if expected["Plan"]["Plan Rows"] > HARDLY_ANY or rows(HAS_MANY, values) != [(True,)]:
        return
    try:
        with transaction.atomic():
            # Another import may have the tables until its end.
            run("SET LOCAL lock_timeout = '10s'")
            run("SELECT dedup_refresh_planner_statistics()")
            run("SET LOCAL lock_timeout TO DEFAULT")
    except DatabaseError as error:
        # Slower, perhaps; a command has nobody to tell.
        logger.info("merging with old statistics: %s", error)


def _conversation_values(user_id: UUID, conversations: Sequence[Found]) -> dict[str, Any]:
    staged = [found.conversation for found in conversations]
    return {
        "numbers": [conversation.number for conversation in staged],
        "ids": [found.conversation_id for found in conversations],
        "segments": [_segment(user_id, found) for found in conversations],
        "messages": [conversation.messages for conversation in staged],
        "unkeyed": [conversation.unkeyed for conversation in staged],
    }


def _segment(user_id: UUID, found: Found) -> UUID | None:
    """The segment of an export without ids; those that it bridges become one."""
    if not found.conversation.unkeyed or found.conversation_id is None:
        return None
    if not found.segments:
        return new_segment(user_id, found.conversation_id)
    first, *others = found.segments
    join_segments(first, others)
    return first


def _find_aliases(
    target: Target, conversations: Sequence[Found], values: dict[str, Any]
) -> dict[str, str]:
    """Only Claude Code writes a session again under other ids, one to a file."""
    if target.source != Source.CLAUDE_CODE or not conversations:
        return {}
    values = values | {"conversation_id": conversations[0].conversation_id}
    return resolve_aliases(Candidate(*row[2:]) for row in rows(ALIAS_CANDIDATES, values))


def _count(values: dict[str, Any]) -> dict[UUID, MergeCounts]:
    counted = {id_: (messages, new, other) for id_, messages, new, other in rows(COUNT, values)}
    collisions = dict(rows(COUNT_COLLISIONS, values))
    return {
        conversation: MergeCounts(*counts, collisions=collisions.get(conversation, 0))
        for conversation, counts in counted.items()
    }
