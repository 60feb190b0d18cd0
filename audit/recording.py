"""The door for what happened: one function in the database, on a connection of its own."""

import json
import logging
from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db import connections

from audit.choices import SecurityKind
from common import context, tenancy

logger = logging.getLogger(__name__)

Detail = str | int | float | bool | None | Sequence[str]

NOTE = """
    SELECT count(audit_note(%s, of_user, %s, %s, %s, %s, %s, %s, %s, %s, %s))
    FROM unnest(%s::uuid[]) AS users (of_user)
"""


def record(
    kind: SecurityKind,
    *,
    user_id: UUID | None = None,
    actor_id: UUID | None = None,
    subject: str = "",
    row_id: UUID | None = None,
    details: Mapping[str, Detail] | None = None,
) -> None:
    """Note that something happened to one person, or to nobody; see `record_for_each`."""
    record_for_each(
        kind, [user_id], actor_id=actor_id, subject=subject, row_id=row_id, details=details
    )


def record_for_each(
    kind: SecurityKind,
    user_ids: Sequence[UUID | None],
    *,
    actor_id: UUID | None = None,
    subject: str = "",
    row_id: UUID | None = None,
    details: Mapping[str, Detail] | None = None,
    required: bool = False,
) -> None:
    """Afterwards an event for each of the persons stands, even if the request fails or rolls back.

    Who did it is `actor_id`, or else the operator or the person of the request.
    `details` holds numbers, codes and keys: the database refuses what looks like words. An event
    that cannot be written is logged and stops nothing, unless it is `required`.
    """
    authority = tenancy.current_authority()
    actor = actor_id or (authority.operator_id if authority else context.person_id.get())
    origin = context.origin.get()
    values = [
        kind,
        actor,
        "operator" if authority else "app",
        context.request_id.get(),
        tenancy.storable(authority.reason) if authority else "",
        subject,
        row_id,
        json.dumps(details or {}),
        origin.address or None,
        tenancy.storable(origin.agent),
        list(user_ids),
    ]
    try:
        with connections[tenancy.TRACE_ALIAS].cursor() as cursor:
            cursor.execute(NOTE, values)
    except Exception:
        if required:
            raise
        # The arguments stay out of the log.
        logger.exception("a security event of the kind %s could not be written", kind)
