"""A restore puts the database and the files back, or changes nothing."""

import re
import threading
import time
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError
from django.db import connection

from accounts.models import User
from accounts.tests.factories import make_user
from common.bootstrap import drop_database, led_to
from common.tenancy import acting_as
from common.tests.connections import connect_as, connect_as_superuser
from dedup.models import Message
from operations.backups import AFTER_RESTORE
from operations.backups.logins import beside
from operations.backups.making import make_backup
from operations.backups.places import all_backups
from operations.backups.restoring import _alone
from operations.tests.installations import (
    answer,
    archive_of,
    command,
    databases,
    latest,
    pooled,
    reseal,
    rows_of,
    stored,
)
from tests.pgbouncer import not_through_pgbouncer
from tests.population import populate

ALIASES = ["default", "operator", "owner", "backup"]
WHY = ("--reason", "ticket 4711 of the person")

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=ALIASES),
    pytest.mark.usefixtures("no_steps"),
]


@pytest.fixture
def ada(installation: str, tmp_path: Path) -> User:
    """A person with something in every table, who is in the only backup."""
    user = populate(tmp_path, "ada")
    make_backup()
    return user


def identities() -> dict[str, list[str]]:
    """Owners, grants, policies, triggers and constraints of the database."""
    queries = {
        # That the owner alone has all rights may be written down, or go without saying.
        "tables": "SELECT relname, relowner::regrole::text, coalesce(relacl,"
        " acldefault('r', relowner))::text, relrowsecurity, relforcerowsecurity"
        " FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        "functions": "SELECT proname, proowner::regrole::text, proacl::text, prosecdef"
        " FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        "policies": "SELECT tablename, policyname, roles::text, cmd, qual, with_check"
        " FROM pg_policies",
        "triggers": "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger"
        " WHERE NOT tgisinternal",
        "constraints": "SELECT conrelid::regclass::text, conname, convalidated"
        " FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
        # Not their definitions: the server writes the same condition differently afterwards.
        # Nor the numbers of their columns, among which dropped ones count until a restore.
        "indexes": "SELECT indexrelid::regclass::text, indrelid::regclass::text, ARRAY(SELECT"
        " attname FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey)"
        " ORDER BY array_position(indkey::int2[], attnum))::text, indisunique,"
        " indisvalid, indpred IS NULL, indexprs IS NULL FROM pg_index"
        " JOIN pg_class c ON c.oid = indrelid WHERE c.relnamespace = 'public'::regnamespace",
        "database": "SELECT datdba::regrole::text, datacl::text FROM pg_database"
        " WHERE datname = current_database()",
        "schema": "SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace"
        " WHERE nspname NOT LIKE 'pg%'",
    }
    with connect_as_superuser() as superuser:
        return {
            name: sorted(str(row) for row in superuser.execute(query.encode()).fetchall())
            for name, query in queries.items()
        }


