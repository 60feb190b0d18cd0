"""Figures of a conversation and of a whole archive, counted by the database.

Token usage is counted once for each response of a model. Claude Code writes a row for each
content block of a response, all with the response's id and with usage that grows: the greatest
counts. A row without such an id counts by itself. Names of usage are Anthropic's; what others
call prompt and completion tokens is input and output.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Avg, Count, F, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from dedup.branches import branches_in
from dedup.models import (
    Artifact,
    Conversation,
    DeduplicationLog,
    Import,
    Placement,
    Watermark,
    savings,
)
from dedup.savings import DaySavings, savings_by_day
from dedup.statements import rows

# Of what is missing, an answer lists this many of each kind.
MOST_GAPS = 1000
SUMMED = ("new_messages", "duplicates_filtered", "revisions", "content_collisions")

OF_CONVERSATIONS = """
    WITH scope AS MATERIALIZED (
        SELECT DISTINCT p.message_id AS id
        FROM dedup_segment s JOIN dedup_placement p ON p.segment_id = s.id
        WHERE s.user_id = %(user_id)s AND s.conversation_id = ANY(%(conversations)s::uuid[])
    )
"""
OF_ARCHIVE = """
    WITH scope AS (SELECT id FROM dedup_message WHERE user_id = %(user_id)s)
"""

USAGE = """
    , used AS (
        SELECT COALESCE(NULLIF(m.api_id, ''), m.id::text) AS response,
               COALESCE(v.metadata ->> 'model', '') AS model, u.*
        FROM scope
        JOIN dedup_message m USING (id)
        JOIN dedup_revision v ON v.message_id = m.id
        CROSS JOIN LATERAL (
            SELECT COALESCE(max(value::numeric) FILTER (
                       WHERE key IN ('input_tokens', 'prompt_tokens')), 0) AS input,
                   COALESCE(max(value::numeric) FILTER (
                       WHERE key IN ('output_tokens', 'completion_tokens')), 0) AS output,
                   COALESCE(max(value::numeric) FILTER (
                       WHERE key = 'cache_creation_input_tokens'), 0) AS cache_creation,
                   COALESCE(max(value::numeric) FILTER (
                       WHERE key = 'cache_read_input_tokens'), 0) AS cache_read
            FROM jsonb_each(CASE WHEN jsonb_typeof(v.metadata -> 'usage') = 'object'
                                 THEN v.metadata -> 'usage' ELSE '{}' END)
            WHERE jsonb_typeof(value) = 'number'
        ) u
        WHERE jsonb_typeof(v.metadata -> 'usage') = 'object'
    ),
    responses AS (
        SELECT DISTINCT ON (response) * FROM used
        ORDER BY response, input + output + cache_creation + cache_read DESC, model DESC
    )
    SELECT model, count(*), sum(input), sum(output), sum(cache_creation), sum(cache_read)
    FROM responses GROUP BY model ORDER BY sum(output) DESC, model
"""

# Of a message's several contents the one counts that stands in the export which goes furthest,
# as in `selectors.latest_revisions`.
LATEST = """
    , said AS (
        SELECT v.id, v.message_id, v.role, v.content,
               count(*) OVER (PARTITION BY v.message_id) AS contents
        FROM scope JOIN dedup_revision v ON v.message_id = scope.id
    ),
    latest AS (
        SELECT DISTINCT ON (message_id) message_id, role, content FROM said
        ORDER BY message_id,
                 CASE WHEN contents > 1 THEN
                     (SELECT max(i.reaches_at) FROM dedup_observation o
                      JOIN dedup_import i ON i.id = o.import_id WHERE o.revision_id = said.id)
                 END DESC NULLS LAST,
                 id DESC
    )
"""
ROLES = """
    SELECT role, count(*) FROM latest GROUP BY role ORDER BY count(*) DESC, role
"""
TOOLS = """
    SELECT block ->> 'name', count(*)
    FROM latest CROSS JOIN LATERAL jsonb_array_elements(latest.content) AS block
    WHERE block ->> 'type' = 'tool_use' AND block ->> 'name' <> ''
    GROUP BY 1 ORDER BY count(*) DESC, 1
"""

MISSING_INDEXES = """
    SELECT before + 1, native_index - 1
    FROM (SELECT native_index, lag(native_index, 1, -1) OVER (ORDER BY native_index) AS before
          FROM (SELECT DISTINCT m.native_index
                FROM scope JOIN dedup_message m USING (id)
                WHERE m.native_index IS NOT NULL) indexes) steps
    WHERE native_index > before + 1
    ORDER BY 1 LIMIT %(most)s
"""
MISSING_PARENTS = """
    SELECT m.id, m.parent_key
    FROM scope JOIN dedup_message m USING (id)
    WHERE m.parent_key <> ''
      AND NOT EXISTS (SELECT FROM dedup_message p WHERE p.user_id = m.user_id
                      AND p.source = m.source AND p.native_key = m.parent_key)
      AND NOT EXISTS (SELECT FROM dedup_alias a WHERE a.user_id = m.user_id
                      AND a.source = m.source AND a.native_key = m.parent_key)
    ORDER BY m.id LIMIT %(most)s
