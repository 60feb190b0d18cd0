"""PostgreSQL's advisory locks by name: they end with the transaction, also when it is killed."""

from collections.abc import Iterable

from django.db import connections

from common import tenancy


def lift_time_limit() -> None:
    """Until the transaction ends, statements may work and wait for as long as they need."""
    with connections[tenancy.current_alias()].cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")


def lock(*names: str) -> None:
    """Hold every named lock until the open transaction ends.

    They are taken in sorted order, so that two holders of overlapping sets cannot block each
    other.
    """
    with connections[tenancy.current_alias()].cursor() as cursor:
        for key in sorted(set(names)):
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])


def try_share(name: str) -> bool:
    """Hold the named lock together with other sharers until the open transaction ends.

    False if somebody has it alone, with `lock` or `try_lock`.
    """
    with connections[tenancy.current_alias()].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock_shared(hashtextextended(%s, 0))", [name])
        return bool(cursor.fetchone()[0])


def try_lock(name: str) -> bool:
    """Hold the named lock until the open transaction ends; False if another one holds it."""
    return bool(try_lock_each([name]))


def try_lock_each(names: Iterable[str]) -> list[str]:
    """Hold each lock that nobody else holds until the open transaction ends; returns those names.

    It waits for none of them.
    """
    with connections[tenancy.current_alias()].cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS names (name)"
            " WHERE pg_try_advisory_xact_lock(hashtextextended(name, 0))",
            [sorted(set(names))],
        )
        return [name for (name,) in cursor.fetchall()]
