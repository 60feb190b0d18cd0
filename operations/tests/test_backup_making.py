"""Backups as they are made: what is in them, while others write, and when one is killed."""

import errno
import json
import os
import shutil
import subprocess
import threading
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError
from django.db import connections
from pytest_django import Settings

from accounts.tests.factories import make_user
from common.tests.connections import connect_as, connect_as_superuser
from dedup.services import import_path
from dedup.tests.factories import prompt, transcript
from dedup.tests.processes import MANAGE, kill
from operations.backups import last_backup
from operations.backups.making import make_backup
from operations.backups.manifest import ListedFile, Manifest, listed_files
from operations.backups.places import Backup, all_backups, writing
from operations.backups.pruning import prune
from operations.backups.restoring import restore
from operations.tasks import back_up
from operations.tests.installations import (
    answer,
    archive_of,
    command,
    latest,
    mode_of,
    pooled,
    process,
    rows_of,
    stored,
    wait_for,
)

ALIASES = ["default", "operator", "owner", "backup"]
pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)


@pytest.fixture(autouse=True)
def _own_installation(installation: str) -> None:
    pass


def messages_now() -> int:
    with connect_as_superuser() as connection:
        row = connection.execute("SELECT count(*) FROM dedup_message").fetchone()
    return int(str(row and row[0]))


def files_of(backup: Backup) -> list[ListedFile]:
    return list(listed_files(backup.file_list))


def test_a_backup_holds_every_row_and_every_file_and_is_closed_to_others(
    tmp_path: Path, installation: str
) -> None:
    archive_of(tmp_path, "ada")

    report = answer("backup", "--label", "before the move")

    backup = latest()
    manifest = backup.manifest()
    assert (report["name"], report["label"]) == (backup.name, "before the move")
    assert (manifest.database, manifest.label) == (installation, "before the move")
    assert set(manifest.tables) == set(rows_of())
    assert manifest.tables["public.dedup_message"] == 2
    assert manifest.tables["public.accounts_user"] == 1
    assert {file.name: file.sha256 for file in files_of(backup)} == stored()
    assert manifest.files == report["files_added"] == len(stored()) == 1
    assert ("dedup", "0001_initial") in manifest.migrations
    assert manifest.server_version.startswith("18.")
    assert manifest.pg_dump_version.startswith("18.")
    assert manifest.vector_version
    assert manifest.lsn
    assert last_backup() == manifest
    folders = [path for path in settings.BACKUP_DIR.rglob("*") if path.is_dir()]
    kept = [path for path in settings.BACKUP_DIR.rglob("*") if path.is_file()]
    assert {mode_of(path) for path in [settings.BACKUP_DIR, *folders]} == {0o700}
    assert {mode_of(path) for path in kept} == {0o600}


def test_the_rows_that_are_counted_are_those_of_the_dump_while_imports_run(
    tmp_path: Path, installation: str
) -> None:
    done = threading.Event()

    def keep_importing(username: str) -> None:
        user, number = make_user(username), 0
        while not done.is_set():
            number += 1
            rows = [
                prompt(f"{number}-{place}", f"{number} and {place}", second=place)
                for place in range(20)
            ]
            path = transcript(tmp_path / username, rows, f"talk-{number}")
            import_path(user_id=user.pk, path=path)
        connections.close_all()

    threads = [threading.Thread(target=keep_importing, args=[name]) for name in ("ada", "bob")]
    for thread in threads:
        thread.start()
    made: list[Manifest] = []
    try:
        while len(made) < 3:
            made.append(make_backup().manifest)
            messages_seen = made[-1].tables["public.dedup_message"]
            wait_for(lambda: messages_now() > messages_seen)  # noqa: B023 - at once
    finally:
        done.set()
        for thread in threads:
            thread.join()

    messages = [manifest.tables["public.dedup_message"] for manifest in made]
    assert messages == sorted(set(messages))
    assert messages[-1] > 0
    for number, backup in enumerate(all_backups()):
        # It compares the rows of every table, and refuses a file that is not in the pool.
        restored = restore(backup, beside_as=f"{installation}_copy_{number}")
        assert restored.manifest.tables["public.dedup_message"] == messages[number]


