"""Data keys are in no common dump, and with their own backups goes what they sealed."""

import json
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from pytest_django import Settings

from accounts import erasing
from accounts.choices import AccountStatus
from accounts.erasure_ledger import put_in_ledger_file
from accounts.errors import UnknownLinkError
from accounts.exporting import run_export
from accounts.models import DataKey, ErasureRequest, User
from accounts.services.erasures import CONFIRMATION, request_erasure
from accounts.services.exports import make_download_link, request_export, take_export
from audit.choices import SecurityKind
from audit.models import SecurityEvent
from common.encryption.data_keys import cache
from common.encryption.errors import EncryptionError
from common.health import UnhealthyError
from common.privacy import what_is_left
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser
from operations import erasures
from operations.backups.keys import all_keys, newest_keys
from operations.backups.making import make_backup
from operations.backups.manifest import listed_files
from operations.backups.places import Backup
from operations.backups.programs import find_program, run
from operations.tests.installations import (
    answer,
    archive_of,
    command,
    latest,
    mode_of,
    stored,
)

ALIASES = ["default", "operator", "owner", "backup"]
pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)

NAME = "Ada King"


@pytest.fixture
def ada(installation: str, tmp_path: Path) -> User:
    """A person with an archive and a sealed name."""
    user = archive_of(tmp_path, "ada")
    with acting_as(user.pk):
        user.full_name = NAME
        user.save(update_fields=["full_name"])
    return user


def name_of(user: User) -> str | None:
    """The sealed name, by a process that holds no keys."""
    cache.forget(user.pk)
    with acting_as(user.pk):
        found: str | None = User.objects.get(pk=user.pk).full_name
    return found


def wrapped_keys() -> list[str]:
    """Each wrapped key in hexadecimal, as a dump in text would have it."""
    with connect_as_superuser() as superuser:
        query = "SELECT encode(wrapped, 'hex') FROM accounts_datakey WHERE wrapped IS NOT NULL"
        return [str(text) for (text,) in superuser.execute(query.encode()).fetchall()]


def backups_that_hold(text: str) -> set[str]:
    """The files below BACKUP_DIR in which it stands, dumps as the text that they restore."""
    found = set()
    for path in configured.BACKUP_DIR.rglob("*"):
        if path.name == "database.dump":
            words = run(find_program("pg_restore", at_least=18), "--file=-", str(path)).encode()
        elif path.is_file():
            words = path.read_bytes()
        else:
            continue
        if text.encode() in words or bytes.fromhex(text) in words:
            found.add(path.relative_to(configured.BACKUP_DIR).as_posix())
    return found


def erase(user: User) -> None:
    request_erasure(user_id=user.pk, confirmation=CONFIRMATION)
    with as_operator("test"):
        ErasureRequest.objects.update(due_at="2020-01-01T00:00:00Z")
    assert erasing.carry_out_due() == 1


def left_of(user: User) -> dict[str, int]:
    with as_operator("test"):
        return what_is_left([user.pk]).get(user.pk, {})


@pytest.fixture
def _short(settings: Settings) -> None:
    """Of keys every backup but the newest is past its time."""
    settings.KEYS_BACKUP_DAYS = 0


def restored(backup: Backup) -> None:
    code, _, err = command("restore", backup.name, "--yes")
    assert (code, err) == (0, "")


@pytest.mark.usefixtures("no_steps")
def test_the_keys_are_in_a_dump_of_their_own_and_a_restore_brings_them_back(ada: User) -> None:
    keys = wrapped_keys()
    assert len(keys) > 0

    make_backup()

    manifest, (dump,) = latest().manifest(), all_keys()
    assert manifest.apart == {"public.accounts_datakey": len(keys)}
    assert manifest.tables["public.accounts_datakey"] == 0
    parents = {"public.audit_change_event", "public.audit_security_event"}
    parents |= {"public.audit_security_origin"}
    counted = (n for table, n in manifest.tables.items() if table not in parents)
    assert manifest.rows == sum(counted)
    assert dump.name == manifest.name
    assert dump.rows == {"accounts_datakey": len(keys)}
    assert mode_of(dump.path) == 0o600
    for key in keys:
        assert backups_that_hold(key) == {f"keys/{dump.name}.dump"}

    report = answer("restore", "latest", "--yes")

    assert report["keys"] == len(keys)
    assert wrapped_keys() == keys
    assert name_of(ada) == NAME


