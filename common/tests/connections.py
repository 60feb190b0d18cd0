"""Connections of tests that go around Django, to see what the database itself allows."""

import psycopg
from django.conf import settings
from django.db import connections

from common.bootstrap import database_name

Connection = psycopg.Connection[tuple[object, ...]]


def connect_as_superuser() -> Connection:
    """To this worker's test database, bound by no policy."""
    return psycopg.connect(
        settings.DATABASE_SUPERUSER_URL, dbname=database_name(), autocommit=True
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
    )
