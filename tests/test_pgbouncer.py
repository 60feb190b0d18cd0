"""What holds when PgBouncer gives every transaction whatever session is free."""

import os
from collections.abc import Callable, Iterator
from uuid import UUID

import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections, transaction

from accounts.tests.factories import make_user
from common.tenancy import acting_as
from common.tests.connections import connect_as, raw_app
from common.tests.races import at_once
from tests.pgbouncer import FOLDER_VARIABLE, MISSING, PORT, pgbouncer, program
from tests.things import keep_key, keys_seen, setting
from tests.throwaway import new_folder

assert settings.SERVICES is not None
SERVER = settings.SERVICES.postgres

through_pgbouncer = pytest.mark.skipif(
    FOLDER_VARIABLE not in os.environ, reason="only in a run through PgBouncer"
)


@pytest.fixture
def single_session(transactional_db: None) -> Iterator[None]:
    """Django's alias `default` goes through a PgBouncer with one session for all its clients."""
    if program() is None:
        pytest.skip(MISSING)
    entry = connections["default"].settings_dict
    usual = {"HOST": entry["HOST"], "PORT": entry["PORT"]}
    folder = new_folder("pgbouncer-")
    logins = {entry["USER"]: entry["PASSWORD"]}
    with pgbouncer(folder, host=SERVER.host, port=SERVER.port, logins=logins, pool_size=1):
        connections["default"].close()
        entry.update(HOST=str(folder), PORT=PORT)
        try:
            yield
        finally:
            connections["default"].close()
            entry.update(usual)


def session() -> int:
    """The process of the server that answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


@through_pgbouncer
def test_this_run_goes_through_pgbouncer_in_transaction_mode() -> None:
    entry = connections["metrics"].settings_dict
    console = psycopg.connect(
        host=entry["HOST"],
        port=entry["PORT"],
        user=entry["USER"],
        password=entry["PASSWORD"],
        dbname="pgbouncer",
        autocommit=True,
    )
    with console:
        shown: dict[str, str] = dict(row[:2] for row in console.execute("SHOW CONFIG").fetchall())
        (version,) = console.execute("SHOW VERSION").fetchone() or ("",)

    assert str(version).startswith("PgBouncer")
    assert shown["pool_mode"] == "transaction"
    assert {
        alias: (entry["HOST"], entry["PORT"])
        for alias, entry in connections.settings.items()
        if alias != "backup"
    } == dict.fromkeys(
        ["default", "trace", "operator", "operator_trace", "owner", "metrics"],
        (os.environ[FOLDER_VARIABLE], PORT),
    )


@through_pgbouncer
@pytest.mark.django_db(transaction=True)
def test_two_transactions_of_one_connection_run_in_two_sessions() -> None:
    with transaction.atomic():
        first = session()

    with raw_app() as other:
        # The session that was freed last is the first to be given away.
        (taken,) = other.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        with transaction.atomic():
            second = session()

    assert taken == first
    assert second != first


@pytest.mark.django_db(transaction=True)
def test_people_who_share_one_session_never_meet(single_session: None) -> None:
    people = [make_user().pk for _ in range(4)]
    connection.close()

    def live_of(person: UUID) -> Callable[[], tuple[set[int], list[str]]]:
        def live() -> tuple[set[int], list[str]]:
            sessions = set()
            for number in range(10):
                with acting_as(person):
                    keep_key(person, f"{person} {number}")
                    assert setting() == str(person)
                    sessions.add(session())
                assert (setting(), keys_seen()) == ("", [])
            with acting_as(person):
                return sessions, keys_seen()

        return live

    outcomes = at_once([live_of(person) for person in people])

    (shared,) = {tuple(outcome[0]) for outcome in outcomes if isinstance(outcome, tuple)}
    assert len(shared) == 1
    assert outcomes == [
        (set(shared), [f"{person} {number}" for number in range(10)]) for person in people
    ]


@pytest.mark.django_db(transaction=True)
def test_after_an_error_the_shared_session_belongs_to_nobody(single_session: None) -> None:
    ada = make_user("ada")
    with pytest.raises(ValueError, match="no"), acting_as(ada.pk):  # noqa: PT012 - the work before the error is what is undone
        first = session()
        raise ValueError("no")

    with connect_as("default") as other:
        row = other.execute("SELECT pg_backend_pid(), current_setting('app.user_id', true)")
        assert row.fetchone() in ((first, ""), (first, None))
    assert setting() == ""


@pytest.mark.django_db(transaction=True)
def test_a_setting_of_the_session_would_reach_another_client(single_session: None) -> None:
    """The proof that these tests could see it."""
    with connect_as("default") as other:
        other.execute("SELECT set_config('app.user_id', 'leaked', false)")

    assert setting() == "leaked"
