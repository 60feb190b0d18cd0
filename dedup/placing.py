"""Where the messages of a staged file stand in the order of their conversations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from operator import itemgetter
from uuid import UUID

from dedup.ordering import merged_order
from dedup.statements import rows, run

# A message of the file, and its position if it has one.
Shown = tuple[UUID, int | None]

# Conversations whose messages have ids of their own have one segment; the others the one that
# the export overlaps, or another one.
ENSURE_SEGMENTS = """
    WITH missing AS (
        SELECT DISTINCT ON (c.conversation_id) c.conversation_id
        FROM staged_conversation c
        WHERE c.messages > 0 AND NOT c.unkeyed AND NOT EXISTS (
            SELECT FROM dedup_segment s WHERE s.conversation_id = c.conversation_id)
    )
    INSERT INTO dedup_segment (user_id, conversation_id, number)
    SELECT %(user_id)s, conversation_id, 0 FROM missing;

    UPDATE staged_conversation c SET segment_id = s.id
    FROM dedup_segment s
    WHERE s.conversation_id = c.conversation_id AND s.number = 0
      AND c.messages > 0 AND NOT c.unkeyed;
"""

NEW_SEGMENT = """
    INSERT INTO dedup_segment (user_id, conversation_id, number)
    SELECT %(user_id)s, %(conversation_id)s, COALESCE(max(number) + 1, 0)
    FROM dedup_segment WHERE conversation_id = %(conversation_id)s
    RETURNING id
"""

# The parts of a segment follow one another; the order of the export is made afterwards.
JOIN_SEGMENT = """
    UPDATE dedup_placement SET segment_id = %(into)s, position = position + (
        SELECT COALESCE(max(position) + 1, 0) FROM dedup_placement WHERE segment_id = %(into)s)
    WHERE segment_id = %(segment)s
"""

# The messages of the file in its order, each once, and where they stand already. Of a file whose
# beginning is kept, what that shows is in order: its last message comes first, and what its end
# shows again moves nothing.
SHOWN = """
    WITH begun AS MATERIALIZED (
        SELECT DISTINCT v.message_id
        FROM resolved r
        JOIN dedup_revision v ON v.message_id = r.message_id
        JOIN dedup_observation o ON o.revision_id = v.id
        WHERE cardinality(%(beginnings)s::uuid[]) > 0
          AND NOT r.fresh AND o.import_id = ANY(%(beginnings)s::uuid[])
    ),
    shown AS (
        SELECT c.segment_id, r.message_id, min(s.place) AS place, min(s.ordinal) AS ordinal
        FROM staged s
        JOIN resolved r USING (native_key)
        JOIN staged_conversation c ON c.number = s.conversation
        WHERE r.message_id NOT IN (SELECT message_id FROM begun)
        GROUP BY c.segment_id, r.message_id
        UNION ALL
        SELECT c.segment_id, last.message_id, -1, -1
        FROM staged_conversation c CROSS JOIN LATERAL (
            SELECT own.message_id
            FROM unnest(%(beginnings)s::uuid[]) AS b (import_id) CROSS JOIN LATERAL (
                SELECT v.message_id, o.ordinal
                FROM dedup_observation o
                JOIN dedup_revision v ON v.id = o.revision_id
                JOIN dedup_placement p ON p.message_id = v.message_id
                WHERE o.import_id = b.import_id AND p.segment_id = c.segment_id
                ORDER BY o.ordinal DESC LIMIT 1) own
            ORDER BY own.ordinal DESC LIMIT 1) last
    )
    SELECT shown.segment_id, shown.message_id, p.position
    FROM shown
    LEFT JOIN dedup_placement p
      ON p.segment_id = shown.segment_id AND p.message_id = shown.message_id
    ORDER BY shown.segment_id, shown.place, shown.ordinal
"""

ENDS = """
    SELECT c.segment_id, (SELECT COALESCE(max(p.position) + 1, 0) FROM dedup_placement p
                          WHERE p.segment_id = c.segment_id)
    FROM staged_conversation c WHERE c.segment_id IS NOT NULL
