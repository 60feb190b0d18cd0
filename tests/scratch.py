"""A database of its own for a test that migrates back and forth."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from common.bootstrap import bootstrap_database, drop_database, led_to, role_passwords


@contextmanager
def scratch_database(name: str) -> Iterator[None]:
    """Within the block every alias leads to an empty, bootstrapped database `name`."""
    try:
        with led_to(name):
            drop_database(settings.DATABASE_SUPERUSER_URL, name)
            bootstrap_database(settings.DATABASE_SUPERUSER_URL, name, role_passwords())
            yield
    finally:
        drop_database(settings.DATABASE_SUPERUSER_URL, name)
