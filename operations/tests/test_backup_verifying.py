"""A backup that is not as it was made is found out, and nothing is restored from it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError

from operations.backups.making import make_backup
from operations.backups.places import Backup, all_backups
from operations.tests.installations import (
    archive_of,
    command,
    databases,
    latest,
    pooled,
    reseal,
    rows_of,
    stored,
)

ALIASES = ["default", "operator", "owner", "backup"]
pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)


@pytest.fixture
def backup(installation: str, tmp_path: Path) -> Backup:
    """The second of two, with a person's rows and file."""
    make_backup()
    archive_of(tmp_path, "ada")
    make_backup()
    return latest()


def change(path: Path, place: int = -1) -> None:
    """One byte is another one."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def pool_file(backup: Backup) -> Path:
    (path,) = pooled()
    return path


def edit_manifest(backup: Backup) -> None:
    said = json.loads(backup.manifest_path.read_text())
    said["tables"]["public.dedup_message"] += 1
    backup.manifest_path.write_text(json.dumps(said))


def swap_with_other(backup: Backup, part: Callable[[Backup], Path]) -> None:
    shutil.copy(part(all_backups()[0]), part(backup))


def drop_a_table(backup: Backup) -> None:
    tables = dict(backup.manifest().tables)
    tables["public.dedup_gone"] = tables.pop("public.dedup_alias")
    reseal(backup, tables=tables)


DAMAGES: dict[str, tuple[Callable[[Backup], object], str]] = {
    "dump truncated": (lambda b: truncate(b.dump), r"database\.dump has \d+ bytes, not"),
    "dump changed": (lambda b: change(b.dump), r"database\.dump has other bytes"),
    "dump changed in the middle": (lambda b: change(b.dump, 5000), r"dump has other bytes"),
    "dump missing": (lambda b: b.dump.unlink(), r"database\.dump is missing"),
    "dump of another": (lambda b: swap_with_other(b, lambda x: x.dump), r"database\.dump has"),
    "list changed": (lambda b: change(b.file_list, 3), r"files\.jsonl has other bytes"),
    "list missing": (lambda b: b.file_list.unlink(), r"files\.jsonl is missing"),
    "stored file changed": (lambda b: change(pool_file(b)), r"artifacts/.* other bytes"),
    "stored file cut": (lambda b: truncate(pool_file(b)), r"stored file artifacts/.* bytes, not"),
    "stored file missing": (lambda b: pool_file(b).unlink(), r"artifacts/.* is missing"),
    "manifest edited": (edit_manifest, r"manifest\.json is not as it was written"),
    "manifest cut": (lambda b: truncate(b.manifest_path), r"manifest\.json cannot be read"),
    "manifest missing": (lambda b: b.manifest_path.unlink(), r"manifest\.json is missing"),
    "manifest of another": (
        lambda b: swap_with_other(b, lambda x: x.manifest_path),
        r"manifest\.json is the manifest of the backup \d+",
    ),
    "other tables": (drop_a_table, r"The table public\.dedup_gone is not in .*database\.dump"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_named_and_nothing_is_restored_from_it(
    backup: Backup, installation: str, damage: str
) -> None:
    do_damage, expected = DAMAGES[damage]
    do_damage(backup)
    before = (databases(installation), rows_of(), stored())

    code, out, err = command("verify_backup")
    report = json.loads(command("verify_backup", backup.name, "--json")[1])
    with pytest.raises(CommandError, match=f"nothing was changed: (.|\n)*{expected}"):
        command("restore", backup.name, "--yes")

    assert code == 1
    assert "is damaged: do not count on it" in out
    assert report["whole"] is False
    assert len(report["problems"]) == len(err.splitlines()) >= 1
    verification = backup.verification()
    assert verification is not None
    assert not verification.passed
    assert (databases(installation), rows_of(), stored()) == before


def test_a_whole_backup_passes_and_its_manifest_is_not_touched(backup: Backup) -> None:
    manifest = backup.manifest_path.read_bytes()

    assert command("verify_backup") == (0, f"The backup {backup.name} is whole.\n", "")

    verification = backup.verification()
    assert verification is not None
    assert verification.passed
    assert backup.manifest_path.read_bytes() == manifest


@pytest.mark.parametrize("name", ["verify_backup", "restore"])
def test_an_unknown_name_is_an_error(backup: Backup, name: str) -> None:
    with pytest.raises(CommandError, match=r"There is no backup 2020 in .*`manage.py backups`"):
        command(name, "2020")


def test_where_there_is_none_yet_it_is_said(installation: str) -> None:
    with pytest.raises(CommandError, match=r"There is no backup in .* yet"):
        command("verify_backup")

    assert command("backups")[1] == "There is no backup yet: manage.py backup makes one.\n"
    assert not (settings.BACKUP_DIR / "lock").exists()
