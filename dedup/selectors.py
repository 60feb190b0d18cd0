"""Reads of the archives that join tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from uuid import UUID

from django.db import connection
from django.db.models import Max

from common.errors import InvalidInputError
from dedup.models import Message, Observation, Revision
from dedup.secrets import masked

# What the search function puts around a found word, and takes out of the text before.
START, STOP = "\x02", "\x03"

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class SearchFilters:
    """What to look for, in web search syntax, and where.

    `project` is the whole of a conversation's project or its last parts: `kitchen` finds
    `/home/robin/kitchen`. A message counts for each conversation in which it is placed. `tool`
    is the name of a tool that the message calls.
    """

    words: str
    source: str | None = None
    role: str | None = None
    conversation: UUID | None = None
    project: str | None = None
    tool: str | None = None
    sent_from: datetime | None = None
    sent_before: datetime | None = None


@dataclass(frozen=True)
class SearchHit:
    """A message that was found; `highlight` is safe HTML with the words in <mark>."""

    message: Message
    revision: Revision
    rank: float
    highlight: str


def search_messages(
    filters: SearchFilters, *, most: int, after: tuple[float, UUID] | None = None
) -> list[SearchHit]:
    """The best hits first, as the acting person; `after` is rank and id of the last one had.

    Rank is PostgreSQL's cover density, rank/(rank+1), between 0 and 1. Raises InvalidInputError
    for a search that would have to look at everything.
    """
    rank, after_id = after or (None, None)
    with connection.cursor() as cursor:
        cursor.execute("SELECT querytree(websearch_to_tsquery('english', %s))", [filters.words])
        if cursor.fetchone() == ("T",):
            raise InvalidInputError("Give a word to look for: to leave words out is not enough.")
        cursor.execute(
            "SELECT * FROM dedup_search(%s, %s, %s, %s, %s, %s, %s, %s, %s::real, %s, %s)",
            [
                filters.words,
                filters.source,
                filters.role,
                filters.conversation,
                filters.project,
                filters.tool,
                filters.sent_from,
                filters.sent_before,
                rank,
                after_id,
                most,
            ],
        )
        found = cursor.fetchall()
    messages = Message.objects.select_related("conversation__merged_into").in_bulk(
        [row[0] for row in found]
    )
    revisions = Revision.objects.defer("raw", "search").in_bulk([row[1] for row in found])
    return [
        SearchHit(messages[message_id], revisions[revision_id], rank, _marked(highlight))
        for message_id, revision_id, rank, highlight in found
    ]


def latest_revisions(message_ids: Iterable[UUID]) -> dict[UUID, Revision]:
    """For each message what it says in the export that goes furthest.

    An older backup that is imported later does not bring back what was said before.
    """
    rows = Revision.objects.filter(message__in=list(message_ids)).defer("raw", "search")
    latest: dict[UUID, Revision] = {}
    revised: dict[UUID, list[Revision]] = {}
    for row in rows.order_by("id"):
        if before := latest.get(row.message_id):
            revised.setdefault(row.message_id, [before]).append(row)
        latest[row.message_id] = row
    if revised:
        furthest = _furthest(row.pk for rows in revised.values() for row in rows)
        for message_id, candidates in revised.items():
            latest[message_id] = max(candidates, key=lambda row: (furthest[row.pk], row.pk))
    return latest


def _furthest(revision_ids: Iterable[UUID]) -> dict[UUID, tuple[datetime, int]]:
    """For each revision the time of the last message in the exports that show it, and where
    times say nothing, how many messages these show."""
    rows = (
        Observation.objects.filter(revision__in=list(revision_ids))
        .values_list("revision")
        .annotate(
            reaches_at=Max("import_row__reaches_at"), shown=Max("import_row__messages_in_export")
        )
    )
    return {revision: (reaches_at or NEVER, shown) for revision, reaches_at, shown in rows}


def _marked(highlight: str) -> str:
    plain = highlight.replace(START, "").replace(STOP, "")
    # Words are masked when they come; what the detector has learnt since is masked here.
    if (shown := masked(plain)) != plain:
        return escape(shown)
    return escape(highlight).replace(START, "<mark>").replace(STOP, "</mark>")
