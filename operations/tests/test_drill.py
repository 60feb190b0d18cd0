"""A drill proves that a backup can be restored, and leaves nothing but its result."""

import json
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.core.management import get_commands
from django.db import connection

from accounts.models import User
from common.bootstrap import database_name
from common.tests.connections import connect_as_superuser
from operations.backups import AFTER_RESTORE, last_drill
from operations.backups.making import make_backup
from operations.backups.places import all_backups
from operations.tests.installations import (
    answer,
    command,
    databases,
    latest,
    mode_of,
    pooled,
    rows_of,
    stored,
)
from tests.population import populate

ALIASES = ["default", "operator", "owner", "backup"]
pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)


@pytest.fixture(autouse=True)
def _two_people(installation: str, tmp_path: Path) -> None:
    for name in ("ada", "bob"):
        populate(tmp_path, name)


def everything() -> object:
    return databases(database_name()), rows_of(), stored()


def left_behind() -> list[Path]:
    return [path for path in settings.BACKUP_DIR.glob(".*") if path.is_dir()]


def test_a_drill_restores_a_new_backup_and_verifies_every_archive(installation: str) -> None:
    before = everything()

    report = answer("recovery_drill")

    assert report["problems"] == []
    assert (report["passed"], report["owners"]) == (True, 2)
    assert report["backup"] == latest().name
    assert report["rows"] == latest().manifest().rows > 0
    assert report["files"] == len(stored())
    steps = ["backup", "verify", "database", "files", "keys", "verify_archive"]
    assert list(report["steps"])[:6] == steps
    assert ("audit_verify" in report["steps"]) == ("audit_verify" in get_commands())
    assert everything() == before
    assert left_behind() == []
    drill = last_drill()
    assert drill is not None
    assert drill.as_json() == report
    assert mode_of(settings.BACKUP_DIR / "drills.jsonl") == 0o600


def test_a_drill_takes_the_backup_it_is_given() -> None:
    make_backup()
    code, out, err = command("recovery_drill", "--backup", "latest")

    assert (code, err) == (0, "")
    assert f"The drill with the backup {latest().name} passed" in out
    assert len(all_backups()) == 1


def test_within_a_drill_what_is_stored_goes_to_the_copy(
    installation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    before = everything()

    def step() -> None:
        default_storage.save("by-name", ContentFile(b"x"))
        storages["default"].save("by-alias", ContentFile(b"x"))
        seen.append(database_name())

    monkeypatch.setattr("operations.backups.restoring.AFTER_RESTORE", [*AFTER_RESTORE, step])
    answer("recovery_drill")

    (name,) = seen
    assert name.startswith(f"{installation}_restored_")
    assert everything() == before
    assert (database_name(), storages["default"].exists("by-alias")) == (installation, False)
    assert Path(default_storage.path("")) == Path(settings.MEDIA_ROOT)


def test_a_pool_of_connections_is_led_to_the_copy_as_well(installation: str) -> None:
    options = connection.settings_dict["OPTIONS"]
    connection.close()
    options["pool"] = {"min_size": 1, "max_size": 2}
    try:
        assert User.objects.count() == 2

        assert answer("recovery_drill")["passed"]
        assert User.objects.count() == 2
    finally:
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]  # of PostgreSQL's backend
        del options["pool"]


def test_a_damaged_backup_fails_the_drill_and_the_failure_is_noted() -> None:
    make_backup()
    before = everything()
    for path in pooled():
        path.unlink()

    code, out, err = command("recovery_drill", "--backup", "latest", "--json")

    report = json.loads(out)
    assert (code, report["passed"], err) == (1, False, "")
    assert "is missing" in report["problems"][0]
    assert everything() == before
    drill = last_drill()
    assert drill is not None
    assert (drill.passed, drill.backup) == (False, latest().name)


def test_an_archive_that_cannot_be_rebuilt_fails_the_drill() -> None:
    with connect_as_superuser() as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("UPDATE dedup_revision SET raw = 'other'")
    before = everything()

    code, out, err = command("recovery_drill")

    assert code == 1
    assert "verify_archive: " in err
    assert "the bytes are not those of the record" in err
    assert "FAILED" in out
    assert everything() == before
    assert left_behind() == []


def test_without_a_backup_of_that_name_the_drill_fails() -> None:
    code, _, err = command("recovery_drill", "--backup", "2020")

    assert code == 1
    assert "There is no backup" in err


def test_a_result_that_was_cut_short_is_passed_over() -> None:
    assert last_drill() is None
    answer("recovery_drill")
    first = last_drill()
    with (settings.BACKUP_DIR / "drills.jsonl").open("a") as file:
        file.write('{"begun_at": "2026-')

    assert last_drill() == first
