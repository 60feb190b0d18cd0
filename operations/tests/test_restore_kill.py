"""A restore that is killed leaves the old database serving, and the next one works."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from django.core.management import CommandError

from accounts.tests.factories import make_user
from common.tests.connections import connect_as_superuser
from dedup.tests.processes import MANAGE, ON_TEST_DATABASE, PATIENCE_SECONDS
from operations.backups.making import make_backup
from operations.tests.installations import (
    command,
    databases,
    process,
    rows_of,
    sessions_of,
    stored,
    wait_for,
)
from tests.population import populate

ALIASES = ["default", "operator", "owner", "backup"]
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=ALIASES),
    pytest.mark.usefixtures("no_steps"),
]

# The last thing before the swap, and it does not come to an end.
HELD = f"""{ON_TEST_DATABASE}
import django, time
django.setup()
from operations.backups import AFTER_RESTORE
AFTER_RESTORE.clear()
AFTER_RESTORE.append(lambda: (print("held", flush=True), time.sleep(600)))
runpy.run_path("manage.py", run_name="__main__")
"""
RENAMING = """
    SELECT FROM pg_stat_activity
    WHERE query LIKE 'ALTER DATABASE%RENAME%' AND wait_event_type = 'Lock'
"""


@pytest.fixture
def wanted(installation: str, tmp_path: Path) -> dict[str, str]:
    """The rows of the only backup; the database that serves has others."""
    populate(tmp_path, "ada")
    make_backup()
    rows = rows_of()
    make_user("later")
    return rows


def kill_alone(killed: "subprocess.Popen[str]") -> None:
    """kill -9 to the command, but not to pg_restore."""
    assert killed.poll() is None
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(PATIENCE_SECONDS)


def restore_when_free() -> None:
    """The server needs a moment to notice that the killed one has ended."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            command("restore", "latest", "--yes")
        except CommandError as error:
            if "Another restore" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def check_that_the_next_works(installation: str, wanted: dict[str, str]) -> None:
    restore_when_free()

    assert rows_of() == wanted
    (previous,) = databases(f"{installation}_before_")
    assert databases(installation) == [installation, previous]


def test_killed_when_the_database_is_created(installation: str, wanted: dict[str, str]) -> None:
    before, files = rows_of(), stored()

    with process(MANAGE, "restore", "latest", "--yes") as killed:
        wait_for(lambda: databases(f"{installation}_restored_"))
        kill_alone(killed)

    assert (rows_of(), stored()) == (before, files)
    assert len(databases(f"{installation}_restored_")) == 1
    assert databases(f"{installation}_before_") == []
    check_that_the_next_works(installation, wanted)


def test_killed_while_pg_restore_is_at_work(installation: str, wanted: dict[str, str]) -> None:
    before, files = rows_of(), stored()

    with process(MANAGE, "restore", "latest", "--yes") as killed:
        wait_for(lambda: sessions_of(f"{installation}_restored_", "pg_restore"))
        kill_alone(killed)

        assert (rows_of(), stored()) == (before, files)
        # What was its pg_restore may be at work still.
        check_that_the_next_works(installation, wanted)


def test_killed_before_the_swap(installation: str, wanted: dict[str, str]) -> None:
    before = rows_of()

    with process(HELD, "restore", "latest", "--yes") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "held\n"
        with pytest.raises(CommandError, match=r"Another restore of .* is running"):
            command("restore", "latest", "--yes")
        kill_alone(killed)

    assert rows_of() == before
    assert len(databases(f"{installation}_restored_")) == 1
    check_that_the_next_works(installation, wanted)


def test_killed_in_the_swap(installation: str, wanted: dict[str, str]) -> None:
    before = rows_of()

    with connect_as_superuser("postgres") as other, other.transaction():
        other.execute(f"COMMENT ON DATABASE {installation} IS 'in work'".encode())
        with process(MANAGE, "restore", "latest", "--yes") as killed:
            wait_for(renaming)
            kill_alone(killed)

    wait_for(lambda: not renaming())
    assert rows_of() == before
    assert databases(f"{installation}_before_") == []
    check_that_the_next_works(installation, wanted)


def renaming() -> bool:
    with connect_as_superuser("postgres") as server:
        return bool(server.execute(RENAMING).fetchall())
