"""The rows of the conversations that a file holds, and their statistics."""

from collections.abc import Iterable, Sequence
from json import dumps
from uuid import UUID

from dedup.choices import Source
from dedup.hashing import storable
from dedup.models import Conversation
from dedup.secrets import masked
from dedup.staging import StagedConversation
from dedup.statements import rows, run

LONGEST_TITLE = 300

INSERT = """
    INSERT INTO dedup_conversation (user_id, source, native_key, parent_key, title, project,
                                    total_messages, metadata)
    SELECT %(user_id)s, %(source)s, key, '', '', '', 0, '{}'
    FROM unnest(%(keys)s::text[]) AS given (key)
    ON CONFLICT (user_id, source, native_key) DO NOTHING
"""

# A conversation that was found to be a part of another one is the other one.
FIND = """
    SELECT c.native_key, COALESCE(c.merged_into_id, c.id)
    FROM dedup_conversation c
    WHERE c.user_id = %(user_id)s AND c.source = %(source)s AND c.native_key = ANY(%(keys)s::text[])
"""

# What the source says last counts; what it no longer says stays.
DESCRIBE = """
    UPDATE dedup_conversation c
    SET title = COALESCE(NULLIF(g.title, ''), NULLIF(c.title, ''), g.first_words),
        parent_key = COALESCE(NULLIF(c.parent_key, ''), g.parent_key),
        project = COALESCE(NULLIF(c.project, ''), g.project),
        metadata = c.metadata || g.metadata
    FROM unnest(%(ids)s::uuid[], %(titles)s::text[], %(first_words)s::text[],
                %(parent_keys)s::text[], %(projects)s::text[], %(metadata)s::jsonb[])
      AS g (id, title, first_words, parent_key, project, metadata)
    WHERE c.id = g.id
"""

COUNT = """
    UPDATE dedup_conversation c
    SET updated_at = statement_timestamp(),
        total_messages = (SELECT count(*) FROM dedup_placement p
                          JOIN dedup_segment s ON s.id = p.segment_id
                          WHERE s.conversation_id = c.id)
    WHERE c.id = ANY(%(ids)s::uuid[])
"""

RAISE_WATERMARKS = """
    INSERT INTO dedup_watermark (conversation_id, user_id, highest_index)
    SELECT c.id, %(user_id)s, COALESCE((SELECT max(m.message_index) FROM dedup_message m
                                        WHERE m.conversation_id = c.id), -1)
    FROM unnest(%(ids)s::uuid[]) AS c (id)
    ON CONFLICT (conversation_id) DO UPDATE
    SET highest_index = EXCLUDED.highest_index, updated_at = statement_timestamp()
"""


def ensure_conversations(user_id: UUID, source: Source, keys: Iterable[str]) -> dict[str, UUID]:
    """Afterwards each key has a conversation; returns it, or the one that it is a part of."""
    values = {"user_id": user_id, "source": source, "keys": sorted(set(keys))}
    run(INSERT, values)
    return dict(rows(FIND, values))


def find_conversations(user_id: UUID, source: Source, keys: Iterable[str]) -> dict[str, UUID]:
    """Those of the keys that have a conversation, with it or the one that it is a part of."""
    values = {"user_id": user_id, "source": source, "keys": sorted(set(keys))}
    return dict(rows(FIND, values))


def describe_conversations(found: Sequence[tuple[UUID, StagedConversation]]) -> None:
    """Afterwards they have the titles, projects and metadata that the file gives them."""
    # Of several that are one the first has a say.
    first = dict(reversed(found))
    headers = [conversation.header for conversation in first.values()]
    values = {
        "ids": list(first),
        # A secret that is cut is none that would be known.
        "titles": [masked(storable(header.title))[:LONGEST_TITLE] for header in headers],
        "first_words": [conversation.first_words for conversation in first.values()],
        "parent_keys": [header.parent_key for header in headers],
        "projects": [storable(header.project) for header in headers],
        "metadata": [dumps(storable(header.metadata)) for header in headers],
    }
    run(DESCRIBE, values)


def count_messages(user_id: UUID, conversation_ids: Iterable[UUID]) -> None:
    """Bring cached totals and watermarks up to date."""
    values = {"user_id": user_id, "ids": sorted(set(conversation_ids))}
    run(COUNT, values)
    run(RAISE_WATERMARKS, values)


def merge_conversations(target: UUID, parts: Iterable[UUID]) -> None:
    """Afterwards those of the parts that have no messages left are known to be the target."""
    emptied = (
        Conversation.objects.filter(pk__in=list(parts))
        .exclude(pk=target)
        .exclude(segments__placements__isnull=False)
    )
    ids = list(emptied.values_list("pk", flat=True))
    # One that was merged into such a part is now a part of the target itself.
    Conversation.objects.filter(pk__in=ids).update(merged_into=target)
    Conversation.objects.filter(merged_into__in=ids).update(merged_into=target)
