"""Reads of the archives that join tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from html import escape
from uuid import UUID

from django.db import connection

from dedup.models import Message, Revision

# What the search function puts around a found word; neither can occur in typed text.
START, STOP = "\x02", "\x03"


@dataclass(frozen=True)
class SearchFilters:
    """What to look for, in web search syntax, and where."""

    words: str
    source: str | None = None
    role: str | None = None
    conversation: UUID | None = None
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

    Rank is PostgreSQL's cover density, rank/(rank+1), between 0 and 1.
    """
    rank, after_id = after or (None, None)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM dedup_search(%s, %s, %s, %s, %s, %s, %s::real, %s, %s)",
            [
                filters.words,
                filters.source,
                filters.role,
                filters.conversation,
                filters.sent_from,
                filters.sent_before,
                rank,
                after_id,
                most,
            ],
        )
        found = cursor.fetchall()
    messages = Message.objects.select_related("conversation").in_bulk([row[0] for row in found])
    revisions = Revision.objects.defer("raw", "search").in_bulk([row[1] for row in found])
    return [
        SearchHit(messages[message_id], revisions[revision_id], rank, _marked(highlight))
        for message_id, revision_id, rank, highlight in found
    ]


def latest_revisions(message_ids: Iterable[UUID]) -> dict[UUID, Revision]:
    """For each message what it says at last."""
    rows = (
        Revision.objects.filter(message__in=list(message_ids))
        .order_by("message_id", "-id")
        .distinct("message_id")
        .defer("raw", "search")
    )
    return {row.message_id: row for row in rows}


def _marked(highlight: str) -> str:
    return escape(highlight).replace(START, "<mark>").replace(STOP, "</mark>")