def test_every_row_every_file_and_every_guard_comes_back(
    ada: User, installation: str, tmp_path: Path
) -> None:
    rows, files, guards = rows_of(), stored(), identities()
    populate(tmp_path, "bob")
    with connect_as_superuser() as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("DELETE FROM dedup_message")
    lost = rows_of()

    report = answer("restore", "latest", "--yes")

    assert report["files"] == {"missing": 0, "different": 0, "whole": len(files)}
    assert rows_of() == rows
    assert identities() == guards
    assert files.items() <= stored().items()
    assert (report["database"], report["pending_migrations"]) == (installation, [])
    assert databases(installation) == [installation, report["previous"]]
    assert re.fullmatch(rf"{installation}_before_\d{{8}}_\d{{6}}", report["previous"])
    assert rows_of(report["previous"]) == lost
    assert command("verify_archive", "--owner", "ada", *WHY)[0] == 0
    with acting_as(ada.pk):
        assert Message.objects.count() == 2
    with connect_as_superuser() as superuser:
        assert superuser.execute(
            "SELECT count(*) FROM pg_class WHERE reltuples < 0 AND relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        ).fetchone() == (0,)


def test_missing_and_damaged_files_are_put_back_and_no_other_is_touched(
    installation: str, tmp_path: Path
) -> None:
    for name in ("ada", "bob"):
        archive_of(tmp_path, name)
    (Path(settings.MEDIA_ROOT) / "note").write_text("as backed up")
    make_backup()
    expected, root = stored(), Path(settings.MEDIA_ROOT)
    artifacts = sorted(root.glob("artifacts/*/*/*"))
    artifacts[0].unlink()
    artifacts[1].write_bytes(b"damaged")
    (root / "note").write_text("written over")
    (root / "later").write_text("of nobody in the backup")

    report = answer("restore", "latest", "--yes")

    assert report["files"] == {"missing": 1, "different": 2, "whole": 0}
    assert {name: sha for name, sha in stored().items() if name != "later"} == expected
    assert (root / "later").read_text() == "of nobody in the backup"
    (aside,) = (settings.BACKUP_DIR / "replaced").iterdir()
    assert {path.read_text() for path in aside.rglob("*") if path.is_file()} == {
        "damaged",
        "written over",
    }
    for name in ("ada", "bob"):
        assert command("verify_archive", "--owner", name, *WHY)[0] == 0


def test_a_damaged_file_is_there_until_the_good_one_is_in_its_place(
    installation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(settings.MEDIA_ROOT) / "note"
    path.parent.mkdir(parents=True)
    path.write_text("as backed up")
    make_backup()
    path.write_text("written over")

    def killed(*_: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(FileSystemStorage, "_save", killed)
        with pytest.raises(CommandError, match="killed"):
            command("restore", "latest", "--yes")
    assert path.read_text() == "written over"

    assert answer("restore", "latest", "--yes")["files"]["different"] == 1
    assert path.read_text() == "as backed up"
    assert list(stored()) == ["note"]


def test_an_artifact_that_is_whole_is_not_replaced_by_what_a_backup_holds(
    installation: str, tmp_path: Path
) -> None:
    archive_of(tmp_path, "ada")
    make_backup()
    (path,) = Path(settings.MEDIA_ROOT).glob("artifacts/*/*/*")
    whole = path.read_bytes()
    for kept in pooled():
        kept.unlink()
    path.write_bytes(b"damaged")
    command("backup")
    path.write_bytes(whole)

    assert answer("restore", "latest", "--yes")["files"]["whole"] == 1
    assert path.read_bytes() == whole


@not_through_pgbouncer
def test_running_sessions_are_ended_and_find_the_restored_database(
    ada: User, installation: str
) -> None:
    make_user("later")
    connection.ensure_connection()
    idle, busy = connect_as("default"), connect_as("operator")
    failed, seen, done = 0, [], threading.Event()

    def keep_asking() -> None:
        nonlocal failed
        while not done.is_set():
            try:
                with connect_as("default") as fresh:
                    row = fresh.execute("SELECT count(*) FROM accounts_user").fetchone()
                    seen.append(int(str(row and row[0])))
            except psycopg.OperationalError:
                failed += 1
                time.sleep(0.01)

    busy.execute("BEGIN")
    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        command("restore", "latest", "--yes")
    finally:
        time.sleep(0.2)
        done.set()
        thread.join()

    # Once the restored one has answered, the old one never does again.
    assert seen == sorted(seen, reverse=True)
    assert (seen[0], seen[-1]) == (2, 1)
    assert failed < 100
    for session in (idle, busy):
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert User.objects.count() == 1


def test_a_session_that_cannot_be_ended_leaves_the_old_database(
    ada: User, installation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.backups.swapping.LOCK_SECONDS", 1)
    monkeypatch.setattr("operations.backups.swapping.ATTEMPTS", 2)
    make_user("later")
    before = (rows_of(), [installation])

    with connect_as_superuser("postgres") as other, other.transaction():
        # As another administrator's command would, it holds the database's own lock.
        other.execute(f"COMMENT ON DATABASE {installation} IS 'in work'".encode())
        with pytest.raises(CommandError, match="is still used and was not replaced"):
            command("restore", "latest", "--yes")

    assert (rows_of(), databases(installation)) == before


def test_a_restore_beside_replaces_nothing_and_touches_no_file(
    installation: str, tmp_path: Path
) -> None:
    archive_of(tmp_path, "ada")
    make_backup()
    rows = rows_of()
    (path,) = Path(settings.MEDIA_ROOT).glob("artifacts/*/*/*")
    path.unlink()
    make_user("later")
    now = rows_of()
    AFTER_RESTORE.append(lambda: pytest.fail("the storage is of another database"))

    report = answer("restore", "latest", "--as", f"{installation}_copy")

    assert (report["previous"], report["files"]) == (None, None)
    assert (rows_of(), rows_of(f"{installation}_copy")) == (now, rows)
    assert stored() == {}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("{}", "is taken"),
        ("{}_restored_20261121_101112", "is taken"),
        ("postgres", "There is a database postgres already"),
        ("x" * 64, "longer than 63 bytes"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(
    ada: User, installation: str, name: str, sentence: str
) -> None:
    before = (databases(installation), rows_of())

    with pytest.raises(CommandError, match=sentence):
        command("restore", "latest", "--as", name.format(installation))

    assert (databases(installation), rows_of()) == before


def test_where_there_is_no_database_any_more_the_backup_becomes_it(
    ada: User, installation: str
) -> None:
    rows = rows_of()
    connection.close()
    drop_database(settings.DATABASE_SUPERUSER_URL, installation)

    assert answer("restore", "latest", "--yes")["previous"] is None
    assert rows_of() == rows


def test_what_has_to_follow_runs_in_the_restored_database_before_the_swap(
    ada: User, installation: str
) -> None:
    make_user("later")
    seen: list[object] = []

    def step() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_database()")
            seen.extend(cursor.fetchone())
        seen.append(User.objects.count())
        seen.append(rows_of(installation)["public.accounts_user"] == now)

    now = rows_of()["public.accounts_user"]
    AFTER_RESTORE.append(step)
    command("restore", "latest", "--yes")

    assert re.fullmatch(rf"{installation}_restored_\d{{8}}_\d{{6}}", str(seen[0]))
    assert seen[1:] == [1, True]


def test_a_step_that_fails_leaves_the_old_database(ada: User, installation: str) -> None:
    make_user("later")
    before = rows_of()

    def step() -> None:
        raise psycopg.DataError("it does not fit")

    AFTER_RESTORE.append(step)
    with pytest.raises(CommandError, match="it does not fit"):
        command("restore", "latest", "--yes")

    assert (databases(installation), rows_of()) == ([installation], before)


def test_a_backup_of_a_newer_version_is_refused(ada: User, installation: str) -> None:
    migrations = [*latest().manifest().migrations, ("dedup", "9999_of_tomorrow")]
    reseal(latest(), migrations=migrations)

    with pytest.raises(CommandError, match=r"does not know, such as dedup\.9999_of_tomorrow"):
        command("restore", "latest", "--yes")

    assert databases(installation) == [installation]


def test_a_backup_of_a_newer_server_is_refused(ada: User, installation: str) -> None:
    reseal(latest(), server_version="19.1")

    with pytest.raises(CommandError, match=r"is of PostgreSQL 19\.1, and the server is of .* 18"):
        command("restore", "latest", "--yes")

    assert databases(installation) == [installation]


def test_a_backup_of_an_older_version_says_that_migrate_must_follow(
    installation: str, tmp_path: Path
) -> None:
    with connect_as_superuser() as superuser:
        superuser.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
        make_backup()
        superuser.execute(
            "INSERT INTO django_migrations (app, name, applied)"
            " VALUES ('sessions', '0001_initial', now())"
        )

    beside = ("restore", "latest", "--as")
    out = command(*beside, f"{installation}_first")[1]
    pending = answer(*beside, f"{installation}_second")["pending_migrations"]

    assert "1 migrations must follow. Run manage.py migrate." in out
    assert pending == ["sessions.0001_initial"]


def test_rows_that_are_not_those_of_the_manifest_are_refused(ada: User, installation: str) -> None:
    tables = latest().manifest().tables | {"public.dedup_message": 3}
    reseal(latest(), tables=tables)
    before = rows_of()

    with pytest.raises(CommandError, match=r"public\.dedup_message has 2 rows, not 3"):
        command("restore", "latest", "--yes")

    assert (databases(installation), rows_of()) == ([installation], before)


def test_two_restores_at_once_are_one_too_many(ada: User, installation: str) -> None:
    with beside(installation) as server, _alone(server, installation):
        leftover = f"{installation}_restored_20200101_000000"
        server.execute(f"CREATE DATABASE {leftover}".encode())
        with pytest.raises(CommandError, match=r"Another restore of .* is running"):
            command("restore", "latest", "--yes")

        assert databases(installation) == [installation, leftover]

    command("restore", "latest", "--yes")
    assert leftover not in databases(installation)


def test_nobody_to_ask_and_no_yes_is_a_refusal(
    ada: User, installation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows_of()

    with pytest.raises(CommandError, match="Say --yes"):
        command("restore", "latest")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    with pytest.raises(CommandError, match="not its name: nothing was changed"):
        command("restore", "latest")
    assert (databases(installation), rows_of()) == ([installation], before)

    monkeypatch.setattr("builtins.input", lambda _: installation)
    out = command("restore", "latest")[1]
    (previous,) = databases(f"{installation}_before_")
    assert f'DROP DATABASE "{previous}"' in out


def test_without_a_superuser_the_command_says_what_to_set(
    ada: User, installation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(settings, "DATABASE_SUPERUSER_URL", "")
        with pytest.raises(CommandError, match="Set DATABASE_SUPERUSER_URL"):
            command("restore", "latest", "--yes")


def test_a_backup_is_made_and_restored_of_what_was_restored(ada: User, installation: str) -> None:
    rows = rows_of()
    command("restore", "latest", "--yes")
    command("backup")
    second = all_backups()[-1]

    command("restore", second.name, "--as", f"{installation}_copy")

    assert rows_of(f"{installation}_copy") == rows
    with led_to(f"{installation}_copy"):
        assert command("verify_archive", "--owner", "ada", *WHY)[0] == 0
