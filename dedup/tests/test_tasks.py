"""The task that reads an import, and the sweep that sends it again."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import User
from accounts.tests.factories import make_user
from common.locks import try_lock
from common.queue import ACTOR_HEADER
from common.tenancy import acting_as
from common.tests.broker import empty_queue, queued_messages
from dedup import importing, intake
from dedup.choices import ImportStatus
from dedup.errors import ArchiveBusyError
from dedup.importing import MOST_ATTEMPTS, join_archive, run_import
from dedup.models import Import
from dedup.services import keep_upload, preview, start_import
from dedup.tasks import QUEUED_PATIENCE, read_import, requeue_stalled_imports
from dedup.tests.factories import (
    counts_of_tables,
    dialogue,
    latest_import,
    lines,
    reading_order,
    rebuilt_files,
    stored_files,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


@pytest.fixture(autouse=True)
def _a_quiet_queue() -> Iterator[None]:
    empty_queue()
    yield
    empty_queue()


@pytest.fixture
def owner() -> User:
    return make_user()


def queue_import(owner: User, data: bytes = b"") -> Import:
    upload = BytesIO(data or lines(dialogue(3)))
    return start_import(
        user_id=owner.pk, kept=keep_upload(user_id=owner.pk, upload=upload, name="pies.jsonl")
    )


def read(row: Import) -> None:
    """Deliver the task's message, with the header that says for whom."""
    read_import.apply(args=(str(row.pk),), headers={ACTOR_HEADER: str(row.user_id)}, throw=True)


def change(row: Import, **values: Any) -> None:
    with acting_as(row.user_id):
        Import.objects.filter(pk=row.pk).update(**values)


def make_stalled(row: Import, **values: Any) -> None:
    change(row, touched_at=timezone.now() - 2 * QUEUED_PATIENCE, **values)


def sweep() -> list[tuple[str, str]]:
    """What the sweep queues: import and person of each message."""
    empty_queue()
    requeue_stalled_imports.apply(throw=True)
    return [(message["argsrepr"], message[ACTOR_HEADER]) for message in queued_messages()]


def test_a_queued_import_is_read(owner: User) -> None:
    row = queue_import(owner)
    assert [message["task"] for message in queued_messages()] == ["dedup.tasks.read_import"]

    read(row)

    found = latest_import(owner.pk)
    assert (found.status, found.attempts, found.new_messages) == (ImportStatus.COMPLETED, 1, 3)
    assert found.finished_at is not None
    assert rebuilt_files(owner.pk) == {"pies.jsonl": lines(dialogue(3))}


def test_reading_twice_changes_nothing(owner: User) -> None:
    row = queue_import(owner)
    read(row)
    before, found = counts_of_tables(), latest_import(owner.pk)

    read(row)

    again = latest_import(owner.pk)
    assert counts_of_tables() == before
    assert (again.attempts, again.touched_at) == (1, found.touched_at)


def test_reading_an_import_that_is_gone_does_nothing(owner: User) -> None:
    before = counts_of_tables()

    read(Import(pk=uuid4(), user=owner))

    assert counts_of_tables() == before


def test_a_strangers_import_is_not_read(owner: User) -> None:
    row = queue_import(owner)

    read(Import(pk=row.pk, user=make_user()))

    assert latest_import(owner.pk).status == ImportStatus.QUEUED


@pytest.mark.parametrize("status", [ImportStatus.COMPLETED, ImportStatus.FAILED])
def test_a_finished_import_is_not_read(owner: User, status: ImportStatus) -> None:
    row = queue_import(owner)
    change(row, status=status)

    read(row)

    found = latest_import(owner.pk)
    assert (found.status, found.attempts, found.records) == (status, 0, 0)