@pytest.mark.usefixtures("no_steps")
def test_a_restore_takes_the_newest_keys_of_those_who_are_in_the_database(
    ada: User, tmp_path: Path
) -> None:
    make_backup()
    old, before = latest(), wrapped_keys()
    with as_operator("test"):
        # As a rotation does: the same key, wrapped otherwise.
        DataKey.objects.filter(user_id=ada.pk).update(key_id="another")
    bob = archive_of(tmp_path, "bob")
    with acting_as(bob.pk):
        bob.full_name = "Bob"
        bob.save(update_fields=["full_name"])
    make_backup()

    restored(old)

    with as_operator("test"):
        assert set(DataKey.objects.values_list("user_id", "key_id")) == {(ada.pk, "another")}
    assert wrapped_keys() == before


def test_keys_past_their_time_go_with_the_next_backup_and_the_newest_stay(
    ada: User, settings: Settings
) -> None:
    for _ in range(3):
        make_backup()
    assert len(all_keys()) == 3
    settings.KEYS_BACKUP_DAYS = 0

    make_backup()

    (kept,) = all_keys()
    assert kept.name == latest().name
    names = {path.name for path in (configured.BACKUP_DIR / "keys").iterdir()}
    assert names == {f"{kept.name}.dump", f"{kept.name}.json"}


def test_what_a_kill_left_of_a_dump_is_removed_by_the_next_backup(ada: User) -> None:
    folder = configured.BACKUP_DIR / "keys"
    folder.mkdir(parents=True)
    (folder / ".draft-20200101-000000-000").write_text("half a dump")
    (folder / "20200101-000000-000.dump").write_text("a dump without its sum")

    make_backup()

    assert {path.stem for path in folder.iterdir()} == {latest().name}


@pytest.mark.parametrize("damage", ["bytes", "missing", "sum"])
def test_damaged_keys_are_found_and_nothing_is_restored_without_any(ada: User, damage: str) -> None:
    make_backup()
    (dump,) = all_keys()
    if damage == "bytes":
        dump.path.write_bytes(dump.path.read_bytes()[:-2] + b"}\n\n")
    elif damage == "missing":
        dump.path.unlink()
    else:
        said = json.loads(dump.path.with_suffix(".json").read_text())
        dump.path.with_suffix(".json").write_text(json.dumps(said | {"rows": {}}))
    people = User.objects.count()

    code, _, err = command("verify_backup")

    assert code == 1
    assert "There is no whole dump of keys" in err
    with pytest.raises(Exception, match="There is no whole dump of keys"):
        command("restore", "latest", "--yes")
    assert (User.objects.count(), name_of(ada)) == (people, NAME)


@pytest.mark.usefixtures("no_steps")
def test_a_damaged_newest_dump_gives_way_to_the_one_before(ada: User) -> None:
    make_backup()
    first = latest()
    make_backup()
    all_keys()[-1].path.write_bytes(b"damaged")
    whole = newest_keys()
    assert whole is not None
    assert whole.name == first.name

    restored(first)

    assert name_of(ada) == NAME


def test_a_drill_opens_a_key_and_says_how_many_there_are(ada: User) -> None:
    report = answer("recovery_drill")

    assert (report["passed"], report["problems"]) == (True, [])
    assert report["keys"] == len(wrapped_keys()) > 0
    assert "keys" in report["steps"]


def test_a_drill_finds_keys_that_nothing_opens(ada: User) -> None:
    with as_operator("test"):
        DataKey.objects.update(wrapped=b"not a wrapped key")

    code, _, err = command("recovery_drill")

    assert code == 1
    assert err.startswith("ENCRYPTION_KEYS has another key")


