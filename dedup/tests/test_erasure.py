"""An archive is deleted through one function, in parts, and never without a trace."""

from pathlib import Path

import psycopg
import pytest
from django.db import transaction

from accounts.models import User
from accounts.tests.factories import make_user
from audit.choices import SecurityKind
from audit.models import SecurityEvent
from common.locks import try_share
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as, connect_as_superuser, raw_app
from dedup import privacy
from dedup.errors import ArchiveBusyError
from dedup.services import import_path
from dedup.tests.factories import Row, counts_of_tables, dialogue, prompt, transcript

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

CALL = b"SELECT * FROM dedup_erase_person(%s, 1000)"


def archive_of(folder: Path, turns: int = 6) -> User:
    """A person with a session, and with a longer version of it, and a line that is no message."""
    user = make_user()
    rows: list[Row | bytes] = [*dialogue(turns), prompt("m0", "Words 0", n=1), b"{torn\n"]
    import_path(user_id=user.pk, path=transcript(folder, rows))
    longer = [*rows, prompt("last", "And then?", f"m{turns - 1}", 59)]
    import_path(user_id=user.pk, path=transcript(folder, longer))
    import_path(user_id=user.pk, path=transcript(folder, longer, "again"))
    return user


def counts() -> dict[str, int]:
    """The rows of each table of the archives that has any."""
    found = counts_of_tables()
    return {table: n for table, n in found.items() if n and table.startswith("dedup_")}


def erase(user: User) -> list[dict[str, int]]:
    """What each part took, until nothing was left."""
    parts: list[dict[str, int]] = []
    while True:
        with as_operator("test"):
            part = privacy.erase_archive(user.pk)
        if not part:
            return parts
        parts.append(part)


def test_everything_of_one_person_goes_and_nothing_of_another(tmp_path: Path) -> None:
    ada = archive_of(tmp_path / "ada")
    alone = counts()
    bob = archive_of(tmp_path / "bob")

    (part,) = erase(ada)

    assert part == alone
    assert counts() == alone
    assert erase(bob) == [part]
    assert counts() == {}


@pytest.mark.parametrize("most", [1, 7])
def test_in_parts_of_any_size_it_comes_to_the_same(
    tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "ROWS_AT_ONCE", most)
    ada = archive_of(tmp_path)
    before = counts()

    parts = erase(ada)

    taken: dict[str, int] = {}
    for part in parts:
        for table, count in part.items():
            taken[table] = taken.get(table, 0) + count
    assert taken == before
    in_one_go = {"dedup_conversation", "dedup_import", "dedup_artifact"}
    for part in parts[:-1]:
        assert sum(count for table, count in part.items() if table not in in_one_go) <= most
    assert counts() == {}


def test_each_part_is_an_event_with_its_counts_in_its_transaction(tmp_path: Path) -> None:
    ada = archive_of(tmp_path)

    with as_operator("test"):
        privacy.erase_archive(ada.pk)
        transaction.set_rollback(True, using="operator")
    with as_operator("test"):
        assert not SecurityEvent.objects.filter(kind=SecurityKind.PERSON_ERASED).exists()
    (part,) = erase(ada)

    with as_operator("test"):
        (event,) = SecurityEvent.objects.filter(kind=SecurityKind.PERSON_ERASED)
    assert (event.user_id, event.details) == (ada.pk, part)
    assert (event.subject, event.role) == ("dedup_erase_person", "operator")
    assert event.reason == "test"


def test_nobody_but_the_operator_may_call_it(tmp_path: Path) -> None:
    ada = archive_of(tmp_path)
    before = counts()

    with raw_app(ada.pk) as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(CALL, [ada.pk])
    # Its owner may, and is then refused by the tables.
    with connect_as("owner") as owner, pytest.raises(psycopg.errors.RestrictViolation):
        owner.execute(CALL, [ada.pk])
    with connect_as_superuser() as superuser, pytest.raises(psycopg.errors.RestrictViolation):
        superuser.execute(CALL, [ada.pk])

    assert counts() == before


@pytest.mark.parametrize("table", ["dedup_message", "dedup_revision", "dedup_record"])
def test_the_operator_deletes_nothing_but_through_it(tmp_path: Path, table: str) -> None:
    archive_of(tmp_path)
    before = counts()

    with (
        connect_as("operator") as operator,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        operator.execute(f"DELETE FROM {table}".encode())

    assert counts() == before


def test_while_an_import_reads_nothing_is_taken_away(tmp_path: Path) -> None:
    ada = archive_of(tmp_path)
    before = counts()

    with acting_as(ada.pk):
        assert try_share(f"archive-use:{ada.pk}")
        with pytest.raises(ArchiveBusyError), as_operator("test"):
            privacy.erase_archive(ada.pk)

    assert counts() == before
    assert len(erase(ada)) == 1


def test_conversations_that_are_parts_of_others_go_too(tmp_path: Path) -> None:
    ada = archive_of(tmp_path)
    with connect_as_superuser() as superuser:
        superuser.execute(
            "INSERT INTO dedup_conversation (id, user_id, source, native_key, parent_key,"
            " merged_into_id, title, project, total_messages, metadata)"
            " SELECT uuidv7(), user_id, source, 'part', '', id, '', '', 0, '{}'"
            " FROM dedup_conversation"
        )

    erase(ada)

    assert counts() == {}
