"""Real exports of other formats than transcripts, where some are at hand."""

import random
from typing import Any

import pytest

from accounts.models import User
from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup.models import Conversation, Import, Message
from dedup.services import import_path
from dedup.tests.factories import counts_of_tables, rebuilt_files
from dedup.tests.test_real_transcripts import DATA
from dedup.verification import imports_to_verify, integrity_problems, verify_import

EXPORTS = DATA / "dedup"

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "operator"]),
    pytest.mark.skipif(
        not (EXPORTS / "export_text").is_dir(),
        reason="There are no real exports here. COMMONPLACE_DATA names the folder of test data.",
    ),
]


@pytest.fixture
def owner() -> User:
    return make_user()


def problems_of(owner: User) -> list[Any]:
    rows = imports_to_verify(owner.pk)
    found = [mismatch for row in rows for mismatch in verify_import(owner.pk, row)]
    return [*found, *integrity_problems(owner.pk)]


def test_a_legacy_store_and_the_same_store_later(owner: User) -> None:
    earlier = import_path(user_id=owner.pk, path=EXPORTS / "legacy_state_earlier")
    later = import_path(user_id=owner.pk, path=EXPORTS / "legacy_state")
    before = counts_of_tables()
    third = import_path(user_id=owner.pk, path=EXPORTS / "legacy_state")

    assert (earlier.counts.new_messages, len(earlier.conversations)) == (1342, 4)
    assert (later.counts.new_messages, len(later.conversations)) == (168, 6)
    assert later.counts.duplicates_filtered == 1342
    assert (third.already_imported, third.counts.new_messages) == (True, 0)
    assert counts_of_tables() == before | {"dedup_import": before["dedup_import"] + 1}
    with acting_as(owner.pk):
        report = Import.objects.latest("pk").report
        verified = Message.objects.filter(revisions__metadata__legacy_hash_verified=True)
        assert verified.count() == 1510
    assert report["hashes"] == {"checked": 1510, "verified": 1510, "mismatched": []}
    assert problems_of(owner) == []


@pytest.mark.parametrize("seed", range(4))
def test_texts_that_contain_one_another_are_four_conversations(owner: User, seed: int) -> None:
    paths = sorted((EXPORTS / "export_text").glob("*.txt"))
    random.Random(seed).shuffle(paths)

    for path in paths * 2:
        import_path(user_id=owner.pk, path=path)

    assert rebuilt_files(owner.pk) == {str(path): path.read_bytes() for path in paths}
    with acting_as(owner.pk):
        whole = Conversation.objects.filter(merged_into=None).order_by("total_messages")
        assert list(whole.values_list("total_messages", flat=True)) == [97, 173, 240, 247]
        assert Message.objects.count() == 97 + 173 + 240 + 247
    assert problems_of(owner) == []
