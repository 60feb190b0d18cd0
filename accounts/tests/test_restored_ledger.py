"""The ledger of erasures in a restored database: its rows come back from the files."""

from uuid import UUID

import pytest
from django.core.files.storage import default_storage

from accounts.erasure_ledger import FOLDER, erased_people, put_in_ledger_file
from accounts.models import Erasure
from accounts.replaying import Replay, replay_erasures
from common.ids import uuid7
from common.tenancy import as_operator

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


def entries() -> dict[UUID, dict[str, int]]:
    with as_operator("test"):
        return dict(Erasure.objects.values_list("user_id", "summary"))


def test_whom_only_a_file_knows_has_a_row_again() -> None:
    """Somebody who signed up and was erased after the backup: nothing of them came back."""
    gone = [uuid7(), uuid7()]
    for person in gone:
        put_in_ledger_file(person)
    assert entries() == {}

    assert replay_erasures() == Replay(2, [])

    assert entries() == {person: {} for person in gone}
    assert erased_people() == sorted(gone)
    for person in gone:
        assert default_storage.exists(f"{FOLDER}/{person}.done.json")


def test_told_again_the_rows_stay_as_they_are() -> None:
    put_in_ledger_file(uuid7())
    replay_erasures()
    with as_operator("test"):
        before = list(Erasure.objects.values())

    replay_erasures()

    with as_operator("test"):
        assert list(Erasure.objects.values()) == before


def test_a_dry_run_enters_nobody() -> None:
    put_in_ledger_file(uuid7())

    assert replay_erasures(dry_run=True) == Replay(1, [])

    assert entries() == {}
