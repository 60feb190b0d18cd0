import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from pytest_django import DjangoDbBlocker, Settings

from common.bootstrap import bootstrap_database, drop_database, role_passwords
from common.tests.connections import Connection, connect_as, connect_as_superuser
from common.tests.races import at_once

NAMES = [f"bootstrap_{os.getpid()}_{number}" for number in range(6)]
URL = settings.DATABASE_SUPERUSER_URL

# Longer than anybody waits here, and without the limit that would end it as well.
SLEEP = "SELECT pg_sleep(300)"
SLEEPING = f"""
import sys, psycopg
connection = psycopg.connect(sys.argv[1], autocommit=True, prepare_threshold=None)
with connection.transaction():
    connection.execute("SET LOCAL statement_timeout = 0")
    connection.execute("{SLEEP}")
"""
PATIENCE_SECONDS = 20


@pytest.fixture(autouse=True)
def databases(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield
        for name in NAMES:
            drop_database(URL, name)


def state_of(name: str) -> list[tuple[object, ...]]:
    """What the bootstrap makes in a database."""
    query = """
        SELECT d.datname::text, d.datdba::regrole::text, d.datacl::text,
               (SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public'),
               (SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension)
        FROM pg_database d WHERE d.datname = current_database()
    """
    with connect_as_superuser(name) as superuser:
        return superuser.execute(query.encode()).fetchall()


def test_six_at_once_make_six_databases() -> None:
    outcomes = at_once(
        [lambda name=name: bootstrap_database(URL, name, role_passwords()) for name in NAMES]  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    )

    assert outcomes == [None] * 6
    for name in NAMES:
        ((found, owner, _, _, extensions),) = state_of(name)
        assert (found, owner, extensions) == (name, "owner", "plpgsql vector")


def test_six_at_once_on_the_same_name_make_one() -> None:
    outcomes = at_once([lambda: bootstrap_database(URL, NAMES[0], role_passwords())] * 6)

    assert outcomes == [None] * 6
    assert len(state_of(NAMES[0])) == 1


def test_a_repetition_changes_nothing() -> None:
    bootstrap_database(URL, NAMES[0], role_passwords())
    first = state_of(NAMES[0])

    bootstrap_database(URL, NAMES[0], role_passwords())

    assert state_of(NAMES[0]) == first


def test_the_roles_have_the_standing_they_need_and_no_more() -> None:
    """Also one that had gained a power: one that no test on the same server depends on."""
    query = """
        SELECT rolname, rolcanlogin, rolbypassrls,
               rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication,
               ARRAY(SELECT roleid::regrole::text FROM pg_auth_members m WHERE m.member = r.oid)
        FROM pg_roles r
        WHERE rolname IN
              ('owner', 'app', 'operator', 'backup', 'metrics', 'analyst', 'definer')
    """
    with connect_as_superuser() as superuser:
        superuser.execute("ALTER ROLE metrics CREATEDB")
        bootstrap_database(URL, NAMES[0], {})
        rows = {row[0]: row[1:] for row in superuser.execute(query.encode()).fetchall()}

    # May log in, passes policies, has another power; is a member of.
    assert rows == {
        "app": (True, False, False, []),
        "operator": (True, False, False, []),
        "owner": (True, False, False, ["definer"]),
        "backup": (True, True, False, ["pg_read_all_data"]),
        "metrics": (True, False, False, ["pg_monitor"]),
        "analyst": (True, False, False, []),
        "definer": (False, False, False, []),
    }


@pytest.mark.django_db(databases=["default", "operator", "owner"])
@pytest.mark.parametrize(
    ("alias", "limit"), [("default", "30s"), ("operator", "1min"), ("owner", "0")]
)
def test_statements_of_the_roles_end_in_time(alias: str, limit: str) -> None:
    with connect_as(alias) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == (limit,)


def wait_for_sleepers(superuser: Connection, number: int) -> None:
    """Until so many statements sleep in this worker's database."""
    query = """
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND query = %s AND state = 'active'
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while superuser.execute(query, [SLEEP]).rowcount != number:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.django_db(databases=["default", "operator"])
@pytest.mark.parametrize("alias", ["default", "operator"])
def test_the_statement_of_a_killed_process_ends_soon(alias: str) -> None:
    with connect_as(alias) as connection:
        login, password = connection.info.dsn, connection.info.password
    environment = {**os.environ, "PGPASSWORD": password}

    with connect_as_superuser() as superuser:
        process = subprocess.Popen([sys.executable, "-c", SLEEPING, login], env=environment)
        try:
            wait_for_sleepers(superuser, 1)
        finally:
            process.kill()
            process.wait()

        wait_for_sleepers(superuser, 0)


def test_a_password_with_quotes_is_set_as_it_is() -> None:
    with connect_as_superuser() as superuser:
        superuser.execute("CREATE ROLE bootstrap_guest LOGIN")
        try:
            bootstrap_database(URL, NAMES[0], {"bootstrap_guest": 'it\'s "a" \\ secret'})
            row = superuser.execute(
                "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid"
                " WHERE rolname = 'bootstrap_guest'"
            ).fetchone()
        finally:
            superuser.execute("DROP ROLE bootstrap_guest")
    assert row == (True,)


def test_the_command_without_a_superuser_says_what_to_do(settings: Settings) -> None:
    settings.DATABASE_SUPERUSER_URL = ""

    with pytest.raises(CommandError, match="Set DATABASE_SUPERUSER_URL"):
        call_command("bootstrap_database")


def test_the_command_says_what_the_server_said(settings: Settings) -> None:
    settings.DATABASE_SUPERUSER_URL = psycopg.conninfo.make_conninfo(
        URL, dbname="there_is_no_such_database"
    )

    with pytest.raises(CommandError, match=r"The database could not be set up: .* does not exist"):
        call_command("bootstrap_database")
