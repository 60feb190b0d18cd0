"""How long logins last, what moves their end, and what becomes of them afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone

from accounts.choices import SessionEnd
from accounts.models import DeviceSession, StoredSession
from accounts.services import sessions
from accounts.tasks import ENDED_SESSIONS_KEPT, forget_sessions
from accounts.tests.factories import keep_session, make_user
from accounts.tests.phones import Phone, registered
from common.tests.connections import connect_as_superuser, raw_app

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

ACCOUNT = "/api/v1/account/"
SESSIONS = "/api/v1/sessions/"
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def phone() -> Phone:
    return registered()


def opens(phone: Phone) -> int:
    return int(phone.call("get", ACCOUNT).status_code)


def move(**times: datetime) -> None:
    """The times of every session, which nobody else may write."""
    with connect_as_superuser() as database:
        for column, at in times.items():
            database.execute(f"UPDATE accounts_devicesession SET {column} = %s".encode(), [at])


@contextmanager
def at_time(now: datetime) -> Iterator[None]:
    """Everybody takes it to be that time."""
    with mock.patch.object(timezone, "now", return_value=now):
        yield


# --- How long ---------------------------------------------------------------------------------


def test_a_login_lasts_as_the_settings_say_and_has_an_end_in_any_case(phone: Phone) -> None:
    session = DeviceSession.objects.get()

    assert session.expires_at - session.proved_at == settings.SESSION_DAYS * DAY
    assert session.latest_at - session.proved_at == settings.SESSION_LONGEST_DAYS * DAY
    stored = StoredSession.objects.get()
    assert abs(stored.expires_at - session.expires_at) < MINUTE


def test_a_refresh_moves_the_end_of_the_login_and_of_what_is_stored(phone: Phone) -> None:
    soon = timezone.now() + DAY
    move(expires_at=soon)
    with connect_as_superuser() as database:
        database.execute("UPDATE accounts_storedsession SET expires_at = %s", [soon])

    assert phone.refresh().status_code == 200

    session = DeviceSession.objects.get()
    rotated_at = session.rotated_at
    assert rotated_at is not None
    assert session.expires_at == rotated_at + settings.SESSION_DAYS * DAY
    assert StoredSession.objects.get().expires_at == session.expires_at


def test_whoever_comes_back_in_time_stays_until_the_longest_time_is_over(phone: Phone) -> None:
    begun = DeviceSession.objects.get().proved_at
    longest = begun + settings.SESSION_LONGEST_DAYS * DAY
    ends = []

    for days in range(25, settings.SESSION_LONGEST_DAYS, 25):
        with at_time(begun + days * DAY):
            assert phone.refresh().status_code == 200
        ends.append(DeviceSession.objects.get().expires_at)

    assert ends == [begun + 55 * DAY, begun + 80 * DAY, longest]
    with at_time(longest + MINUTE):
        assert phone.refresh().status_code == 400


def test_after_the_first_month_the_doors_of_identity_are_open_too(phone: Phone) -> None:
    """What is stored of the session ends with it, and not a month after the login."""
    phone.refresh()
    session = DeviceSession.objects.get()

    assert StoredSession.objects.get().expires_at == session.expires_at
    assert phone.call("get", "account/email").status_code == 200


# --- Refreshed by several at once -------------------------------------------------------------


def test_a_refresh_that_is_late_does_not_set_the_number_back(phone: Phone) -> None:
    """One waits between reading and writing; meanwhile the app goes on and refreshes twice."""
    first, held, go_on = phone.refresh_token, Event(), Event()
    rotate = sessions._rotate
    late: list[Any] = []

    def rotate_late(session: DeviceSession, now: datetime) -> None:
        if not held.is_set():
            held.set()
            assert go_on.wait(30)
        rotate(session, now)

    def refresh_late() -> None:
        try:
            late.append(sessions.refresh_session(first))
        finally:
            connections.close_all()

    def refresh_twice() -> None:
        try:
            for _ in range(2):
                assert phone.refresh().status_code == 200
        finally:
            connections.close_all()

    with mock.patch.object(sessions, "_rotate", rotate_late):
        threads = [Thread(target=refresh_late), Thread(target=refresh_twice)]
        threads[0].start()
        assert held.wait(30)
        threads[1].start()
        # With the row's lock the second waits for the first; without it, it has long been done.
        threads[1].join(2)
        go_on.set()
        for thread in threads:
            thread.join(30)

    assert len(late) == 1
    assert DeviceSession.objects.get().generation == 2
    assert phone.refresh().status_code == 200
    assert opens(phone) == 200


# --- Whose, and from where --------------------------------------------------------------------


def test_its_owner_reads_from_where_a_login_is(phone: Phone) -> None:
    (row,) = phone.call("get", SESSIONS).json()["results"]

    assert (row["address"], row["agent"]) == ("127.0.0.1", "Commonplace/1 (Ada's iPhone)")
    with connect_as_superuser() as database:
        sealed = database.execute("SELECT address::bytea FROM accounts_devicesession").fetchall()
    assert b"127.0.0.1" not in bytes(sealed[0][0])  # type: ignore[call-overload]  # it is bytes


def test_whoever_names_a_device_of_somebody_else_ends_no_login_there(phone: Phone) -> None:
    stranger = Phone(phone.name)
    assert stranger.device_id == phone.device_id

    stranger.sign_up("stranger@example.org")
    stranger.confirm()

    assert (opens(stranger), opens(phone)) == (200, 200)
    assert StoredSession.objects.count() == 2
    assert not DeviceSession.objects.exclude(ended_at=None).exists()
    assert phone.call("get", "account/email").status_code == 200


def test_the_last_use_of_a_login_is_noted_to_the_minute(phone: Phone) -> None:
    move(last_seen_at=timezone.now() - timedelta(seconds=30))
    just_now = DeviceSession.objects.get().last_seen_at
    opens(phone)
    assert DeviceSession.objects.get().last_seen_at == just_now

    move(last_seen_at=timezone.now() - timedelta(minutes=2))
    asked_at = timezone.now()
    assert opens(phone) == 200

    assert asked_at <= DeviceSession.objects.get().last_seen_at <= timezone.now()


# --- What is over stays over ------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        "ended_at = NULL, ended_because = ''",
        "expires_at = latest_at",
        "generation = 0",
        "proved_at = now()",
    ],
)
def test_nobody_brings_a_login_back_that_is_over(phone: Phone, values: str) -> None:
    assert phone.log_out().status_code == 401
    session = DeviceSession.objects.get()
    assert session.ended_because == SessionEnd.LOGGED_OUT
    statement = f"UPDATE accounts_devicesession SET {values}".encode()

    with raw_app(session.user_id) as raw:
        assert raw.execute(statement).rowcount == 0

    assert DeviceSession.objects.get().ended_at == session.ended_at


def test_while_it_goes_on_its_owner_alone_changes_it(phone: Phone) -> None:
    session = DeviceSession.objects.get()
    statement = b"UPDATE accounts_devicesession SET generation = 7"

    for actor, changed in ((None, 0), (make_user().pk, 0), (session.user_id, 1)):
        with raw_app(actor) as raw:
            assert raw.execute(statement).rowcount == changed


# --- Forgetting -------------------------------------------------------------------------------


def test_logins_that_are_long_over_are_forgotten_and_no_others() -> None:
    now = timezone.now()
    just_past = now - ENDED_SESSIONS_KEPT - MINUTE
    not_yet = now - ENDED_SESSIONS_KEPT + MINUTE
    times: dict[str, dict[str, datetime]] = {
        "goes on": {},
        "run out lately": {"expires_at": not_yet, "latest_at": not_yet},
        "run out long ago": {"expires_at": just_past, "latest_at": just_past},
        "ended lately": {"ended_at": not_yet},
        "ended long ago": {"ended_at": just_past},
    }
    kept = {name: keep_session(make_user()) for name in times}
    with connect_as_superuser() as database:
        for name, columns in times.items():
            for column, at in columns.items():
                why = ", ended_because = 'revoked'" if column == "ended_at" else ""
                statement = f"UPDATE accounts_devicesession SET {column} = %s{why} WHERE id = %s"
                database.execute(statement.encode(), [at, kept[name].pk])

    for _ in range(2):
        forget_sessions.apply(throw=True)

    left = set(DeviceSession.objects.values_list("pk", flat=True))
    assert {name for name, session in kept.items() if session.pk in left} == {
        "goes on", "run out lately", "ended lately",
    }  # fmt: skip


def test_of_those_that_go_on_what_is_stored_stays(phone: Phone) -> None:
    registered("stranger", "stranger@example.org")
    (session,) = [row["id"] for row in phone.call("get", SESSIONS).json()["results"]]
    with connect_as_superuser() as database:
        database.execute(
            "UPDATE accounts_storedsession SET expires_at = now() - interval '1 minute'"
            " WHERE device_session_id <> %s",
            [session],
        )

    forget_sessions.apply(throw=True)

    assert [str(row.device_session_id) for row in StoredSession.objects.all()] == [session]
    assert phone.call("get", "account/email").status_code == 200
