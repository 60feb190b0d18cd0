"""The change stream and restores: one that ends early changes nothing, and no line is lost."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError

from accounts.tests.factories import make_user
from audit.batches import name_of_file
from audit.models import SecurityEvent
from audit.tests.streams import (
    add_events,
    export_everything,
    files_of_stream,
    ids_in_database,
    ids_in_files,
    name_of,
)
from audit.verification import verify_stream
from common.bootstrap import database_name
from common.tenancy import as_operator
from common.tests.connections import connect_as_superuser
from dedup.tests.processes import ON_TEST_DATABASE, PATIENCE_SECONDS, manage
from operations.backups import AFTER_RESTORE
from operations.backups.making import make_backup
from operations.tests.installations import command, databases, latest, process, rows_of
from operations.tests.test_restore_kill import restore_when_free
from tests.population import populate

ALIASES = ["default", "operator", "owner", "backup"]
pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)

# All that a restore does before the swap, and it does not come to an end.
HELD = f"""{ON_TEST_DATABASE}
import django, time
django.setup()
from operations.backups import AFTER_RESTORE
AFTER_RESTORE.append(lambda: (print("held", flush=True), time.sleep(600)))
runpy.run_path("manage.py", run_name="__main__")
"""


@pytest.fixture(autouse=True)
def _backed_up(installation: str, tmp_path: Path) -> None:
    """A backup with events that were in no file then, and a stream that went on."""
    populate(tmp_path, "ada")
    export_everything()
    add_events(2)
    make_backup()
    make_user("later")
    export_everything()


@pytest.fixture
def steps() -> Iterator[list[Callable[[], object]]]:
    """What a restore does; as it was afterwards."""
    usual = list(AFTER_RESTORE)
    yield AFTER_RESTORE
    AFTER_RESTORE[:] = usual


def contents() -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in files_of_stream()}


def everything() -> object:
    return databases(database_name()), rows_of(), contents()


def check_whole() -> None:
    numbers = [int(file.stem) for file in files_of_stream()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(ids_in_files()) == len(set(ids_in_files()))
    assert set(ids_in_database()) <= set(ids_in_files())
    assert verify_stream().problems == []


def check_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old database writes on another day, and a restore on that day comes to its end."""
    make_user("of-another-day")
    monkeypatch.setattr("audit.exporting.name_of_file", named_tomorrow)
    (batch,) = export_everything()
    assert batch.lines > 0
    check_whole()

    restore_when_free()
    export_everything()
    check_whole()
    with as_operator("test"):
        assert SecurityEvent.objects.filter(kind="backup_restored").count() == 1


def named_tomorrow(sequence: int, day: datetime) -> str:
    return name_of_file(sequence, day + timedelta(days=1))


def test_a_restore_that_fails_at_its_last_step_leaves_the_stream_whole(
    steps: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise psycopg.DataError("the last step")

    steps.append(fail)
    before = everything()

    with pytest.raises(CommandError, match="the last step"):
        command("restore", "latest", "--yes")

    assert everything() == before
    steps.remove(fail)
    check_that_it_goes_on(monkeypatch)


def test_a_restore_that_cannot_swap_leaves_the_stream_whole(
    installation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.backups.swapping.LOCK_SECONDS", 1)
    monkeypatch.setattr("operations.backups.swapping.ATTEMPTS", 1)
    before = everything()

    with connect_as_superuser("postgres") as other, other.transaction():
        other.execute(f"COMMENT ON DATABASE {installation} IS 'in work'".encode())
        with pytest.raises(CommandError, match="is still used and was not replaced"):
            command("restore", "latest", "--yes")

    assert everything() == before
    check_that_it_goes_on(monkeypatch)


def test_a_restore_that_is_killed_after_all_its_steps_leaves_the_stream_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = (rows_of(), contents())

    with process(HELD, "restore", "latest", "--yes") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "held\n"
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(PATIENCE_SECONDS)

    assert (rows_of(), contents()) == before
    check_that_it_goes_on(monkeypatch)


def test_what_the_old_database_tells_until_the_swap_stays_in_the_stream(
    installation: str, steps: list[Callable[[], object]]
) -> None:
    """Its exporter is a process of its own, and knows nothing of the restore."""
    said: list[str] = []

    def write_on() -> None:
        with connect_as_superuser(installation) as old:
            add_events(1, old)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dedup.tests.processes.database_name", lambda: installation)
            said.append(manage("audit_export").stdout)

    steps.append(write_on)
    before = len(files_of_stream())

    command("restore", "latest", "--yes")
    export_everything()

    assert said == [f"1 events in {name_of(files_of_stream()[before])}.\n"]
    check_whole()


def test_a_backup_notes_what_the_stream_ends_with() -> None:
    make_backup()

    report = verify_stream()
    assert latest().manifest().stream == f"{report.lines}:{report.head}"
    assert report.lines > 0


def test_a_last_file_that_is_missing_is_noticed_and_the_backup_that_knows_it_has_it() -> None:
    older = latest().name
    make_backup()
    noted = latest()
    whole = contents()
    files_of_stream()[-1].unlink()
    before = everything()

    with pytest.raises(CommandError, match=rf"backup {noted.name} was made, .* do not have this"):
        command("restore", older, "--yes")

    assert everything() == before
    command("restore", noted.name, "--yes")
    assert contents() == whole
    command("restore", older, "--yes")
    export_everything()
    check_whole()
