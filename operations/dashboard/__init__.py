"""The admin's first page: how everything is, at a glance. Nothing on it names a person.

Each card asks its source by itself. A source that fails is told of, and the others are shown.
"""

import logging
from collections.abc import Callable
from typing import Any

from django.db import OperationalError, connections, transaction
from django.http import HttpRequest

from common.errors import DomainError
from common.tenancy import OPERATOR_ALIAS
from operations.dashboard.backups import backups_card
from operations.dashboard.cards import Card, Note, State
from operations.dashboard.database import database_card
from operations.dashboard.failures import errors_card
from operations.dashboard.imports import imports_card, queue_card
from operations.dashboard.stream import stream_card

__all__ = ["show_dashboard"]

logger = logging.getLogger(__name__)

# A page for a glance is not worth a long look.
LONGEST_QUESTION_SECONDS = 2

SOURCES: dict[str, Callable[[], Card]] = {
    "Imports": imports_card,
    "Queue": queue_card,
    "Database": database_card,
    "Errors and refusals": errors_card,
    "Change stream": stream_card,
    "Backups": backups_card,
}


def show_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the admin's index, with the cards. Runs in the operator's transaction."""
    _limit_statements(f"'{LONGEST_QUESTION_SECONDS}s'")
    cards = [asked(title, source) for title, source in SOURCES.items()]
    _limit_statements("DEFAULT")
    return context | {"title": "Dashboard", "cards": cards}


def asked(title: str, source: Callable[[], Card]) -> Card:
    """The source's card, or one that says why there is none."""
    try:
        # What fails leaves the transaction of the request as it was.
        with transaction.atomic(using=OPERATOR_ALIAS):
            return source()
    except Exception as error:
        logger.exception("the dashboard's card %s could not be made", title)
        return Card(title, [Note(State.UNKNOWN, sentence_of(error))])


def sentence_of(error: Exception) -> str:
    if isinstance(error, DomainError):
        return error.detail
    if isinstance(error, OperationalError):
        return "The database did not answer this in time: the log says more."
    return "This could not be asked: the log says why."


def _limit_statements(limit: str) -> None:
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout TO {limit}")