def test_a_second_backup_adds_only_what_is_new(tmp_path: Path) -> None:
    archive_of(tmp_path, "ada")
    make_backup()
    first = {path: path.stat().st_mtime_ns for path in pooled()}
    archive_of(tmp_path, "bob")

    report = answer("backup")

    assert (report["files"], report["files_added"]) == (2, 1)
    assert {path: path.stat().st_mtime_ns for path in pooled() if path in first} == first
    assert len(pooled()) == 2


def test_a_file_whose_name_does_not_say_its_content_is_read_again(tmp_path: Path) -> None:
    note = Path(settings.MEDIA_ROOT) / "observability" / "1.jsonl"
    note.parent.mkdir(parents=True)
    note.write_text("before")
    times = note.stat()
    make_backup()
    note.write_text("after!")
    os.utime(note, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert answer("backup")["files_added"] == 1
    assert {file.name: file.sha256 for file in files_of(latest())} == stored()


def test_an_artifact_that_was_damaged_is_named_and_one_of_which_the_pool_knows_better_is_not(
    tmp_path: Path,
) -> None:
    archive_of(tmp_path, "ada")
    make_backup()
    whole = stored()
    archive_of(tmp_path, "bob")
    for path in Path(settings.MEDIA_ROOT).rglob("artifacts/*/*/*"):
        path.write_bytes(path.read_bytes().replace(b"How", b"Who"))
    (damaged,) = set(stored()) - set(whole)

    code, out, err = command("backup", "--json")

    assert (code, json.loads(out)["files_damaged"]) == (0, [damaged])
    assert damaged in err
    listed = {file.name: file.sha256 for file in files_of(latest())}
    assert listed == {**whole, damaged: stored()[damaged]}


def test_a_killed_backup_is_not_listed_and_the_next_one_removes_what_it_left(
    tmp_path: Path,
) -> None:
    archive_of(tmp_path, "ada")
    with process(MANAGE, "backup") as running:
        wait_for(lambda: list(settings.BACKUP_DIR.glob(".draft-*/database.dump")))
        kill(running)

    assert list(settings.BACKUP_DIR.glob(".draft-*"))
    assert answer("backups") == {"backups": []}
    assert last_backup() is None

    name = answer("backup")["name"]
    assert [row["name"] for row in answer("backups")["backups"]] == [name]
    assert list(settings.BACKUP_DIR.glob("**/.draft-*")) == []
    assert command("verify_backup")[0] == 0


def test_a_backup_that_fails_leaves_no_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "database.dump")

    monkeypatch.setattr("operations.backups.making.take_files", fail)
    with pytest.raises(CommandError, match=r"database\.dump: No space left on device"):
        command("backup")

    assert all_backups() == []
    assert list(settings.BACKUP_DIR.glob("**/.draft-*")) == []


def test_a_second_backup_at_once_is_refused_and_disturbs_nothing() -> None:
    with writing(), pytest.raises(CommandError, match="Another backup is being made"):
        command("backup")

    assert all_backups() == []
    assert list(settings.BACKUP_DIR.glob(".draft-*")) == []


@pytest.fixture
def three(tmp_path: Path) -> list[Backup]:
    """Backups of 40, 20 and 0 days ago, each with a file that the one before had not."""
    for days, username in ((40, "ada"), (20, "bob"), (0, "eve")):
        archive_of(tmp_path, username)
        make_backup()
        made_long_ago(latest(), days)
    return all_backups()


def made_long_ago(backup: Backup, days: int) -> None:
    """As if it had been made then; its manifest goes on saying its old name."""
    moment = backup.made_at - timedelta(days=days)
    name = f"{moment:%Y%m%d-%H%M%S}-{moment.microsecond // 1000:03}"
    manifest = backup.manifest()
    changed = type(manifest)(**manifest.__dict__ | {"name": name, "created_at": moment})
    backup.manifest_path.write_text(changed.as_text())
    backup.folder.rename(backup.folder.with_name(name))


