"""One real worker process, from the message to the rows."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.tests.factories import make_user
from common.bootstrap import database_name
from common.health import redis_client
from common.ids import uuid7
from common.tenancy import acting_as
from common.tests.broker import empty_queue, queued_messages
from dedup.models import Import, Message
from dedup.services import keep_upload, start_import
from dedup.tasks import read_import, requeue_stalled_imports
from tests.population import write_transcript

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"])

PATIENCE_SECONDS = 30
LONG_AGO = timedelta(hours=1)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Path]:
    """A worker on this test's queue and database; yields where its log stands."""
    empty_queue()
    log = tmp_path / "worker.log"
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.worker_settings",
        "TEST_DATABASE": database_name(),
        "FILES_DIR": str(settings.MEDIA_ROOT),
        "PROCESS": "worker",
    }
    command = [sys.executable, "-m", "celery", "-A", "config", "worker", "--concurrency", "1"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle"],
            cwd=settings.BASE_DIR,
            env=environment,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            empty_queue()


def wait_until(done: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            pytest.fail(f"not in {PATIENCE_SECONDS} s:\n{log.read_text()}")
        time.sleep(0.05)


def test_a_worker_imports_for_a_person_sweeps_for_the_house_and_shows_that_it_lives(
    worker: Path, tmp_path: Path
) -> None:
    user = make_user("ada")
    alive = f"{settings.REDIS_PREFIX}alive:worker"
    redis_client().delete(alive)

    # Without a person: refused, and not put back into the queue.
    read_import.apply_async(args=(str(uuid7()),))
    queued = import_of(user.pk, write_transcript(tmp_path, "How are you", "I am well"))
    lost = import_of(user.pk, write_transcript(tmp_path, "How are you", "I am well", "Good"))
    with acting_as(user.pk):
        Import.objects.filter(pk=lost.pk).update(touched_at=timezone.now() - LONG_AGO)
    requeue_stalled_imports.apply_async()

    def completed() -> bool:
        with acting_as(user.pk):
            return Import.objects.completed().count() == 2

    wait_until(completed, worker)
    wait_until(lambda: bool(redis_client().exists(alive)), worker)
    with acting_as(user.pk):
        assert Message.objects.count() == 3
        assert Import.objects.get(pk=queued.pk).attempts == 1
    wait_until(lambda: queued_messages() == [], worker)
    assert "needs a person and was queued without one" in worker.read_text()


def import_of(user_id: UUID, path: Path) -> Import:
    with path.open("rb") as file:
        kept = keep_upload(user_id=user_id, upload=file, name=path.name)
    return start_import(user_id=user_id, kept=kept)
