"""A database that was restored goes on where the files of the stream end."""

from collections.abc import Callable
from pathlib import Path
from typing import IO
from uuid import UUID

import pytest
from django.conf import settings

from audit.batches import NOTHING
from audit.continuing import continue_after_restore
from audit.errors import StreamBrokenError
from audit.exporting import export_events, stream_lag
from audit.lines import BEGINNING, chained
from audit.models import ExportBatch
from audit.tests.captured import one
from audit.tests.streams import (
    add_events,
    export_everything,
    files_of_stream,
    ids_in_database,
    ids_in_files,
    lines_in,
    make_stream,
)
from audit.verification import verify_stream
from common.storage import place
from common.tenancy import as_operator
from common.tests.connections import Connection, connect_as, connect_as_superuser

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

# How the server that was lost counted its transactions, compared with the one that goes on.
COUNTS = ["alike", "further", "less"]


def unhindered() -> Connection:
    """A superuser whom no trigger stops."""
    connection = connect_as_superuser()
    connection.execute(b"SET session_replication_role = replica")
    return connection


def renumber(count: str) -> None:
    """Files and rows as they would be had they come from such a server."""
    if count == "alike":
        return
    with unhindered() as superuser:
        lowest = int(one(superuser, "SELECT min(xid)::text FROM audit_change_event"))
        shift = 10**12 if count == "further" else 10 - lowest
        shifted = "({0}::text::bigint + {1})::text::xid8"
        superuser.execute(
            f"UPDATE audit_change_event SET xid = {shifted.format('xid', shift)}".encode()
        )
        for key, after, upto in superuser.execute(
            b"SELECT id, after::text, upto::text FROM audit_export_batch"
        ).fetchall():
            superuser.execute(
                "UPDATE audit_export_batch SET after = %s, upto = %s WHERE id = %s",
                [moved(str(after), shift), moved(str(upto), shift), key],
            )
        head, number = BEGINNING, 1
        for sequence, file in enumerate(files_of_stream(), 1):
            events = [
                {key: value for key, value in line.items() if key not in ("n", "previous", "hash")}
                for line in lines_in(file)
            ]
            previous = head
            texts = []
            for text, digest in chained(
                ({**event, "xid": event["xid"] + shift} for event in events),
                first_line=number,
                previous=previous,
            ):
                texts.append(text)
                head = digest
            number += len(texts)
            file.write_bytes(b"".join(texts))
            superuser.execute(
                "UPDATE audit_export_batch SET previous_head = %s,"
                " head = CASE WHEN written_at IS NOT NULL THEN %s END,"
                " sha256 = CASE WHEN written_at IS NOT NULL THEN sha256(%s) END"
                " WHERE sequence = %s",
                [previous, head, file.read_bytes(), sequence],
            )
        superuser.execute(
            "UPDATE audit_export_batch SET previous_head = %s WHERE written_at IS NULL", [head]
        )


def moved(snapshot: str, shift: int) -> str:
    """The snapshot of a server that counts otherwise; that of the beginning stays."""
    numbers = [part.split(",") if part else [] for part in snapshot.split(":")]
    if snapshot == NOTHING:
        return snapshot
    return ":".join(",".join(str(max(int(n) + shift, 1)) for n in part) for part in numbers)


def restore(*, files: int, events: set[UUID]) -> None:
    """The database as it was when it had these events and told of so many files."""
    with unhindered() as superuser:
        superuser.execute("DELETE FROM audit_export_batch WHERE sequence > %s", [files])
        superuser.execute(
            "DELETE FROM audit_change_event WHERE id <> ALL (%s::uuid[])", [list(events)]
        )


def batches() -> list[tuple[int, int, int, bool]]:
    """Of each file its number, its first line, its lines, and whether it is written."""
    with as_operator("test"):
        rows = ExportBatch.objects.order_by("sequence")
        return [
            (row.sequence, row.first_line, row.lines, row.written_at is not None) for row in rows
        ]


def check_whole(*, lost: int = 0) -> None:
    """Every event is in the files once, also those that the database has lost."""
    exported = ids_in_files()
    assert len(exported) == len(set(exported)) == len(ids_in_database()) + lost
    assert set(ids_in_database()) <= set(exported)
    assert verify_stream().problems == []


@pytest.mark.parametrize("count", COUNTS)
def test_what_the_files_tell_is_taken_over_and_new_events_follow(count: str) -> None:
    make_stream(3)
    add_events(2)
    restored = set(ids_in_database())
    export_everything()
    add_events(4)
    export_everything()
    renumber(count)
    restore(files=1, events=restored)

    heads = [lines_in(file)[-1] for file in files_of_stream()]

    assert continue_after_restore() == 2
    assert batches() == [(1, 1, 3, True), (2, 4, 2, True), (3, 6, 4, True), (4, 10, 0, False)]
    export_events()

    check_whole(lost=4)
    assert batches() == [(1, 1, 3, True), (2, 4, 2, True), (3, 6, 4, True), (4, 10, 0, True)]
    assert export_events() is None
    add_events(5)
    export_everything()
    assert batches()[4:] == [(5, 10, 5, True)]
    check_whole(lost=4)
    for line in heads:
        assert verify_stream(known_head=(line["n"], line["hash"])).problems == []


