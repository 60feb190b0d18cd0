"""Months past their time go, once they are in files; months to come are made, in good time."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError

from audit.models import SecurityEvent
from audit.retention import MONTHS_AHEAD, apply_retention, make_partitions
from audit.tasks import keep_partitions
from audit.tests.captured import one
from audit.tests.months import (
    EVENTS,
    fill,
    make_month,
    part_of,
    partitions,
)
from audit.tests.streams import add_events, export_everything, files_of_stream, name_of
from common.tenancy import as_operator
from common.tests.connections import Connection, connect_as, connect_as_superuser
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

CHANGE, SECURITY, ORIGIN = EVENTS


@pytest.fixture(autouse=True)
def superuser(transactional_db: None) -> Iterator[Connection]:
    """Afterwards the partitions are those that were there before."""
    with connect_as_superuser() as connection:
        before = partitions(connection)
        yield connection
        connection.execute(b"SET session_replication_role = replica")
        for part in partitions(connection) - before:
            connection.execute(f"DROP TABLE {part}".encode())
        connection.execute(b"SET session_replication_role = origin")
        connection.execute("SELECT audit_make_partitions(%s)", [MONTHS_AHEAD])
        assert partitions(connection) == before


def old_month(superuser: Connection, parent: str, years: int, count: int = 1) -> str:
    """A month so many years ago, with so many rows."""
    day = datetime.now(UTC).replace(day=15) - timedelta(days=365 * years)
    part = make_month(superuser, parent, day.year, day.month)
    if count:
        fill(superuser, parent, day, count)
    return part


def count_of(superuser: Connection, parent: str) -> int:
    return int(one(superuser, f"SELECT count(*) FROM {parent}"))


def test_a_dry_run_tells_what_would_go_and_changes_nothing(superuser: Connection) -> None:
    part = old_month(superuser, CHANGE, 8, 3)
    export_everything()
    before = partitions(superuser)

    told = apply_retention(dry_run=True)

    assert [(one.part, one.rows) for one in told] == [(part, 3)]
    assert told[0].ends_at == end_of(part)
    assert partitions(superuser) == before
    assert count_of(superuser, CHANGE) == 3
    assert count_of(superuser, SECURITY) == 0


def end_of(part: str) -> datetime:
    """The first moment of the month after the one that the partition is named for."""
    year, month = int(part[-7:-3]), int(part[-2:])
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def test_months_past_their_time_go_and_an_event_says_so(superuser: Connection) -> None:
    gone = {old_month(superuser, CHANGE, 8, 3), old_month(superuser, SECURITY, 9, 2)}
    kept = {old_month(superuser, CHANGE, 6, 4), old_month(superuser, SECURITY, 2, 5)}
    export_everything()
    before = partitions(superuser)

    dropped = apply_retention()

    assert {part.part for part in dropped} == gone
    assert before - partitions(superuser) == gone
    assert kept <= partitions(superuser)
    assert count_of(superuser, CHANGE) == 4
    with as_operator("test"):
        (event,) = SecurityEvent.objects.filter(kind="retention_applied")
    assert sorted(event.details["parts"]) == sorted(gone)
    assert event.details["rows"] == 5
    assert apply_retention() == []
    with as_operator("test"):
        assert SecurityEvent.objects.filter(kind="retention_applied").count() == 1


def test_origins_go_years_before_their_events(superuser: Connection) -> None:
    event = old_month(superuser, SECURITY, 1, 2)
    origin = old_month(superuser, ORIGIN, 1, 2)
    export_everything()

    dropped = apply_retention()

    assert [(part.part, part.rows) for part in dropped] == [(origin, 2)]
    assert event in partitions(superuser)


@pytest.mark.parametrize("parent", [CHANGE, SECURITY])
def test_a_month_that_is_in_no_file_stays(superuser: Connection, parent: str) -> None:
    part = old_month(superuser, parent, 8, 2)

    assert apply_retention() == []
    assert part in partitions(superuser)
    assert count_of(superuser, parent) == 2

    export_everything()
    assert [dropped.part for dropped in apply_retention()] == [part]


def test_one_event_that_is_in_no_file_keeps_its_whole_month(superuser: Connection) -> None:
    part = old_month(superuser, CHANGE, 8, 500)
    export_everything()
    fill(superuser, CHANGE, end_of(part) - timedelta(days=1))

    assert apply_retention() == []
    assert count_of(superuser, CHANGE) == 501


def test_files_of_a_server_that_counted_further_vouch_for_nothing(superuser: Connection) -> None:
    """After a restore transactions begin with smaller numbers again."""
    add_events(1)
    export_everything()
    superuser.execute(b"SET session_replication_role = replica")
    superuser.execute(b"UPDATE audit_export_batch SET upto = '9000000000:9000000000:'")
    superuser.execute(
        "INSERT INTO audit_export_batch (sequence, after, upto, first_id, stored_as,"
        " first_line, lines, previous_head, head, sha256, written_at)"
        " SELECT 2, '1:1:', '1:1:', '00000000-0000-0000-0000-000000000000', 'marker', 2, 0,"
        " head, head, sha256, now() FROM audit_export_batch"
    )
    superuser.execute(b"SET session_replication_role = origin")

    part = old_month(superuser, CHANGE, 8, 2)

    assert apply_retention() == []
    assert part in partitions(superuser)


def remove(file: Path) -> None:
    file.unlink()


def change(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"app"', b'"own"', 1))


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])


@pytest.mark.parametrize("damage", [remove, change, cut_short])
def test_a_month_whose_file_is_not_as_it_was_written_stays_and_so_do_those_after_it(
    superuser: Connection, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    first = old_month(superuser, CHANGE, 10, 2)
    export_everything()
    second, origins = old_month(superuser, CHANGE, 9, 3), old_month(superuser, ORIGIN, 1, 2)
    export_everything()
    third = {old_month(superuser, CHANGE, 8), old_month(superuser, SECURITY, 8)}
    export_everything()
    file = files_of_stream()[1]
    whole = file.read_bytes()
    damage(file)

    told = apply_retention(dry_run=True)
    dropped = apply_retention()

    assert told == dropped
    assert {part.part for part in dropped} == {first, origins}
    assert {second, *third} <= partitions(superuser)
    assert count_of(superuser, CHANGE) == 4
    assert f"the events until {end_of(second):%Y-%m-%d} stay: {name_of(file)}" in caplog.text

    file.write_bytes(whole)
    assert {part.part for part in apply_retention()} == {second, *third}


def test_lines_of_events_that_a_restore_has_lost_vouch_for_no_other(superuser: Connection) -> None:
    part = old_month(superuser, CHANGE, 8, 3)
    export_everything()
    superuser.execute(b"SET session_replication_role = replica")
    superuser.execute(f"DELETE FROM {part}".encode())
    fill(superuser, CHANGE, end_of(part) - timedelta(days=2), 2)
    # As if it had been said that they are written.
    superuser.execute(b"UPDATE audit_change_event SET xid = '3'")
    superuser.execute(b"SET session_replication_role = origin")

    assert apply_retention() == []
    assert count_of(superuser, CHANGE) == 2


def test_a_month_that_ended_within_the_time_stays(superuser: Connection, settings: Any) -> None:
    settings.AUDIT_EVENT_DAYS = 365
    recent, older = (
        make_month(superuser, CHANGE, day.year, day.month)
        for day in (datetime.now(UTC) - timedelta(days=days) for days in (330, 400))
    )

    assert [part.part for part in apply_retention()] == [older]
    assert recent in partitions(superuser)


def test_what_came_without_a_partition_of_its_month_is_never_dropped(
    superuser: Connection,
) -> None:
    for parent in EVENTS:
        fill(superuser, parent, datetime(2001, 5, 5, tzinfo=UTC))
    export_everything()

    assert apply_retention() == []
    assert [count_of(superuser, parent) for parent in EVENTS] == [1, 1, 1]


def test_several_at_once_drop_each_month_once(superuser: Connection) -> None:
    gone = {old_month(superuser, CHANGE, 8), old_month(superuser, SECURITY, 8)}
    export_everything()

    answers = at_once([apply_retention] * 3)

    # One may have waited for too long.
    assert {type(answer) for answer in answers} <= {list, OperationalError}
    dropped = [part.part for answer in answers if isinstance(answer, list) for part in answer]
    assert gone.isdisjoint(partitions(superuser))
    assert sorted(dropped) == sorted(gone)


def test_the_command_prints_what_goes(
    superuser: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    part = old_month(superuser, CHANGE, 8, 3)
    export_everything()

    call_command("audit_retention", "--dry-run", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"] is True
    assert [(part["part"], part["rows"]) for part in told["parts"]] == [(part, 3)]

    call_command("audit_retention")
    assert capsys.readouterr().out.splitlines()[0].startswith(f"{part}: 3 rows, ended 20")
    call_command("audit_retention", "--dry-run")
    assert capsys.readouterr().out == "0 parts would go.\n"


def coming_months(superuser: Connection, parent: str) -> list[str]:
    today = datetime.now(UTC)
    months = [today.year * 12 + today.month - 1 + ahead for ahead in range(MONTHS_AHEAD + 1)]
    return [part_of(parent, month // 12, month % 12 + 1) for month in months]


def test_every_month_to_come_has_a_partition(superuser: Connection) -> None:
    for parent in EVENTS:
        assert set(coming_months(superuser, parent)) <= partitions(superuser)
    assert make_partitions() == []


def drop_last_months(superuser: Connection) -> set[str]:
    last = {coming_months(superuser, parent)[-1] for parent in EVENTS}
    for part in last:
        superuser.execute(f"DROP TABLE {part}".encode())
    return last


def test_a_missing_month_is_made_closed_to_everybody(superuser: Connection) -> None:
    last = drop_last_months(superuser)

    assert set(make_partitions()) == last
    assert make_partitions() == []
    for part in last:
        forced = "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = %s"
        assert one(superuser, forced, part) is True
        assert (
            one(superuser, "SELECT relowner::regrole::text FROM pg_class WHERE relname = %s", part)
            == "owner"
        )
        with pytest.raises(psycopg.errors.RestrictViolation):
            superuser.execute(f"TRUNCATE {part}".encode())


def test_several_at_once_make_each_month_once(superuser: Connection) -> None:
    last = drop_last_months(superuser)

    answers = at_once([make_partitions] * 4)

    assert {type(answer) for answer in answers} <= {list, OperationalError}
    made = [name for answer in answers if isinstance(answer, list) for name in answer]
    assert sorted(made) == sorted(last)
    assert last <= partitions(superuser)


def test_a_month_with_rows_in_the_default_partition_is_left_there_and_works(
    superuser: Connection,
) -> None:
    last = drop_last_months(superuser)
    missing = coming_months(superuser, CHANGE)[-1]
    day = datetime(int(missing[-7:-3]), int(missing[-2:]), 10, tzinfo=UTC)
    fill(superuser, CHANGE, day, 2)

    assert set(make_partitions()) == last - {missing}

    fill(superuser, CHANGE, day + timedelta(days=1), 1)
    assert one(superuser, f"SELECT count(*) FROM {CHANGE}_default") == 3
    export_everything()
    # So that it can be made again.
    superuser.execute(b"SET session_replication_role = replica")
    superuser.execute(f"DELETE FROM {CHANGE}".encode())
    superuser.execute(b"SET session_replication_role = origin")


def test_both_give_up_soon_while_a_transaction_holds_the_table(superuser: Connection) -> None:
    part = old_month(superuser, CHANGE, 8)
    export_everything()
    last = drop_last_months(superuser)
    with connect_as("default") as app, app.transaction():
        add_events(1, app)
        for work in (make_partitions, apply_retention):
            began = time.monotonic()
            with pytest.raises(OperationalError, match="lock timeout"):
                work()
            assert 1 < time.monotonic() - began < 15
        # The task is tried again in an hour.
        keep_partitions.run()
        # Nobody waits for them any more.
        with connect_as("default") as another:
            another.execute("SET statement_timeout = '5s'")
            add_events(1, another)

    assert part in partitions(superuser)
    assert last.isdisjoint(partitions(superuser))
    keep_partitions.run()
    assert last <= partitions(superuser)
    assert part not in partitions(superuser)