"""
# The ends of neighbouring segments; one whose messages went to another has none.
UNKNOWN = """
    SELECT after, before
    FROM (SELECT s.number, ends.first AS before,
                 lag(ends.last) OVER (ORDER BY s.number) AS after
          FROM dedup_segment s
          CROSS JOIN LATERAL (
              SELECT (array_agg(p.message_id ORDER BY p.position))[1] AS first,
                     (array_agg(p.message_id ORDER BY p.position DESC))[1] AS last
              FROM dedup_placement p WHERE p.segment_id = s.id) ends
          WHERE s.user_id = %(user_id)s AND s.conversation_id = ANY(%(conversations)s::uuid[])
            AND ends.first IS NOT NULL) neighbours
    WHERE after IS NOT NULL
    ORDER BY number LIMIT %(most)s
"""
WITH_SECRETS = """
    SELECT DISTINCT s.conversation_id
    FROM dedup_segment s
    JOIN dedup_placement p ON p.segment_id = s.id
    JOIN dedup_revision v ON v.message_id = p.message_id
    WHERE s.conversation_id = ANY(%(conversations)s::uuid[]) AND v.secrets <> '[]'
"""


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of so many responses, of one model or of all."""

    model: str = ""
    responses: int = 0
    input: int = 0
    output: int = 0
    cache_creation: int = 0
    cache_read: int = 0


@dataclass(frozen=True)
class Tokens:
    """The usage of all models together, and of each."""

    total: TokenUsage
    by_model: list[TokenUsage]


@dataclass(frozen=True)
class ImportSums:
    """What exports held, and what of it was stored."""

    imports: int
    messages_in_exports: int
    new_messages: int
    duplicates_filtered: int
    revisions: int
    content_collisions: int

    @property
    def savings_pct(self) -> float:
        """Share of the messages in exports that was kept already, in per cent."""
        return savings(self.messages_in_exports, self.new_messages + self.revisions)


@dataclass(frozen=True)
class LogSums:
    """The lines of one conversation's de-duplication log together."""

    exports: int
    messages_processed: int
    new_messages: int
    duplicates_filtered: int
    revisions: int
    content_collisions: int
    average_savings_pct: float
    average_processing_time_ms: float


@dataclass(frozen=True)
class ConversationStatistics:
    """One conversation; `sub_agent_tokens` are those of the conversations that it started."""

    total_messages: int
    highest_index: int
    created_at: datetime
    updated_at: datetime
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    log: LogSums
    messages_by_role: dict[str, int]
    tools: dict[str, int]
    branch_points: int
    tokens: Tokens
    sub_agents: int
    sub_agent_tokens: Tokens


@dataclass(frozen=True)
class SourceStatistics:
    """What an archive holds of one source."""

    source: str
    conversations: int
    messages: int
    imports: int


@dataclass(frozen=True)
class ArchiveStatistics:
    """A person's whole archive. A message counts once, in the conversation that brought it."""

    conversations: int
    messages: int
    artifacts: int
    artifact_bytes: int
    exports: ImportSums
    by_source: list[SourceStatistics]
    by_day: list[DaySavings]
    tokens: Tokens


@dataclass(frozen=True)
class Unknown:
    """Between these two messages something may be missing: no export shows both sides."""

    after: UUID
    before: UUID


@dataclass(frozen=True)
class MissingParent:
    """A message that names a parent which the archive does not have."""

    message: UUID
    parent_key: str


@dataclass(frozen=True)
class Gaps:
    """What is missing in a conversation, at most MOST_GAPS of each kind.

    `indexes` are the first and the last number of each range that is missing, where the source
    numbers its messages from 0.
    """

    indexes: list[tuple[int, int]]
    unknown: list[Unknown]
    missing_parents: list[MissingParent]


def conversation_statistics(conversation: Conversation) -> ConversationStatistics:
    """As the acting person."""
    scope = _scope(conversation.user_id, [conversation.pk])
    sub_agents = sub_agents_of(conversation).values_list("pk", flat=True)
    watermark = Watermark.objects.filter(conversation=conversation).first()
    return ConversationStatistics(
        total_messages=conversation.total_messages,
        highest_index=watermark.highest_index if watermark else -1,
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        **Placement.objects.filter(segment__conversation=conversation).aggregate(
            first_sent_at=Min("message__sent_at"), last_sent_at=Max("message__sent_at")
        ),
        log=_log_sums(conversation),
        messages_by_role=dict(rows(OF_CONVERSATIONS + LATEST + ROLES, scope)),
        tools=dict(rows(OF_CONVERSATIONS + LATEST + TOOLS, scope)),
        branch_points=len(branches_in(conversation).points),
        tokens=_tokens(rows(OF_CONVERSATIONS + USAGE, scope)),
        sub_agents=len(sub_agents),
        sub_agent_tokens=_tokens(
            rows(OF_CONVERSATIONS + USAGE, _scope(conversation.user_id, list(sub_agents)))
        ),
    )


