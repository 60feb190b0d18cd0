"""Ids for messages whose source gives out none: identity rule 3, between file and database.

What an export shows is laid beside the stored segments (`dedup.alignment`). A message that is
found there gets the stored one's id, the rest get ids of their own: import and ordinal.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from uuid import UUID

from dedup.alignment import Shown, Stored, assign
from dedup.choices import Source
from dedup.hashing import HASH_VERSION
from dedup.staging import StagedConversation
from dedup.statements import rows, run

# A content that stands in more places than this says nothing about a conversation.
MOST_PLACES = 20
# Stored segments that are looked at for one conversation whose name says nothing certain.
MOST_CANDIDATES = 10
LEAST_SHARED = 2


@dataclass(frozen=True)
class Found:
    """Where a conversation of the file belongs: the stored segments that it overlaps, in its
    order, if there are any. `parts` are conversations of which it shows that they are one."""

    conversation: StagedConversation
    conversation_id: UUID | None
    segments: tuple[UUID, ...] = ()
    parts: tuple[UUID, ...] = ()

    @property
    def known_id(self) -> UUID:
        """Once every conversation has a row."""
        assert self.conversation_id is not None  # noqa: S101 - says it to the type checker
        return self.conversation_id


@dataclass(frozen=True, slots=True)
class Placed:
    """A stored message at its place in a segment."""

    native_key: str
    message: Stored


SHOWN = """
    SELECT conversation, ordinal, content_hash, role FROM staged
    WHERE native_key = '' ORDER BY conversation, place, ordinal
"""

OF_CONVERSATION = """
    SELECT s.id FROM dedup_segment s
    WHERE s.conversation_id = %(conversation_id)s
      AND EXISTS (SELECT FROM dedup_placement p WHERE p.segment_id = s.id)
    ORDER BY s.number
"""

# Segments that share contents with a conversation of the file; the contents that it shares
# with everybody do not count.
CANDIDATES = """
    WITH shown AS (
        SELECT DISTINCT conversation, content_hash FROM staged WHERE native_key = ''
    ),
    contents AS MATERIALIZED (SELECT DISTINCT content_hash FROM shown),
    known AS MATERIALIZED (
        SELECT c.content_hash, v.message_id
        FROM contents c CROSS JOIN LATERAL (
            SELECT r.message_id FROM dedup_revision r
            WHERE r.user_id = %(user_id)s AND r.content_hash = c.content_hash
            LIMIT %(most_places)s + 1) v
    ),
    telling AS (
        SELECT content_hash FROM known GROUP BY content_hash HAVING count(*) <= %(most_places)s
    )
    SELECT shown.conversation, g.id
    FROM telling
    JOIN known USING (content_hash)
    JOIN dedup_message m ON m.id = known.message_id AND m.source = %(source)s
    JOIN dedup_placement p ON p.message_id = m.id
    JOIN dedup_segment g ON g.id = p.segment_id
    JOIN shown USING (content_hash)
    GROUP BY shown.conversation, g.id
    HAVING count(DISTINCT content_hash) >= %(least_shared)s
    ORDER BY shown.conversation, count(DISTINCT content_hash) DESC, g.id
"""

MESSAGES = """
    SELECT m.native_key, min(v.role), array_agg(v.content_hash)
    FROM dedup_placement p
    JOIN dedup_message m ON m.id = p.message_id
    JOIN dedup_revision v ON v.message_id = m.id AND v.hash_version = %(hash_version)s
    WHERE p.segment_id = %(segment_id)s
    GROUP BY p.position, m.native_key ORDER BY p.position
"""

CONVERSATIONS = """
    SELECT s.id, COALESCE(c.merged_into_id, c.id)
    FROM dedup_segment s JOIN dedup_conversation c ON c.id = s.conversation_id
    WHERE s.id = ANY(%(segments)s)
"""

GIVE_KEYS = """
    UPDATE staged SET native_key = given.key
    FROM unnest(%(ordinals)s::integer[], %(keys)s::text[]) AS given (ordinal, key)
    WHERE staged.ordinal = given.ordinal