"""

PLACE = """
    INSERT INTO dedup_placement (user_id, segment_id, message_id, position)
    SELECT %(user_id)s, given.segment_id, given.message_id, given.position
    FROM unnest(%(segments)s::uuid[], %(messages)s::uuid[], %(positions)s::integer[])
      AS given (segment_id, message_id, position)
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


@dataclass(frozen=True)
class Plan:
    """What changes in one segment: messages that come to its end, and then its whole order."""

    segment_id: UUID
    end: int
    new: Sequence[UUID]
    order: Sequence[UUID] | None


def new_segment(user_id: UUID, conversation_id: UUID) -> UUID:
    """A stretch of the conversation of which nothing is known but that it is apart."""
    ((segment_id,),) = rows(NEW_SEGMENT, {"user_id": user_id, "conversation_id": conversation_id})
    found: UUID = segment_id
    return found


def join_segments(into: UUID, others: Iterable[UUID]) -> None:
    """Afterwards the messages of the others stand behind those of `into`, in their order."""
    for segment in others:
        run(JOIN_SEGMENT, {"into": into, "segment": segment})


def place_messages(user_id: UUID, beginnings: Sequence[UUID]) -> None:
    """Give every message of the staged file its place in its conversation's order.

    `beginnings` are the imports of files with which this one begins.
    """
    run(ENSURE_SEGMENTS, {"user_id": user_id})
    ends = dict(rows(ENDS, {}))
    shown_rows = rows(SHOWN, {"beginnings": list(beginnings)})
    plans = []
    for segment_id, shown in groupby(shown_rows, key=itemgetter(0)):
        messages = [(message, position) for _, message, position in shown]
        plans.append(_plan(segment_id, ends[segment_id], messages))
    _place_at_ends(user_id, plans)
    for plan in plans:
        if plan.order:
            run(MOVE, {"segment_id": plan.segment_id, "messages": list(plan.order)})


def _place_at_ends(user_id: UUID, plans: Iterable[Plan]) -> None:
    placed = [
        (plan.segment_id, message, plan.end + place)
        for plan in plans
        for place, message in enumerate(plan.new)
    ]
    if placed:
        segments, messages, positions = map(list, zip(*placed, strict=True))
        values = {"segments": segments, "messages": messages, "positions": positions}
        run(PLACE, {"user_id": user_id, **values})


def _plan(segment_id: UUID, end: int, shown: Sequence[Shown]) -> Plan:
    new = [message for message, position in shown if position is None]
    order = None if _continues(shown, end) else _new_order(segment_id, shown, new)
    return Plan(segment_id, end, new, order)


def _new_order(segment_id: UUID, shown: Sequence[Shown], new: list[UUID]) -> list[UUID] | None:
    """The whole segment's order where a file puts messages elsewhere than at its end.

    Where the file and the placements contradict each other, parts may have come before the
    whole: of the two orders the one that goes back in time less often is right, and what is
    placed if they do so alike. None where nothing moves.
    """
    positions = [position for _, position in shown if position is not None]
    agree = positions == sorted(positions)
    if agree and not new:
        return None
    values = {"segment_id": segment_id}
    placed = [message for (message,) in rows(PLACED, values)]
    if not positions and rows(IS_EARLIER, values | {"messages": new}) == [(True,)]:
        return new + placed
    order = [message for message, _ in shown]
    kept = merged_order(placed, order)
    if agree:
        return kept
    sent = dict(rows(SENT, {"messages": kept}))
    return min(kept, merged_order(order, placed), key=lambda ids: _steps_back(ids, sent))


def _steps_back(order: list[UUID], sent: dict[UUID, datetime]) -> int:
    """How often the time goes back from one message to the next."""
    times = [sent[message] for message in order if message in sent]
    return sum(later < earlier for earlier, later in pairwise(times))


def _continues(shown: Sequence[Shown], end: int) -> bool:
    """Whether the file only adds at the end: known messages, the last placed one, new ones."""
    positions = [position for _, position in shown]
    known = next((i for i, position in enumerate(positions) if position is None), len(positions))
    if any(position is not None for position in positions[known:]):
        return False
    return end == 0 or (known > 0 and positions[known - 1] == end - 1)
