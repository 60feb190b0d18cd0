"""Statements on the connection of the acting person, outside of the ORM."""

from collections.abc import Mapping
from typing import Any

from django.db import connection

Values = Mapping[str, Any]


def run(statement: str, values: Values | None = None) -> int:
    """The number of rows that were changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def rows(statement: str, values: Values | None = None) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
