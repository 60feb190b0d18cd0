"""Exporters are killed again and again while many write: no event is lost, none is double."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import settings

from accounts.tests.factories import make_user
from audit.tests.captured import insert
from audit.tests.streams import (
    export_everything,
    files_of_stream,
    ids_in_database,
    ids_in_files,
    lines_in,
)
from audit.verification import verify_stream
from common.bootstrap import database_name
from common.ids import uuid7
from common.storage import DRAFTS
from common.tests.connections import Connection, connect_as, connect_as_superuser
from dedup.tests.processes import ON_TEST_DATABASE, ROOT, kill

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

WRITERS = 16
KILLS = 36
SECONDS = 9.0
# A slow machine is given so long until an exporter dies within a file.
LONGEST_SECONDS = 90.0

# For each line that it reads it starts an exporter that exports until it is killed. Files are
# written slowly.
NURSERY = (
    ON_TEST_DATABASE
    + """
import time
import django
django.setup()
from django.core.files.base import File
from audit import exporting

def slowly(file, chunk_size=None):
    file.seek(0)
    while piece := file.read(1500):
        yield piece
        time.sleep(0.001)

File.chunks = slowly
print("ready", flush=True)
for _ in sys.stdin:
    child = os.fork()
    if not child:
        while True:
            exporting.export_events()
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""
)


@contextmanager
def nursery() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        cwd=ROOT,
        env={
            **os.environ,
            "TEST_DATABASE": database_name(),
            "FILES_DIR": str(settings.MEDIA_ROOT),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert answer_of(process) == "ready"
        yield process
    finally:
        kill(process)


def answer_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], 60)
    assert readable, "the exporter's parent is silent"
    return process.stdout.readline().strip()


def export_and_kill(process: "subprocess.Popen[str]", seconds: float) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    exporter = int(answer_of(process))
    time.sleep(seconds)
    os.kill(exporter, signal.SIGKILL)
    assert answer_of(process) == "ended"


class Writer:
    """Changes rows that others change too, in short, long and aborted transactions."""

    def __init__(self, number: int, owner: UUID, counters: list[UUID]) -> None:
        self.dice = random.Random(number)
        self.owner, self.counters = owner, counters
        self.kept: list[UUID] = []
        self.aborted: list[UUID] = []

    def write_until(self, stopped: threading.Event) -> None:
        with connect_as("default") as connection:
            while not stopped.is_set():
                kind = self.dice.choice(["short", "short", "short", "long", "aborted"])
                with connection.transaction(force_rollback=kind == "aborted"):
                    self._write(connection, kind)
                time.sleep(self.dice.uniform(0.005, 0.03))

    def _write(self, connection: Connection, kind: str) -> None:
        connection.execute("SELECT set_config('app.user_id', %s, true)", [str(self.owner)])
        for _ in range(self.dice.randint(1, 4)):
            key = uuid7()
            insert(
                connection, "dedup_conversation", id=key, user_id=self.owner, native_key=str(key)
            )
            (self.aborted if kind == "aborted" else self.kept).append(key)
        if kind == "long":
            # Its number is older than those of many that end before it.
            time.sleep(self.dice.uniform(0.1, 0.4))
        # Last, so that a lock is not held for long.
        connection.execute(
            "UPDATE dedup_conversation SET total_messages = total_messages + 1 WHERE id = %s",
            [self.dice.choice(self.counters)],
        )


def totals_by_row() -> dict[str, list[int]]:
    """For each row the counts after its changes, in the order of the stream."""
    totals = defaultdict(list)
    for file in files_of_stream():
        for line in lines_in(file):
            if line["operation"] == "UPDATE":
                totals[line["row"]].append(line["new"]["total_messages"])
                assert line["old"]["total_messages"] + 1 == line["new"]["total_messages"]
    return totals


def test_exporters_that_are_killed_lose_nothing_and_repeat_nothing() -> None:
    owner = make_user().pk
    with connect_as_superuser() as superuser:
        counters = [
            insert(superuser, "dedup_conversation", user_id=owner, native_key=str(number))
            for number in range(4)
        ]
    writers = [Writer(number, owner, counters) for number in range(WRITERS)]
    dice, stopped = random.Random(7), threading.Event()
    kills, passed, hit = 0, 0.0, False

    with ExitStack() as stack:
        parents = [stack.enter_context(nursery()) for _ in range(2)]
        pool = stack.enter_context(ThreadPoolExecutor(WRITERS + 2))
        stack.callback(stopped.set)
        started = time.monotonic()
        writing = [pool.submit(writer.write_until, stopped) for writer in writers]
        while kills < KILLS or passed < SECONDS or not hit:
            assert passed < LONGEST_SECONDS, "no exporter was killed while it wrote"
            killing = [
                pool.submit(export_and_kill, parent, dice.uniform(0.05, 0.5)) for parent in parents
            ]
            for one in killing:
                one.result(timeout=60)
            kills += len(killing)
            # The folder is made with the first file.
            hit = hit or any((Path(settings.MEDIA_ROOT) / DRAFTS).glob("*"))
            passed = time.monotonic() - started
        problems = verify_stream().problems
        stopped.set()
        for one in writing:
            one.result(timeout=60)

    assert problems == []
    export_everything()
    exported = ids_in_files()
    assert len(exported) == len(set(exported))
    assert set(exported) == set(ids_in_database())
    told = json.dumps([line["row"] for file in files_of_stream() for line in lines_in(file)])
    assert all(str(key) in told for writer in writers for key in writer.kept)
    assert not any(str(key) in told for writer in writers for key in writer.aborted)
    totals = totals_by_row()
    assert set(totals) == {str(key) for key in counters}
    assert all(counts == list(range(1, len(counts) + 1)) for counts in totals.values())
    assert verify_stream().problems == []
    numbers = [int(file.stem) for file in files_of_stream()]
    assert numbers == list(range(1, len(numbers) + 1))
    # The test was worth it.
    assert len(exported) > 500
