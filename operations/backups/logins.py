"""Direct connections for dumps and restores: as `backup`, and as a superuser."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from common.tenancy import BACKUP_ALIAS
from operations.errors import MissingLoginError

Connection = psycopg.Connection[tuple[object, ...]]
Login = dict[str, str]

# A dump of hours leaves the session idle that holds its snapshot, or its lock.
LIMITS = ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")


def backup_login() -> Login:
    """How to connect as the role that reads everything. Raises MissingLoginError."""
    if BACKUP_ALIAS not in connections.settings:
        raise MissingLoginError(
            "Set DATABASE_BACKUP_URL: a backup is made with the login of the role backup."
        )
    keywords = {option.keyword.decode() for option in Conninfo.get_defaults()}
    given = connections[BACKUP_ALIAS].get_connection_params()
    # The name of the application would hide which program it is.
    return {
        key: str(value)
        for key, value in given.items()
        if key in keywords and key != "application_name"
    }


def superuser_login(database: str = "") -> Login:
    """How to connect as a superuser, to the database if one is named. Raises MissingLoginError."""
    if not settings.DATABASE_SUPERUSER_URL:
        raise MissingLoginError(
            "Set DATABASE_SUPERUSER_URL (or DATABASE_SUPERUSER_URL_FILE): a restore creates a"
            " database, and only a superuser restores what policies guard."
        )
    login = conninfo_to_dict(settings.DATABASE_SUPERUSER_URL)
    named = {
        key: str(value)
        for key, value in login.items()
        if value is not None and key != "application_name"
    }
    return named | ({"dbname": database} if database else {})


@contextmanager
def connected(login: Login) -> Iterator[Connection]:
    """A connection in autocommit that may work and wait for as long as it needs."""
    with psycopg.connect(**login, autocommit=True) as connection:  # type: ignore[arg-type]  # libpq's names
        for limit in LIMITS:
            connection.execute(sql.SQL("SET {} = 0").format(sql.Identifier(limit)))
        yield connection


@contextmanager
def beside(target: str) -> Iterator[Connection]:
    """A superuser's connection to the server, to another database than the target."""
    login = superuser_login()
    if login.get("dbname", login.get("user")) == target:
        login["dbname"] = "postgres"
    with connected(login) as connection:
        yield connection
