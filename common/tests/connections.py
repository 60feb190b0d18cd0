"""Connections of tests that go around Django, to see what the database itself allows."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import connections

from common.bootstrap import database_name

Connection = psycopg.Connection[tuple[object, ...]]


def connect_as_superuser(name: str = "") -> Connection:
    """To this worker's test database (or the one named), bound by no policy."""
    return psycopg.connect(
        settings.DATABASE_SUPERUSER_URL, dbname=name or database_name(), autocommit=True
    )


def connect_as(alias: str) -> Connection:
    """To this worker's test database, with the login of one of Django's aliases."""
    entry = connections[alias].settings_dict
    return psycopg.connect(
        host=entry["HOST"],
        port=entry["PORT"],
        user=entry["USER"],
        password=entry["PASSWORD"],
        dbname=entry["NAME"],
        autocommit=True,
        # As Django does: PgBouncer would give the next transaction another session.
        prepare_threshold=None,
    )


@contextmanager
def raw_app(user_id: UUID | str | None = None) -> Iterator[Connection]:
    """A login as `app` in one open transaction, as the person if one is given."""
    with connect_as("default") as connection, connection.transaction():
        if user_id is not None:
            connection.execute("SELECT set_config('app.user_id', %s, true)", [str(user_id)])
        yield connection