"""


class Matcher:
    """Lays the conversations of one staged file beside what is stored.

    Two conversations of a file are two: each stored message is claimed by one of them at most.
    """

    def __init__(self, user_id: UUID, import_id: UUID, source: Source) -> None:
        self._values = {
            "user_id": user_id,
            "source": source,
            "hash_version": HASH_VERSION,
            "most_places": MOST_PLACES,
            "least_shared": LEAST_SHARED,
        }
        self._import_id = import_id
        self._claimed: set[str] = set()

    def match(
        self, conversations: Iterable[StagedConversation], known: dict[str, UUID]
    ) -> list[Found]:
        """Afterwards every staged message has an id. `known` are conversations by their keys."""
        staged = {conversation.number: conversation for conversation in conversations}
        candidates = self._candidates(staged.values())
        keys: dict[int, str] = {}
        found = []
        for number, group in groupby(rows(SHOWN), key=itemgetter(0)):
            conversation = staged[number]
            shown = [(ordinal, Shown(bytes(content), role)) for _, ordinal, content, role in group]
            match, given = self._match_one(
                conversation, known.get(conversation.header.key), candidates[number], shown
            )
            found.append(match)
            keys |= given
        run(GIVE_KEYS, {"ordinals": list(keys), "keys": list(keys.values())})
        return found

    def _candidates(self, conversations: Iterable[StagedConversation]) -> dict[int, list[UUID]]:
        candidates: dict[int, list[UUID]] = defaultdict(list)
        if all(conversation.header.certain for conversation in conversations):
            return candidates
        for number, segment in rows(CANDIDATES, self._values):
            candidates[number].append(segment)
        return candidates

    def _match_one(
        self,
        conversation: StagedConversation,
        known: UUID | None,
        candidates: Sequence[UUID],
        shown: Sequence[tuple[int, Shown]],
    ) -> tuple[Found, dict[int, str]]:
        if not conversation.header.certain:
            overlapping = self._assign(candidates, shown, certain=False)
            if overlapping:
                segments, given = overlapping
                of = dict(rows(CONVERSATIONS, {"segments": list(segments)}))
                first, *others = (of[segment] for segment in segments)
                parts = tuple({other for other in others if other != first})
                return Found(conversation, first, segments, parts), given
        own = _segments_of(known) if known else []
        if overlapping := self._assign(own, shown, certain=True):
            segments, given = overlapping
            return Found(conversation, known, segments), given
        if known and conversation.header.numbered:
            # The third of a list that was made anew is another conversation.
            conversation.rename(f"{conversation.header.key}~{self._import_id}")
            known = None
        return Found(conversation, known), self._own_keys(shown, {})

    def _assign(
        self, segments: Sequence[UUID], shown: Sequence[tuple[int, Shown]], *, certain: bool
    ) -> tuple[tuple[UUID, ...], dict[int, str]] | None:
        """The segments that the export overlaps, and the ids of its messages by ordinal."""
        looked_at = segments if certain else segments[:MOST_CANDIDATES]
        stored = [self._free_messages(segment) for segment in looked_at]
        assignment = assign(
            [[placed.message for placed in messages] for messages in stored],
            [message for _, message in shown],
            certain=certain,
        )
        if not assignment.segments:
            return None
        matched = {
            place: stored[segment][position].native_key
            for place, (segment, position) in assignment.messages.items()
        }
        self._claimed.update(matched.values())
        chosen = tuple(looked_at[segment] for segment in assignment.segments)
        return chosen, self._own_keys(shown, matched)

    def _own_keys(
        self, shown: Sequence[tuple[int, Shown]], matched: dict[int, str]
    ) -> dict[int, str]:
        return {
            ordinal: matched.get(place) or f"{self._import_id}/{ordinal}"
            for place, (ordinal, _) in enumerate(shown)
        }

    def _free_messages(self, segment: UUID) -> list[Placed]:
        return [
            Placed(key, Stored(frozenset(map(bytes, contents)), role))
            for key, role, contents in rows(MESSAGES, {**self._values, "segment_id": segment})
            if key not in self._claimed
        ]


def _segments_of(conversation_id: UUID) -> list[UUID]:
    return [segment for (segment,) in rows(OF_CONVERSATION, {"conversation_id": conversation_id})]
