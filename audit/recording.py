"""The door for what happened: one function in the database, on a connection of its own."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connections
from psycopg.types.json import Jsonb

from audit.choices import OF_PERSONS, SecurityKind
from common import context, tenancy

logger = logging.getLogger(__name__)

Detail = str | int | float | bool | None | Sequence[str]

NOTE = """
    SELECT count(audit_note(%s, of_user, %s, %s, %s, %s, %s, %s, %s, %s))
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
    by_person: bool = False,
) -> None:
    """Note that something happened to one person, or to nobody; see `record_for_each`."""
    record_for_each(
        kind, [user_id], actor_id=actor_id, subject=subject, row_id=row_id, details=details,
        by_person=by_person,
    )  # fmt: skip


def record_for_each(
    kind: SecurityKind,
    user_ids: Sequence[UUID | None],
    *,
    actor_id: UUID | None = None,
    subject: str = "",
    row_id: UUID | None = None,
    details: Mapping[str, Detail] | None = None,
    required: bool = False,
    by_person: bool = False,
) -> None:
    """Afterwards an event for each of the persons stands, even if the request fails or rolls back.

    Who did it is `actor_id`, or else the operator or the person of the request.
    `details` holds numbers, codes and keys: the database refuses what looks like words. An event
    that cannot be written is logged and stops nothing, unless it is `required`. What a person
    does `by_person` at a door of the house, such as to log in, is not done with its authority.
    """
    authority = None if by_person else tenancy.current_authority()
    actor = actor_id or (authority.operator_id if authority else context.person_id.get())
    origin = context.origin.get()
    values: list[Any] = [
        kind,
        actor,
        context.request_id.get(),
        tenancy.storable(authority.reason) if authority else "",
        subject,
        row_id,
        Jsonb(details or {}),
        origin.address or None,
        tenancy.storable(origin.agent),
        list(user_ids),
    ]
    said_by_person = authority is None and kind in OF_PERSONS
    try:
        write(tenancy.TRACE_ALIAS if said_by_person else tenancy.OPERATOR_TRACE_ALIAS, values)
    except Exception as error:
        if required:
            raise
        # The database's message may repeat what was not to be written.
        logger.error(  # noqa: TRY400
            "a security event of the kind %s could not be written: %s", kind, type(error).__name__
        )


def write(alias: str, values: Sequence[Any]) -> None:
    connection = connections[alias]
    try:
        with connection.cursor() as cursor:
            cursor.execute(NOTE, values)
    finally:
        # All threads of the process share the few connections of its pool.
        if "pool" in connection.settings_dict["OPTIONS"]:
            connection.close()
