"""A real worker is killed while it reads; another one takes over, and nothing is double."""

import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import BytesIO
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.tests.factories import make_user
from common.encryption.checks import verify_keys
from common.tenancy import acting_as
from common.tests.broker import empty_queue
from common.tests.connections import connect_as_superuser
from dedup.choices import ImportStatus
from dedup.importing import run_import
from dedup.models import Import, Message, Observation, Placement, Revision
from dedup.progress import progress_of
from dedup.services import keep_upload, start_import
from dedup.tasks import QUEUED_PATIENCE, requeue_stalled_imports
from dedup.tests.exports_json import (
    as_json,
    chatgpt_conversation,
    chatgpt_message,
    chatgpt_node,
)
from dedup.tests.exports_text import export_text
from dedup.tests.factories import (
    counts_of_tables,
    dialogue,
    latest_import,
    lines,
    make_tables_new,
    rebuilt_files,
)
from dedup.tests.processes import kill, worker
from dedup.verification import integrity_problems, verify_import

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


CONVERSATIONS = 20
MESSAGES_OF_EACH = 100
TURNS = 2000
KNOWN_TURNS = 40

# A worker's locks stay until its transaction ends: it is past this statement, and not done.
HAS_WRITTEN = """
    SELECT FROM pg_locks l
    JOIN pg_stat_activity a USING (pid)
    WHERE l.relation = 'dedup_revision'::regclass AND l.mode = 'RowExclusiveLock'
      AND a.datname = current_database()
"""


def big_chatgpt_zip() -> bytes:
    conversations = []
    for number in range(CONVERSATIONS):
        nodes = [
            chatgpt_node(
                f"n{place}",
                f"n{place - 1}" if place else None,
                chatgpt_message(f"n{place}", "user", f"{place} {PADDING}", place),
                [f"n{place + 1}"],
            )
            for place in range(MESSAGES_OF_EACH)
        ]
        conversations.append(chatgpt_conversation(nodes, f"conversation-{number}"))
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", as_json(conversations))
    return packed.getvalue()


def export_of(turns: int) -> bytes:
    return export_text(
        [(("prompt", "reply")[number % 2], f"{number} {PADDING}") for number in range(turns)]
    )


def queue_upload(user_id: UUID, data: bytes, name: str) -> Import:
    kept = keep_upload(user_id=user_id, upload=BytesIO(data), name=name)
    return start_import(user_id=user_id, kept=kept)


def kill_once(condition: Callable[[], object]) -> None:
    with worker() as killed:
        wait_for(condition)
        kill(killed)


def complete(user_id: UUID) -> Import:
    """The last import, after another worker has been sent to it."""
    make_stalled(user_id)
    wait_for(lambda: _sweep_sends(user_id))
    with worker():
        wait_for(lambda: latest_import(user_id).status != ImportStatus.RUNNING)
    return latest_import(user_id)


def test_a_killed_worker_leaves_nothing_of_a_chatgpt_zip_and_another_one_all_of_it() -> None:
    make_tables_new()
    owner, messages = make_user(), CONVERSATIONS * MESSAGES_OF_EACH
    row = queue_upload(owner.pk, big_chatgpt_zip(), "chatgpt.zip")
    # As the first process of an installation does.
    verify_keys()
    before = counts_of_tables()

    kill_once(lambda: (progress_of(row.pk) or 0) and progress_of(row.pk).records > 0)  # type: ignore[union-attr]  # it stays
    began = latest_import(owner.pk)
    assert (began.status, began.attempts) == (ImportStatus.RUNNING, 1)
    assert counts_of_tables() == before

    done = complete(owner.pk)
    assert (done.status, done.attempts, done.error_detail) == (ImportStatus.COMPLETED, 2, "")
    assert (done.messages_in_export, done.new_messages) == (messages, messages)
    assert verify_import(owner.pk, done) == []
    assert integrity_problems(owner.pk) == []
    with acting_as(owner.pk):
        assert Message.objects.count() == Revision.objects.count() == messages
        assert Placement.objects.count() == messages
        assert Observation.objects.count() == done.records


def test_a_worker_that_is_killed_while_it_writes_leaves_the_text_that_was_there() -> None:
    make_tables_new()
    owner = make_user()
    run_import(queue_upload(owner.pk, export_of(KNOWN_TURNS), "talk.txt").pk, owner.pk)
    empty_queue()
    row = queue_upload(owner.pk, export_of(TURNS), "talk.txt")
    # As the first process of an installation does.
    verify_keys()
    before = counts_of_tables()
    assert before["dedup_message"] == KNOWN_TURNS

    with connect_as_superuser() as connection:
        kill_once(lambda: connection.execute(HAS_WRITTEN).fetchall())
    began = latest_import(owner.pk)
    assert (began.pk, began.status, began.attempts) == (row.pk, ImportStatus.RUNNING, 1)
    assert counts_of_tables() == before

    done = complete(owner.pk)
    assert (done.status, done.attempts, done.error_detail) == (ImportStatus.COMPLETED, 2, "")
    assert (done.new_messages, done.duplicates_filtered) == (TURNS - KNOWN_TURNS, KNOWN_TURNS)
    assert verify_import(owner.pk, done) == []
    assert integrity_problems(owner.pk) == []
    with acting_as(owner.pk):
        assert Message.objects.count() == Placement.objects.count() == TURNS