def sub_agents_of(conversation: Conversation) -> QuerySet[Conversation]:
    """The conversations that name this one as the one that started them, oldest first."""
    mine = Conversation.objects.visible_to(conversation.user_id).filter(source=conversation.source)
    parts = mine.filter(merged_into=conversation).values("native_key")
    return (
        mine.filter(Q(parent_key=conversation.native_key) | Q(parent_key__in=parts))
        .filter(merged_into=None)
        .order_by("pk")
    )


def parent_of(conversation: Conversation) -> Conversation | None:
    """The conversation that started this one, if the archive has it."""
    if not conversation.parent_key:
        return None
    found = (
        Conversation.objects.visible_to(conversation.user_id)
        .select_related("merged_into")
        .filter(source=conversation.source, native_key=conversation.parent_key)
        .first()
    )
    return (found.merged_into or found) if found else None


def log_of(conversation: Conversation) -> QuerySet[DeduplicationLog]:
    """What each import did to it, or to a conversation that was found to be a part of it."""
    return DeduplicationLog.objects.visible_to(conversation.user_id).filter(
        Q(conversation=conversation) | Q(conversation__merged_into=conversation)
    )


def conversation_gaps(conversation: Conversation) -> Gaps:
    """As the acting person."""
    scope = _scope(conversation.user_id, [conversation.pk]) | {"most": MOST_GAPS}
    return Gaps(
        indexes=rows(OF_CONVERSATIONS + MISSING_INDEXES, scope),
        unknown=[Unknown(*found) for found in rows(UNKNOWN, scope)],
        missing_parents=[
            MissingParent(*found) for found in rows(OF_CONVERSATIONS + MISSING_PARENTS, scope)
        ],
    )


def archive_statistics(user_id: UUID) -> ArchiveStatistics:
    """As that person."""
    by_source = _by_source(user_id)
    artifacts = Artifact.objects.visible_to(user_id).aggregate(
        count=Count("pk"), size=Coalesce(Sum("size"), 0)
    )
    imports = Import.objects.visible_to(user_id).completed()
    return ArchiveStatistics(
        conversations=sum(source.conversations for source in by_source),
        messages=sum(source.messages for source in by_source),
        artifacts=artifacts["count"],
        artifact_bytes=artifacts["size"],
        exports=ImportSums(
            **imports.aggregate(
                imports=Count("pk"),
                messages_in_exports=_sum("messages_in_export"),
                **{name: _sum(name) for name in SUMMED},
            )
        ),
        by_source=by_source,
        by_day=savings_by_day(imports),
        tokens=_tokens(rows(OF_ARCHIVE + USAGE, {"user_id": user_id})),
    )


def with_secrets(conversation_ids: Iterable[UUID]) -> set[UUID]:
    """Those of the conversations in whose messages a secret was found."""
    found = rows(WITH_SECRETS, {"conversations": list(conversation_ids)})
    return {conversation for (conversation,) in found}


def _scope(user_id: UUID, conversations: Sequence[UUID]) -> dict[str, Any]:
    return {"user_id": user_id, "conversations": list(conversations)}


def _sum(name: str) -> Coalesce:
    return Coalesce(Sum(name), 0)


def _log_sums(conversation: Conversation) -> LogSums:
    sums = log_of(conversation).aggregate(
        exports=Count("pk"),
        messages_processed=_sum("messages_processed"),
        savings=Avg("storage_savings_pct"),
        time=Avg("processing_time_ms"),
        **{name: _sum(name) for name in SUMMED},
    )
    average_savings, average_time = sums.pop("savings"), sums.pop("time")
    return LogSums(
        **sums,
        average_savings_pct=round(float(average_savings or 0), 2),
        average_processing_time_ms=round(float(average_time or 0), 2),
    )


def _tokens(found: Sequence[Any]) -> Tokens:
    by_model = [TokenUsage(model, *map(int, numbers)) for model, *numbers in found]
    total = TokenUsage(
        "",
        *(
            sum(getattr(usage, field.name) for usage in by_model)
            for field in fields(TokenUsage)
            if field.name != "model"
        ),
    )
    return Tokens(total, by_model)


def _by_source(user_id: UUID) -> list[SourceStatistics]:
    # A conversation has as many messages of its own as its watermark says: to count the rows
    # of a large archive takes seconds.
    conversations = {
        source: (found, own)
        for source, found, own in Conversation.objects.visible_to(user_id)
        .values("source")
        .annotate(
            found=Count("pk", filter=Q(merged_into=None)),
            own=Coalesce(Sum(F("watermark__highest_index") + 1), 0),
        )
        .values_list("source", "found", "own")
    }
    imports = dict(
        Import.objects.visible_to(user_id)
        .completed()
        .values("source")
        .annotate(count=Count("pk"))
        .values_list("source", "count")
    )
    return [
        SourceStatistics(source, found, own, imports.get(source, 0))
        for source in sorted({*conversations, *imports} - {""})
        for found, own in [conversations.get(source, (0, 0))]
    ]