def test_old_backups_go_with_what_nobody_else_needs(three: list[Backup]) -> None:
    oldest, middle, newest = three
    (Path(settings.MEDIA_ROOT) / "loose").write_text("only in the newest")
    shutil.rmtree(Path(settings.MEDIA_ROOT) / "artifacts")

    report = answer("backup", "--keep", "30")

    assert report["removed"] == {"backups": [oldest.name], "files": 0, "postponed": ""}
    assert [backup.name for backup in all_backups()] == [middle.name, newest.name, report["name"]]
    report = answer("backup", "--keep", "10")
    # Those of the middle one are needed by the newest of the three.
    assert report["removed"] == {"backups": [middle.name], "files": 0, "postponed": ""}
    assert command("verify_backup", newest.name)[0] == 0
    made_long_ago(newest, 50)

    report = answer("backup", "--keep")

    assert len(report["removed"]["backups"]) == 1
    assert report["removed"]["files"] == 3
    assert len(pooled()) == 1
    assert command("verify_backup")[0] == 0


def test_the_newest_whole_backup_is_kept_however_old(three: list[Backup]) -> None:
    newest = three[-1]
    for backup in three:
        made_long_ago(backup, 1000)
    broken = settings.BACKUP_DIR / newest.name
    broken.mkdir()

    with writing():
        pruned = prune(keep_days=1)

    assert len(pruned.backups) == 2
    assert len(all_backups()) == 2
    assert "is missing" in pruned.postponed
    assert len(pooled()) == 3


def test_without_the_login_the_command_says_what_to_set(settings: Settings) -> None:
    without = {key: value for key, value in settings.DATABASES.items() if key != "backup"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "settings", without)
        with pytest.raises(CommandError, match="Set DATABASE_BACKUP_URL"):
            command("backup")

    assert all_backups() == []


def test_a_pg_dump_that_is_older_than_the_server_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    old = tmp_path / "pg_dump"
    old.write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 17.6"\n')
    old.chmod(0o700)
    settings.POSTGRES_PROGRAMS_DIR = str(tmp_path)

    with pytest.raises(CommandError, match=r"pg_dump 18 or later .* is of version 17\. Install"):
        command("backup")

    assert all_backups() == []


def test_the_role_reads_everything_and_writes_nothing(tmp_path: Path) -> None:
    archive_of(tmp_path, "ada")
    before = rows_of()

    with connect_as("backup") as connection:
        row = connection.execute("SELECT count(*) FROM dedup_message").fetchone()
        assert row == (2,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE x ()")
        # It may lift this limit for itself; its grants bound it too.
        connection.execute("SET default_transaction_read_only = off")
        for table in before:
            for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
        for statement in (
            "SELECT lo_create(0)",
            "CREATE TABLE x ()",
            "CREATE TEMPORARY TABLE x ()",
            "CREATE SCHEMA x",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())

    assert rows_of() == before


def test_the_password_is_in_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    usual = subprocess.run

    def run(command_line: list[str], **options: object) -> object:
        seen.append(command_line)
        return usual(command_line, **options)  # type: ignore[call-overload]  # handed on

    monkeypatch.setattr(subprocess, "run", run)
    make_backup()

    password = connections["backup"].settings_dict["PASSWORD"]
    assert any("--format=custom" in line for line in seen)
    assert not any(password in word for line in seen for word in line)


def test_the_daily_task_makes_one_and_removes_old_ones(three: list[Backup]) -> None:
    back_up.apply(throw=True)

    assert [backup.name for backup in all_backups()][:2] == [three[1].name, three[2].name]
    assert latest().manifest().label == "daily"


def test_the_daily_task_leaves_the_field_to_another_backup() -> None:
    with writing():
        back_up.apply(throw=True)

    assert all_backups() == []


def test_the_list_says_what_each_backup_is(tmp_path: Path) -> None:
    archive_of(tmp_path, "ada")
    make_backup(label="one")
    make_backup(label="two")
    command("verify_backup")
    damaged, _ = all_backups()
    damaged.manifest_path.write_text("{}")

    second, first = answer("backups")["backups"]
    table = command("backups")[1]

    assert (second["label"], second["files"], second["verified"]) == ("two", 1, True)
    assert first["problem"].endswith("manifest.json cannot be read.")
    assert "passed" in table
    assert "two" in table
