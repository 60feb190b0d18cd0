"""Folders that are watched by a real process: what is written to them comes in, once."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import User
from accounts.tests.factories import make_operator
from common.bootstrap import database_name
from common.tenancy import acting_as
from common.tests.connections import connect_as_superuser
from dedup.exports import Export
from dedup.models import Import, Message
from dedup.outcomes import Order, Outcome
from dedup.services import Wanted
from dedup.tests.exports_json import chatgpt_export
from dedup.tests.factories import (
    OTHER_SESSION,
    counts_of_tables,
    dialogue,
    lines,
    prompt,
    rebuilt_files,
    transcript,
)
from dedup.tests.processes import MANAGE, PATIENCE_SECONDS, start
from dedup.watching import Watch
from tests.pgbouncer import not_through_pgbouncer

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

WATCHING = "Watching for changes; Ctrl-C ends it."


@pytest.fixture
def owner() -> User:
    return make_operator()


class Watcher:
    """A running `import_conversations --watch`, and what it said."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._notes: queue.Queue[str] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._collect, args=(stream, said))
            for stream, said in ((process.stdout, self._lines), (process.stderr, self._notes))
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _collect(stream: Any, said: "queue.Queue[str]") -> None:
        with stream:
            for line in stream:
                said.put(line.rstrip("\n"))

    def line(self) -> str:
        return self._lines.get(timeout=PATIENCE_SECONDS)

    def event(self) -> dict[str, Any]:
        """The next one."""
        found: dict[str, Any] = json.loads(self.line())
        return found

    def note(self) -> str:
        return self._notes.get(timeout=PATIENCE_SECONDS)

    def wait_for_note(self, note: str) -> None:
        while self.note() != note:
            pass

    def is_silent(self) -> bool:
        """For as long as it would take to read what has settled."""
        time.sleep(4)
        return self._lines.empty() and self._notes.empty()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        os.killpg(self.process.pid, number)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=PATIENCE_SECONDS)
        for thread in self._threads:
            thread.join()


@contextmanager
def watching(owner: User, folder: Path, *options: str) -> Iterator[Watcher]:
    named = ["--owner", owner.username, "--watch", *options]
    watcher = Watcher(start(MANAGE, "import_conversations", str(folder), *named))
    try:
        yield watcher
    finally:
        watcher.close()


def others() -> list[dict[str, Any]]:
    """Of another session, and with other words than a dialogue's."""
    return [
        prompt(f"o{n}", f"Other {n}", second=n) | {"sessionId": OTHER_SESSION} for n in range(3)
    ]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def messages_of(owner: User) -> int:
    with acting_as(owner.pk):
        return Message.objects.count()


@pytest.mark.parametrize(
    ("number", "options"), [(signal.SIGTERM, []), (signal.SIGINT, []), (signal.SIGTERM, ["--poll"])]
)
def test_what_is_written_to_a_watched_folder_comes_in_until_it_is_ended(
    owner: User, tmp_path: Path, number: signal.Signals, options: list[str]
) -> None:
    rows = dialogue(8)
    path = transcript(tmp_path, rows[:2])

    with watching(owner, tmp_path, "--json", *options) as watcher:
        first = watcher.event()
        watcher.wait_for_note(WATCHING)
        grown = []
        for at in (2, 4, 6):
            append(path, lines(rows[at : at + 2]))
            grown.append(watcher.event())
        new = transcript(tmp_path / "a" / "b", others(), OTHER_SESSION)
        below = watcher.event()
        (tmp_path / "garbage.txt").write_text("Dear diary")
        garbage = watcher.event()
        code = watcher.end(number)
        stopped = watcher.event()

    assert [event["event"] for event in (first, *grown, below)] == ["imported"] * 5
    assert [event["new_messages"] for event in (first, *grown, below)] == [2, 2, 2, 2, 3]
    assert (below["path"], garbage["event"]) == (str(new), "skipped")
    assert code == 0
    assert stopped == {"event": "stopped", "files": 5, "new_messages": 11}
    assert messages_of(owner) == 11
    assert rebuilt_files(owner.pk)[str(path)] == path.read_bytes()
    with acting_as(owner.pk):
        assert Import.objects.filter(extends__isnull=False).count() == 3


def test_a_half_written_line_is_waited_for_and_read_as_it_is_in_the_end(
    owner: User, tmp_path: Path
) -> None:
    rows = dialogue(4)
    path = transcript(tmp_path, rows[:2])
    whole = lines(rows[2:3])

    with watching(owner, tmp_path, "--json") as watcher:
        watcher.event()
        watcher.wait_for_note(WATCHING)
        append(path, whole[:40])
        time.sleep(0.7)
        append(path, whole[40:])
        finished = watcher.event()
        append(path, b"{torn")
        torn = watcher.event()

    assert (finished["new_messages"], finished["unreadable_records"]) == (1, 0)
    assert (torn["new_messages"], torn["unreadable_records"]) == (0, 1)


