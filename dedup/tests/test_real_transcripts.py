"""Transcripts that programs wrote, where some are at hand: no byte of them may be lost."""

import os
import random
from pathlib import Path

import pytest

from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup.exports import exports_below
from dedup.models import Import
from dedup.tests.factories import import_all, kept, rebuilt_files
from dedup.verification import imports_to_verify, integrity_problems, verify_import

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COMMONPLACE_DATA", ROOT.parent / "shared" / "data"))
TRANSCRIPTS = DATA / "dedup" / "claude_code"


@pytest.mark.skipif(
    not TRANSCRIPTS.is_dir(),
    reason="There are no real transcripts here. COMMONPLACE_DATA names the folder of test data.",
)
def test_real_transcripts_are_kept_byte_for_byte_in_every_order() -> None:
    paths = list(exports_below(TRANSCRIPTS, refused=lambda error: pytest.fail(str(error))))
    # Two copies of one file are one import, under the name that came first.
    contents = {path.read_bytes() for path in paths}
    archives, shuffler = [], random.Random(1)

    for _ in range(3):
        owner, shuffled = make_user(), list(paths)
        shuffler.shuffle(shuffled)
        import_all(owner.pk, shuffled * 2)
        archives.append(kept(owner.pk))
        rebuilt = rebuilt_files(owner.pk)
        assert {Path(name).read_bytes() for name in rebuilt} == contents == {*rebuilt.values()}
        with acting_as(owner.pk):
            assert Import.objects.completed().count() == 2 * len(paths)

    assert len(archives[0]) > 100
    assert archives[0] == archives[1] == archives[2]
    assert integrity_problems(owner.pk) == []
    for row in imports_to_verify(owner.pk):
        assert verify_import(owner.pk, row) == []
