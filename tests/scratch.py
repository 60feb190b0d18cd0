"""A database of its own for a test that migrates back and forth."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connections

from common.bootstrap import (
    bootstrap_database,
    database_name,
    drop_database,
    role_passwords,
)


@contextmanager
def scratch_database(name: str) -> Iterator[None]:
    """Within the block every alias leads to an empty, bootstrapped database `name`."""
    usual = database_name()
    _lead_to(name)
    try:
        drop_database(settings.DATABASE_SUPERUSER_URL, name)
        bootstrap_database(settings.DATABASE_SUPERUSER_URL, name, role_passwords())
        yield
    finally:
        _lead_to(usual)
        drop_database(settings.DATABASE_SUPERUSER_URL, name)


def _lead_to(name: str) -> None:
    connections.close_all()
    for alias in connections:
        connections[alias].settings_dict["NAME"] = name
