"""Reading the server's statistics with the login that may, within limits."""

from typing import Any

from django.db import connections

from common.tenancy import METRICS_ALIAS
from operations.errors import MissingLoginError

STATEMENT_SECONDS = 10
# A migration may hold a table for long: looking at it gives up.
LOCK_SECONDS = 1


def require_login() -> None:
    if METRICS_ALIAS not in connections.settings:
        raise MissingLoginError(
            "Set DATABASE_METRICS_URL: the statistics are read as the role `metrics`."
        )


def set_limits(alias: str, *, statement_seconds: int = STATEMENT_SECONDS) -> None:
    """Until the open transaction ends, statements neither work nor wait for long."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{statement_seconds}s'")
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")


def read(query: str, *, alias: str = METRICS_ALIAS, **values: Any) -> list[dict[str, Any]]:
    """The rows, each by the names of its columns."""
    with connections[alias].cursor() as cursor:
        cursor.execute(query, values)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def read_one(query: str, **values: Any) -> dict[str, Any]:
    (row,) = read(query, **values)
    return row
