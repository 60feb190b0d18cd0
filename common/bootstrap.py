"""The superuser's step before the first migration: database, roles, grants, extension."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import sql

SCRIPT = Path(__file__).with_name("bootstrap.sql")


def bootstrap_database(superuser_url: str, name: str, passwords: dict[str, str]) -> None:
    """Afterwards the database `name` exists with our roles, their passwords and pgvector.

    `superuser_url` leads to any database of the server. Safe to repeat and to run in parallel.
    """
    with psycopg.connect(superuser_url, autocommit=True) as server:
        # Roles are shared by all databases of a server: parallel bootstraps would collide. The
        # lock is of the database we are connected to, so every one takes it in the same place.
        server.execute("SELECT pg_advisory_lock(hashtextextended('bootstrap', 0))")
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(superuser_url, dbname=name, autocommit=True) as database:
            # Without parameters psycopg sends the whole script at once.
            database.execute(SCRIPT.read_bytes())
        for role, password in passwords.items():
            # The server may log the statement: it gets what proves the password, not the password.
            proof = server.pgconn.encrypt_password(
                password.encode(), role.encode(), b"scram-sha-256"
            )
            server.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(proof.decode())
                )
            )


def drop_database(superuser_url: str, name: str) -> None:
    """Afterwards there is no database `name`; its sessions are ended."""
    with psycopg.connect(superuser_url, autocommit=True) as server:
        server.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


def role_passwords() -> dict[str, str]:
    """The passwords that the settings give for each configured role."""
    configured = [connections[alias].settings_dict for alias in connections]
    return {entry["USER"]: entry["PASSWORD"] for entry in configured if entry["PASSWORD"]}


def database_name() -> str:
    return str(connections[DEFAULT_DB_ALIAS].settings_dict["NAME"])


@contextmanager
def led_to(name: str) -> Iterator[None]:
    """Within the block every alias of this process leads to the database `name`.

    Of this thread: others keep the connections that they have opened.
    """
    usual = database_name()
    _lead_to(name)
    try:
        yield
    finally:
        _lead_to(usual)


def _lead_to(name: str) -> None:
    connections.close_all()
    for alias in connections:
        connection = connections[alias]
        # A pool was made for one database and would go on handing it out.
        if "pool" in connection.settings_dict["OPTIONS"]:
            connection.close_pool()  # type: ignore[attr-defined]  # of PostgreSQL's backend
        connection.settings_dict["NAME"] = name
