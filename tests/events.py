"""What the stream holds, as the superuser reads it: every event, in the order of its making."""

from collections.abc import Sequence
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from audit.naming import name_of_change, name_of_security
from common.tests.connections import connect_as_superuser

Event = dict[str, Any]


def changes(*tables: str) -> list[Event]:
    """The changes of these tables, or of all, each with its `name`."""
    found = _read("audit_change_event")
    for row in found:
        row["name"] = name_of_change(row["table_name"], row["operation"], row["old"], row["new"])
    return [row for row in found if not tables or row["table_name"] in tables]


def security(*kinds: str) -> list[Event]:
    """The security events of these kinds, or of all, each with its `name`."""
    found = _read("audit_security_event")
    for row in found:
        row["name"] = name_of_security(row["kind"])
    return [row for row in found if not kinds or row["kind"] in kinds]


def origins() -> list[Event]:
    return _read("audit_security_origin")


def values(events: Sequence[Event], *names: str) -> list[tuple[Any, ...]]:
    """Of each event what it says under these names."""
    return [tuple(event[name] for name in names) for event in events]


def _read(table: str) -> list[Event]:
    query = sql.SQL("SELECT * FROM {} ORDER BY id").format(sql.Identifier(table))
    with connect_as_superuser() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()