@pytest.mark.parametrize("count", COUNTS)
def test_restored_events_that_are_in_no_file_are_written(count: str) -> None:
    make_stream(3)
    add_events(2)
    renumber(count)

    assert continue_after_restore() == 0
    export_events()

    assert batches() == [(1, 1, 3, True), (2, 4, 2, True)]
    check_whole()
    add_events(1)
    export_everything()
    check_whole()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("written", [True, False], ids=["and written then", "and never written"])
def test_a_plan_that_was_restored_is_carried_out_and_what_came_after_it_too(
    count: str, *, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stream(3)
    add_events(2)
    with monkeypatch.context() as patched:
        patched.setattr("audit.exporting.place", placed_and_killed)
        while len(files_of_stream()) == 1:
            try:
                export_events()
            except OSError:
                break
    if not written:
        files_of_stream()[1].unlink()
    add_events(4)
    renumber(count)
    assert batches() == [(1, 1, 3, True), (2, 4, 0, False)]

    assert continue_after_restore() == int(written)
    export_events()

    told = [(2, 4, 2, True), (3, 6, 4, True)] if written else [(2, 4, 6, True)]
    assert batches() == [(1, 1, 3, True), *told]
    check_whole()
    add_events(1)
    export_everything()
    check_whole()


def placed_and_killed(name: str, file: IO[bytes]) -> bool:
    place(name, file)
    raise OSError("killed")


def test_a_database_that_knows_no_file_takes_over_all(files: Path) -> None:
    make_stream(3, 2)
    renumber("further")
    restore(files=0, events=set())

    assert continue_after_restore() == 2

    add_events(1)
    export_everything()
    check_whole(lost=5)
    assert [row[0] for row in batches()] == [1, 2, 3, 4]


def test_a_restored_database_may_be_restored_again() -> None:
    make_stream(3)
    renumber("further")
    continue_after_restore()
    add_events(2)
    restored = set(ids_in_database())
    export_everything()
    add_events(1)
    export_everything()
    restore(files=2, events=restored)

    assert continue_after_restore() == 2
    assert continue_after_restore() == 0

    add_events(1)
    export_everything()
    check_whole(lost=1)
    assert [row[0] for row in batches()] == list(range(1, len(batches()) + 1))


def test_without_files_and_events_it_only_marks_the_place() -> None:
    assert continue_after_restore() == 0
    export_events()

    assert batches() == [(1, 1, 0, True)]
    add_events(2)
    export_everything()
    check_whole()


def test_until_the_next_export_the_storage_is_as_it_was() -> None:
    make_stream(3)
    add_events(2)
    before = {file: file.read_bytes() for file in files_of_stream()}

    continue_after_restore()

    assert {file: file.read_bytes() for file in files_of_stream()} == before
    assert verify_stream().problems == []
    with as_operator("test"):
        assert 0 < stream_lag() < 60


@pytest.mark.parametrize("count", COUNTS)
def test_what_is_at_work_meanwhile_comes_later_in_the_stream(count: str) -> None:
    make_stream(3)
    add_events(2)
    renumber(count)
    with connect_as("default") as early, connect_as("default") as late:
        with early.transaction(), late.transaction():
            early.execute("SELECT pg_current_xact_id()")
            add_events(2, late)
            if count != "further":
                # One that has ended, with greater keys.
                add_events(1)
            continue_after_restore()
            add_events(3, early)
            export_everything()
        export_everything()

    assert batches()[1:2] == [(2, 4, 2 if count == "further" else 3, True)]
    check_whole()


def test_numbers_of_restored_transactions_that_are_given_again_are_no_reason_to_mix_them() -> None:
    make_stream(1)
    for _ in range(5):
        add_events(1)
    with unhindered() as superuser:
        # The other server was three transactions ahead of this one.
        superuser.execute(
            b"WITH ranked AS (SELECT id, row_number() OVER (ORDER BY id) - 3 AS number,"
            b"               pg_current_xact_id()::text::bigint AS here FROM audit_change_event)"
            b" UPDATE audit_change_event e SET xid = (here + number)::text::xid8"
            b" FROM ranked WHERE ranked.id = e.id AND number > -2"
        )
    continue_after_restore()
    for _ in range(8):
        add_events(1)

    export_everything()

    assert batches()[:2] == [(1, 1, 1, True), (2, 2, 5, True)]
    check_whole()


def test_lost_transactions_whose_numbers_are_given_again_hide_nothing() -> None:
    make_stream(3, 2)
    restore(files=1, events=set(ids_in_database()[:3]))
    add_events(1)
    lost = files_of_stream()[1]
    with unhindered() as superuser:
        number = int(one(superuser, "SELECT max(xid::text::bigint) FROM audit_change_event"))
    write_anew(lost, xid=number)

    assert continue_after_restore() == 1
    export_everything()

    assert batches()[:3] == [(1, 1, 3, True), (2, 4, 2, True), (3, 6, 1, True)]
    check_whole(lost=2)


def write_anew(file: Path, **values: object) -> None:
    """The same events with other values."""
    lines = lines_in(file)
    events = (
        {key: value for key, value in line.items() if key not in ("n", "previous", "hash")} | values
        for line in lines
    )
    previous = bytes.fromhex(lines[0]["previous"])
    texts = chained(events, first_line=lines[0]["n"], previous=previous)
    file.write_bytes(b"".join(text for text, _ in texts))


@pytest.mark.parametrize("count", COUNTS)
def test_a_file_that_the_old_database_wrote_before_it_was_replaced_is_taken_over(
    count: str,
) -> None:
    make_stream(3)
    restored = set(ids_in_database())
    add_events(2)
    export_everything()
    renumber(count)
    last = files_of_stream()[1]
    text = last.read_bytes()
    last.unlink()
    restore(files=1, events=restored)
    continue_after_restore()
    assert batches() == [(1, 1, 3, True), (2, 4, 0, False)]
    last.write_bytes(text)
    add_events(4)

    export_everything()

    assert batches()[:3] == [(1, 1, 3, True), (2, 4, 2, True), (3, 6, 0, True)]
    assert last.read_bytes() == text
    check_whole(lost=2)


def date_ahead(query: str) -> None:
    with unhindered() as superuser:
        superuser.execute(query.replace("AHEAD", KEY_AHEAD).encode())


KEY_AHEAD = "audit_first_id(clock_timestamp() + interval '10 minutes')"
LAST_EVENT = """
    UPDATE audit_change_event SET id = AHEAD
    WHERE id = (SELECT id FROM audit_change_event ORDER BY id DESC LIMIT 1)
"""


def test_a_clock_behind_what_another_server_did_stops_it_and_nothing_has_changed() -> None:
    make_stream(3)
    add_events(2)
    renumber("further")
    date_ahead(LAST_EVENT)
    files = {file: file.read_bytes() for file in files_of_stream()}

    with pytest.raises(StreamBrokenError, match=r"is behind what was restored: set it, or wait"):
        continue_after_restore()

    assert batches() == [(1, 1, 3, True)]
    assert {file: file.read_bytes() for file in files_of_stream()} == files


def test_where_numbers_tell_the_past_from_the_present_the_clock_does_not_matter() -> None:
    make_stream(3)
    add_events(2)
    date_ahead(LAST_EVENT)
    continue_after_restore()
    add_events(4)

    export_everything()

    check_whole()


def test_a_clock_that_is_put_back_behind_what_was_restored_is_noticed_at_once() -> None:
    make_stream(3)
    renumber("further")
    continue_after_restore()
    export_events()
    date_ahead("UPDATE audit_export_batch SET first_id = AHEAD WHERE sequence = 2")
    add_events(1)

    with pytest.raises(StreamBrokenError, match="The clock of the database's server is behind"):
        export_events()
    with as_operator("test"), pytest.raises(StreamBrokenError, match="The clock"):
        stream_lag()
    assert batches() == [(1, 1, 3, True), (2, 4, 0, True)]


def break_a_line(files: list[Path]) -> None:
    files[2].write_bytes(files[2].read_bytes().replace(b'"app"', b'"own"', 1))


def tear(files: list[Path]) -> None:
    files[2].write_bytes(files[2].read_bytes()[:-20])


def write_nonsense(files: list[Path]) -> None:
    files[1].write_bytes(b"nonsense\n")


def remove(files: list[Path]) -> None:
    files[1].unlink()


def take_a_line_away(files: list[Path]) -> None:
    files[1].write_bytes(b"".join(files[1].read_bytes().splitlines(keepends=True)[1:]))


def repeat(files: list[Path]) -> None:
    folder = Path(settings.MEDIA_ROOT) / "observability" / "year=2001"
    folder.mkdir()
    (folder / files[1].name).write_bytes(files[1].read_bytes())


@pytest.mark.parametrize(
    "damage", [break_a_line, tear, write_nonsense, remove, take_a_line_away, repeat]
)
def test_a_file_that_does_not_follow_stops_it_and_nothing_has_changed(
    damage: Callable[[list[Path]], None],
) -> None:
    make_stream(3, 2, 4)
    restore(files=1, events=set(ids_in_database()[:3]))
    damage(files_of_stream())
    rows, files = batches(), {file: file.read_bytes() for file in files_of_stream()}

    with pytest.raises(StreamBrokenError, match=r"0000000000\d\d\.jsonl"):
        continue_after_restore()

    assert batches() == rows == [(1, 1, 3, True)]
    assert {file: file.read_bytes() for file in files_of_stream()} == files
