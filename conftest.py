"""The tests' database: one for each worker, migrated by the owner and then used as `app`."""

import re
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil
import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.management import call_command
from django.db import connections
from django.test import TransactionTestCase
from django.test.utils import override_settings
from hypothesis import settings as property_tests
from psycopg import sql
from pytest_django import DjangoDbBlocker

from common.bootstrap import bootstrap_database, drop_database, role_passwords
from common.tests.connections import connect_as_superuser
from config.testing import WORKER

# Tables that migrations fill: a flush must leave them.
FILLED_BY_MIGRATIONS = {"django_migrations", "django_content_type", "auth_permission"}

# How long an example takes says what else the machine is doing.
property_tests.register_profile("house", deadline=None)
property_tests.load_profile("house")

# A hash of a password is made to take long. The tests make thousands of them.
Argon2PasswordHasher.time_cost = 1
Argon2PasswordHasher.memory_cost = 1024

TRACES = {"trace", "operator_trace"}
_tests = count()
RUN_OF_DATABASE = re.compile(r"[a-z]+_commonplace_(?P<run>\d+)_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever a test does may leave a trace, on the connections that are for traces only."""
    for item in items:
        marker = item.get_closest_marker("django_db")
        if marker is not None:
            named = marker.kwargs.get("databases") or ["default"]
            wider = {**marker.kwargs, "databases": sorted({*named, *TRACES})}
            item.add_marker(pytest.mark.django_db(*marker.args, **wider), append=False)


@pytest.fixture(scope="session")
def files_of_all_tests() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="commonplace-files-") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def files_folder(files_of_all_tests: Path) -> Iterator[None]:
    """Stored files of each test lie in a folder of its own, as its rows are its own."""
    with override_settings(MEDIA_ROOT=str(files_of_all_tests / str(next(_tests)))):
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Instead of pytest-django's own: bootstrap as superuser, migrate as owner."""
    name = f"test_commonplace_{WORKER}"
    for alias in connections:
        connections[alias].settings_dict["NAME"] = name
    TransactionTestCase._fixture_teardown = flush  # type: ignore[attr-defined]  # not in the stubs
    with django_db_blocker.unblock():
        drop_databases_of_ended_runs()
        bootstrap_database(settings.DATABASE_SUPERUSER_URL, name, role_passwords())
        call_command("migrate", verbosity=0)
        yield
        connections.close_all()
        drop_database(settings.DATABASE_SUPERUSER_URL, name)


def drop_databases_of_ended_runs() -> None:
    """A run that was killed could not drop its own."""
    with psycopg.connect(settings.DATABASE_SUPERUSER_URL, autocommit=True) as server:
        names = server.execute("SELECT datname FROM pg_database").fetchall()
    for (name,) in names:
        match = RUN_OF_DATABASE.match(name)
        if match and not psutil.pid_exists(int(match["run"])):
            drop_database(settings.DATABASE_SUPERUSER_URL, name)


def flush(test_case: TransactionTestCase) -> None:
    """After a transactional test: empty every table, also those that refuse it."""
    with connect_as_superuser() as connection:
        # Triggers, and with them the refusals and foreign keys, are off in this session.
        connection.execute("SET session_replication_role = replica")
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        for (name,) in connection.execute(tables).fetchall():
            if name not in FILLED_BY_MIGRATIONS:
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(str(name))))