@pytest.mark.usefixtures("no_steps", "_short")
def test_whoever_was_erased_is_unreadable_in_every_old_dump_once_the_old_keys_are_gone(
    ada: User, tmp_path: Path
) -> None:
    bob = archive_of(tmp_path, "bob")
    make_backup()
    old, keys = latest(), wrapped_keys()
    erase(ada)
    # Until the next backup the keys of before are there still, and the documents say so.
    assert [backups_that_hold(key) for key in keys] == [{f"keys/{old.name}.dump"}] * len(keys)
    make_backup()

    for key in keys:
        assert backups_that_hold(key) == set()
    restored(old)
    # All that there is: the old rows, every file of BACKUP_DIR, and the provider's living key.
    with as_operator("test"):
        assert User.objects.get(pk=ada.pk).account_status == AccountStatus.ACTIVE
    with pytest.raises(EncryptionError):
        name_of(ada)

    report = answer("replay_erasures")

    assert [line["user_id"] for line in report["returned"]] == [str(ada.pk)]
    assert report["returned"][0]["left"]["dedup_message"] == 2
    assert left_of(ada) == {}
    assert User.objects.get(pk=ada.pk).account_status == AccountStatus.DELETED
    assert left_of(bob)["dedup_message"] == 2
    assert answer("replay_erasures")["returned"] == []


def test_a_restored_database_never_serves_whoever_was_erased(ada: User, tmp_path: Path) -> None:
    bob = archive_of(tmp_path, "bob")
    make_backup()
    old = latest()
    erase(ada)
    ledger = {name: sha for name, sha in stored().items() if name.startswith("erasures/")}

    restored(old)

    assert left_of(ada) == {}
    assert User.objects.get(pk=ada.pk).username.startswith("erased-")
    assert left_of(bob)["dedup_message"] == 2
    assert ledger.items() <= stored().items()
    assert [name for name in stored() if str(ada.pk) in name and name not in ledger] == []
    with as_operator("test"):
        (event,) = SecurityEvent.objects.filter(kind=SecurityKind.ERASURES_REPLAYED)
        assert event.details == {"people": 1}


def test_even_a_machine_that_has_nothing_but_the_backups_knows_the_ledger(
    ada: User, tmp_path: Path
) -> None:
    make_backup()
    old = latest()
    erase(ada)
    make_backup()
    for path in Path(configured.MEDIA_ROOT).rglob("*"):
        if path.is_file():
            path.unlink()

    restored(old)

    assert left_of(ada) == {}
    assert f"erasures/{ada.pk}.json" in stored()


def test_a_dry_run_tells_who_is_there_and_changes_nothing(ada: User) -> None:
    put_in_ledger_file(ada.pk)
    before = left_of(ada)

    report = answer("replay_erasures", "--dry-run")

    assert report == {
        "listed": 1,
        "returned": [{"user_id": str(ada.pk), "left": before}],
        "erased": False,
    }
    assert left_of(ada) == before
    assert "are there" in command("replay_erasures", "--dry-run")[1]


@pytest.mark.usefixtures("no_steps")
def test_in_a_database_of_an_older_version_their_accounts_are_closed(
    ada: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = archive_of(tmp_path, "bob")
    put_in_ledger_file(ada.pk)

    def pending() -> None:
        raise UnhealthyError

    monkeypatch.setattr(erasures, "check_migrations", pending)
    erasures.replay()

    assert User.objects.get(pk=ada.pk).account_status == AccountStatus.DELETED
    assert User.objects.get(pk=bob.pk).account_status == AccountStatus.ACTIVE
    assert left_of(ada)["dedup_message"] == 2
    monkeypatch.undo()
    erasures.replay()
    assert left_of(ada) == {}


@pytest.mark.usefixtures("no_steps")
def test_exports_with_their_plain_words_are_in_no_backup(ada: User) -> None:
    row = request_export(user_id=ada.pk)
    run_export(row.pk, ada.pk)
    default_storage.save(f"drafts/exports-{ada.pk}-half.zip", ContentFile(b"half"))
    assert [name for name in stored() if name.startswith("exports/")] != []

    make_backup()

    listed = [file.name for file in listed_files(latest().file_list)]
    assert [name for name in listed if "exports" in name] == []
    assert any(name.startswith("artifacts/") for name in listed)
    restored(latest())
    link = make_download_link(user_id=ada.pk, export_id=row.pk)
    for path in Path(configured.MEDIA_ROOT).glob("exports/*/*"):
        path.unlink()
    with pytest.raises(UnknownLinkError):
        take_export(token=link.url.split("/")[-2])
