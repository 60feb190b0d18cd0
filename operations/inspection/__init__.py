"""What the server's statistics say of the database: one registry of checks, each by itself.

`inspect(["cache-hit", …])` is what `manage.py dbinspect` and the dashboard call.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from django.db import DatabaseError, connections, transaction

from common.tenancy import METRICS_ALIAS
from operations.inspection.activity import connection_use, locks, long_queries, outliers
from operations.inspection.findings import Finding, Scope, Severity, Unchecked
from operations.inspection.indexes import duplicate_indexes, missing_indexes, unused_indexes
from operations.inspection.server import cache_hit, replication, wraparound
from operations.inspection.statistics import require_login, set_limits
from operations.inspection.tables import bloat, sizes

__all__ = ["CHECKS", "Finding", "Scope", "Severity", "Unchecked", "inspect", "worst"]

logger = logging.getLogger(__name__)

Check = Callable[[Scope], Sequence[Finding]]

CHECKS: dict[str, Check] = {
    "cache-hit": cache_hit,
    "unused-indexes": unused_indexes,
    "missing-indexes": missing_indexes,
    "duplicate-indexes": duplicate_indexes,
    "long-queries": long_queries,
    "locks": locks,
    "bloat": bloat,
    "sizes": sizes,
    "connections": connection_use,
    "vacuum": wraparound,
    "outliers": outliers,
    "replication": replication,
}


def inspect(names: Iterable[str] = (), scope: Scope | None = None) -> dict[str, Sequence[Finding]]:
    """What each named check found, or each of all; an empty list where there is nothing to say.

    A check that the server does not let end, because of a lock for example, is one finding
    `Unchecked`. Raises MissingLoginError without the login, OperationalError if the server does
    not let it in, and KeyError for a name that no check has.
    """
    require_login()
    chosen = {name: CHECKS[name] for name in names} or CHECKS
    connections[METRICS_ALIAS].ensure_connection()
    return {name: _outcome(name, check, scope or Scope()) for name, check in chosen.items()}


def worst(found: dict[str, Sequence[Finding]]) -> Severity:
    return max(
        (finding.severity for findings in found.values() for finding in findings),
        key=list(Severity).index,
        default=Severity.OK,
    )


def _outcome(name: str, check: Check, scope: Scope) -> Sequence[Finding]:
    try:
        with transaction.atomic(using=METRICS_ALIAS):
            set_limits(METRICS_ALIAS)
            return check(scope)
    except DatabaseError as error:
        logger.info("%s could not be checked: %s", name, error)
        return [Unchecked(severity=Severity.NOTICE, reason=type(error.__cause__).__name__)]