def test_what_is_deleted_renamed_or_unchanged_is_no_error(owner: User, tmp_path: Path) -> None:
    one = transcript(tmp_path, dialogue(3))
    two = transcript(tmp_path, others(), OTHER_SESSION)

    with watching(owner, tmp_path, "--json") as watcher:
        assert [watcher.event()["new_messages"] for _ in range(2)] == [3, 3]
        watcher.wait_for_note(WATCHING)
        two.unlink()
        one.touch()
        touched = watcher.event()
        renamed = one.rename(tmp_path / "renamed.jsonl")
        event = watcher.event()
        silent = watcher.is_silent()
        code = watcher.end()

    assert (touched["path"], touched["already_imported"]) == (str(one), True)
    assert (event["path"], event["already_imported"]) == (str(renamed), True)
    assert (silent, code, messages_of(owner)) == (True, 0, 6)


def test_a_file_that_cannot_be_read_does_not_end_the_watch(owner: User, tmp_path: Path) -> None:
    with watching(owner, tmp_path, "--json") as watcher:
        watcher.wait_for_note(WATCHING)
        (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and nothing else")
        broken = watcher.event()
        (tmp_path / "chat.json").write_bytes(chatgpt_export())
        imported = watcher.event()

    assert (broken["event"], Path(broken["path"]).name) == ("failed", "broken.zip")
    assert (imported["event"], len(imported["conversations"])) == ("imported", 2)


@not_through_pgbouncer
def test_a_database_that_is_away_is_waited_for(owner: User, tmp_path: Path) -> None:
    path = transcript(tmp_path, dialogue(2))

    with watching(owner, tmp_path, "--json") as watcher:
        watcher.event()
        watcher.wait_for_note(WATCHING)
        with database_away():
            append(path, lines(dialogue(4)[2:]))
            watcher.wait_for_note("The database does not answer; trying again.")
        watcher.wait_for_note("The database answers again.")
        event = watcher.event()

    assert (event["new_messages"], messages_of(owner)) == (2, 4)


@contextmanager
def database_away() -> Iterator[None]:
    """Nobody else can log in, and who was is thrown out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (ours,) = cursor.fetchone()
    with connect_as_superuser("postgres") as server:
        allow(server, "false")
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> %s",
            [database_name(), ours],
        )
        try:
            yield
        finally:
            allow(server, "true")


def allow(server: psycopg.Connection[Any], value: str) -> None:
    server.execute(f'ALTER DATABASE "{database_name()}" ALLOW_CONNECTIONS {value}')


def test_people_read_a_line_for_each_import(owner: User, tmp_path: Path) -> None:
    path = transcript(tmp_path, dialogue(3))
    with watching(owner, tmp_path) as watcher:
        watcher.wait_for_note(WATCHING)
        code = watcher.end(signal.SIGINT)
        said = [watcher.line() for _ in range(2)]

    assert code == 0
    assert said == [
        f"{path}: 3 messages in 1 conversation, 3 new, 0 kept already, 0 revised",
        "Stopped: 1 files imported, 3 new messages.",
    ]


def test_a_file_alone_is_not_watched(owner: User, tmp_path: Path) -> None:
    path, before = transcript(tmp_path, dialogue(3)), counts_of_tables()

    with pytest.raises(CommandError, match="is a file: --watch watches folders"):
        call_command("import_conversations", str(path), owner=owner.username, watch=True)

    assert counts_of_tables() == before


def test_an_unchanged_file_is_not_opened_again_and_a_passing_error_is_tried_again(
    owner: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = transcript(tmp_path, dialogue(3))
    told: list[Outcome] = []
    answers = [Outcome(path, error="It changed.", passing=True), Outcome(path, skipped="No.")]

    def read_many(exports: list[Export], take: Callable[[int, Outcome], None]) -> None:
        for number, _ in enumerate(exports):
            take(number, answers.pop(0))

    watch = Watch(
        [tmp_path],
        Order(owner.pk, Wanted()),
        tell=told.append,
        note=lambda _: None,
        read_many=read_many,
    )
    monkeypatch.setattr("dedup.watching.read_export", lambda *_: answers.pop(0))

    watch._look_at_everything()
    watch._read_first()
    watch._read_due()
    assert len(told) == 1
    end = time.monotonic() + 10
    while answers and time.monotonic() < end:
        watch._read_due()
    watch._look_at_everything()
    watch._look_at({path, tmp_path})
    watch._read_due()

    assert [outcome.error or outcome.skipped for outcome in told] == ["It changed.", "No."]
