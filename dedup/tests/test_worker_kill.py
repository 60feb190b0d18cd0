"""A real worker is killed while it reads; another one takes over, and nothing is double."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import BytesIO
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.tests.factories import make_user
from common.tenancy import acting_as
from common.tests.broker import empty_queue
from dedup.choices import ImportStatus
from dedup.models import Import, Message, Observation, Revision
from dedup.progress import progress_of
from dedup.services import keep_upload, start_import
from dedup.tasks import QUEUED_PATIENCE, requeue_stalled_imports
from dedup.tests.factories import dialogue, latest_import, lines, make_tables_new, rebuilt_files
from dedup.tests.processes import kill, worker

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

MESSAGES = 8000
PADDING = " ".join(f"ingredient{number % 97}" for number in range(180))


@pytest.fixture(autouse=True)
def _a_quiet_queue() -> Iterator[None]:
    empty_queue()
    yield
    empty_queue()


def big_transcript() -> bytes:
    rows = dialogue(MESSAGES)
    for number, row in enumerate(rows):
        row["timestamp"] = None
        row["message"] = row["message"] | {"content": f"{number} {PADDING}"}
    return lines(rows)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def make_stalled(user_id: UUID) -> None:
    """As if nobody had touched the import for a while."""
    with acting_as(user_id):
        Import.objects.update(touched_at=timezone.now() - QUEUED_PATIENCE - timedelta(seconds=1))


def test_what_a_killed_worker_began_another_one_completes() -> None:
    make_tables_new()
    owner, data = make_user(), big_transcript()
    kept = keep_upload(user_id=owner.pk, upload=BytesIO(data), name="big.jsonl")
    row = start_import(user_id=owner.pk, kept=kept)

    with worker() as first:
        wait_for(lambda: (progress_of(row.pk) or 0) and progress_of(row.pk).records > 0)  # type: ignore[union-attr]  # it stays
        kill(first)
    began = latest_import(owner.pk)
    with acting_as(owner.pk):
        assert not Message.objects.exists()
        assert not Observation.objects.exists()
    assert (began.status, began.attempts) == (ImportStatus.RUNNING, 1)

    make_stalled(owner.pk)
    # The server needs a moment to notice that the worker's session has ended.
    wait_for(lambda: _sweep_sends(owner.pk))
    with worker():
        wait_for(lambda: latest_import(owner.pk).status != ImportStatus.RUNNING)

    done = latest_import(owner.pk)
    assert (done.status, done.attempts, done.error_detail) == (ImportStatus.COMPLETED, 2, "")
    assert (done.records, done.new_messages, done.original_id) == (MESSAGES, MESSAGES, None)
    assert rebuilt_files(owner.pk) == {"big.jsonl": data}
    with acting_as(owner.pk):
        assert Message.objects.count() == Revision.objects.count() == MESSAGES
        assert Observation.objects.count() == MESSAGES


def _sweep_sends(user_id: UUID) -> bool:
    before = latest_import(user_id).touched_at
    requeue_stalled_imports.apply(throw=True)
    return latest_import(user_id).touched_at > before