def test_a_worker_that_comes_late_finds_it_read(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = queue_import(owner)
    locked: list[str] = []

    def overtake(name: str) -> bool:
        """Between this worker's claim and its reading another one reads the whole import."""
        locked.append(name)
        if len(locked) == 2:
            _in_a_thread(lambda: run_import(row.pk, owner.pk))
        return try_lock(name)

    monkeypatch.setattr(importing, "try_lock", overtake)
    run_import(row.pk, owner.pk)

    found = latest_import(owner.pk)
    assert (found.status, found.attempts, found.original_id) == (ImportStatus.COMPLETED, 2, None)
    assert (found.new_messages, found.duplicates_filtered) == (3, 0)


def test_an_import_that_another_worker_reads_is_left_to_it(owner: User) -> None:
    row = queue_import(owner)

    with acting_as(owner.pk):
        assert try_lock(f"import:{row.pk}")
        _in_a_thread(lambda: run_import(row.pk, owner.pk))

    found = latest_import(owner.pk)
    assert (found.status, found.attempts) == (ImportStatus.QUEUED, 0)
    read(row)
    assert latest_import(owner.pk).status == ImportStatus.COMPLETED


def test_a_file_that_cannot_be_read_ends_the_import_with_a_reason(owner: User) -> None:
    row = queue_import(owner)
    next(path for path in stored_files() if str(owner.pk) in str(path)).unlink()

    read(row)

    found = latest_import(owner.pk)
    assert (found.status, found.error_code) == (ImportStatus.FAILED, "missing_artifact")
    assert found.error_detail.endswith("import the file again.")
    assert found.finished_at is not None
    assert reading_order(owner.pk) == []


def test_an_unexpected_error_leaves_the_import_to_be_tried_again(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = queue_import(owner)
    before = counts_of_tables()

    def fail(*_: Any) -> None:
        raise RuntimeError("lightning")

    with monkeypatch.context() as storm:
        storm.setattr(intake, "merge_staged", fail)
        with pytest.raises(RuntimeError, match="lightning"):
            read(row)

    assert counts_of_tables() == before
    found = latest_import(owner.pk)
    assert (found.status, found.attempts) == (ImportStatus.RUNNING, 1)
    read(row)
    assert latest_import(owner.pk).status == ImportStatus.COMPLETED


# --- The sweep ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [ImportStatus.QUEUED, ImportStatus.RUNNING])
def test_the_sweep_sends_again_what_nobody_works_on(owner: User, status: ImportStatus) -> None:
    row = queue_import(owner)
    make_stalled(row, status=status, attempts=1)

    sent = sweep()

    assert sent == [(f"('{row.pk}',)", str(owner.pk))]
    found = latest_import(owner.pk)
    assert (found.status, found.attempts) == (status, 1)
    assert timezone.now() - found.touched_at < timedelta(seconds=10)
    assert sweep() == []


def test_the_sweep_leaves_alone_what_is_new_or_finished(owner: User) -> None:
    queue_import(owner)
    for status in (ImportStatus.COMPLETED, ImportStatus.FAILED):
        make_stalled(queue_import(owner), status=status)

    assert sweep() == []


def test_what_is_begun_again_and_again_is_given_up(owner: User) -> None:
    row = queue_import(owner)
    change(row, status=ImportStatus.RUNNING, attempts=MOST_ATTEMPTS)

    read(row)

    found = latest_import(owner.pk)
    assert (found.status, found.error_code) == (ImportStatus.FAILED, "gave_up")
    assert found.error_detail == f"It was begun {MOST_ATTEMPTS} times and never came to an end."
    assert (found.attempts, found.records) == (MOST_ATTEMPTS, 0)


def test_an_import_waits_while_a_dry_run_reads_the_archive(owner: User) -> None:
    row = queue_import(owner)

    with preview(user_id=owner.pk):
        _in_a_thread(lambda: run_import(row.pk, owner.pk))

    found = latest_import(owner.pk)
    assert (found.status, found.attempts) == (ImportStatus.QUEUED, 0)


def test_a_dry_run_waits_for_nobody(owner: User) -> None:
    def busy() -> None:
        with pytest.raises(ArchiveBusyError), preview(user_id=owner.pk):
            pytest.fail("two had the archive")

    with acting_as(owner.pk):
        assert join_archive(owner.pk)
        _in_a_thread(busy)


@pytest.mark.parametrize("damage", [b"", b"other bytes"])
def test_damaged_bytes_are_no_empty_import_and_can_be_brought_again(
    owner: User, damage: bytes
) -> None:
    row = queue_import(owner)
    kept = next(path for path in stored_files() if str(owner.pk) in str(path))
    whole = kept.read_bytes()
    kept.chmod(0o600)
    kept.write_bytes(damage)

    read(row)
    found = latest_import(owner.pk)
    assert (found.status, found.error_code) == (ImportStatus.FAILED, "damaged_artifact")

    upload = keep_upload(user_id=owner.pk, upload=BytesIO(whole), name="again.jsonl")
    read(start_import(user_id=owner.pk, kept=upload))

    found = latest_import(owner.pk)
    assert (found.status, found.new_messages) == (ImportStatus.COMPLETED, 3)
    assert found.original_id is None


@pytest.mark.parametrize("attempts", [1, MOST_ATTEMPTS])
def test_the_sweep_leaves_alone_what_is_being_read(owner: User, attempts: int) -> None:
    row = queue_import(owner)
    make_stalled(row, status=ImportStatus.RUNNING, attempts=attempts)
    before = latest_import(owner.pk).touched_at

    with acting_as(owner.pk):
        assert try_lock(f"import:{row.pk}")
        sent = sweep()

    found = latest_import(owner.pk)
    assert (sent, found.status, found.touched_at) == ([], ImportStatus.RUNNING, before)


def test_the_sweep_sends_for_everybody(owner: User) -> None:
    rows = [queue_import(owner), queue_import(make_user())]
    for row in rows:
        make_stalled(row)

    assert sorted(sweep()) == sorted((f"('{row.pk}',)", str(row.user_id)) for row in rows)


def _in_a_thread(action: Any) -> None:
    def run() -> None:
        try:
            action()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()
