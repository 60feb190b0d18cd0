"""Months of the stream that are past or have no partition yet, made by hand."""

from datetime import UTC, datetime

from audit.tests.captured import one
from common.tests.connections import Connection

EVENTS = ("audit_change_event", "audit_security_event", "audit_security_origin")
PARTITIONS = """
    SELECT inhrelid::regclass::text FROM pg_inherits
    WHERE inhparent = ANY (ARRAY['audit_change_event', 'audit_security_event',
                                 'audit_security_origin']::regclass[]) ORDER BY 1
"""
MAKE = """
    CREATE TABLE {part} PARTITION OF {parent} FOR VALUES FROM ('{beginning}') TO ('{ending}')
"""
FILL = {
    "audit_change_event": """
        INSERT INTO audit_change_event (id, at, role, request_id, reason, table_name, operation)
        SELECT overlay(key PLACING lpad(to_hex(n), 6, '0') FROM 31)::uuid, %(at)s, 'app', '', '',
               'accounts_user', 'INSERT'
    """,
    "audit_security_event": """
        INSERT INTO audit_security_event (
            id, at, role, request_id, reason, kind, subject, details
        )
        SELECT overlay(key PLACING lpad(to_hex(n), 6, '0') FROM 31)::uuid, %(at)s, 'app', '', '',
               'login_failed', '', '{}'
    """,
    "audit_security_origin": """
        INSERT INTO audit_security_origin (id, address, agent)
        SELECT overlay(key PLACING lpad(to_hex(n), 6, '0') FROM 31)::uuid, '192.0.2.7', ''
    """,
}
ROWS_OF_FILL = """
    FROM (SELECT audit_first_id(%(at)s)::text AS key) AS first, generate_series(1, %(count)s) AS n
"""


def partitions(connection: Connection) -> set[str]:
    return {str(name) for (name,) in connection.execute(PARTITIONS.encode()).fetchall()}


def part_of(parent: str, year: int, month: int) -> str:
    return f"{parent}_{year}_{month:02}"


def beginning_of(connection: Connection, year: int, month: int) -> str:
    at = datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)
    return str(one(connection, "SELECT audit_first_id(%s)", at))


def make_month(connection: Connection, parent: str, year: int, month: int) -> str:
    """A partition as the function makes them, for whichever month; returns its name."""
    part = part_of(parent, year, month)
    connection.execute(
        MAKE.format(
            part=part,
            parent=parent,
            beginning=beginning_of(connection, year, month),
            ending=beginning_of(connection, year, month + 1),
        ).encode()
    )
    connection.execute("SELECT audit_close_partition(%s, %s)", [part, parent])
    return part


def fill(connection: Connection, parent: str, at: datetime, count: int = 1) -> None:
    """As many rows, made then as their keys say."""
    connection.execute((FILL[parent] + ROWS_OF_FILL).encode(), {"at": at, "count": count})
