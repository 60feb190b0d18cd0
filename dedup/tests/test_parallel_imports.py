"""A folder with every format, read by several processes: killed, interrupted, and whole."""

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import User
from accounts.tests.factories import make_operator, make_user
from common.tenancy import acting_as
from dedup.choices import Source
from dedup.models import Conversation, Import, Message
from dedup.services import import_path, preview
from dedup.tests import exports_json, exports_text
from dedup.tests.factories import (
    OTHER_SESSION,
    SESSION,
    counts_of_tables,
    dialogue,
    make_tables_new,
    prompt,
    rebuilt_files,
    stored_files,
    transcript,
)
from dedup.tests.processes import MANAGE, PATIENCE_SECONDS, kill, manage, start

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

BIG = 10_000
# More than are left to the database to analyse.
MANY = 2_100
PADDING = "flour and sugar " * 60


@pytest.fixture
def owner() -> User:
    return make_operator()


def mixed_folder(folder: Path) -> dict[Path, Source]:
    """An export of every source, and what is none."""
    texts = {
        Source.CLAUDE_CODE_TEXT: ("talk.txt", _text()),
        Source.CLAUDE_AI: ("claude.json", exports_json.claude_ai_export()),
        Source.CODEX: (
            f"rollout-2026-03-01T09-30-00-{exports_text.SESSION}.jsonl",
            exports_text.codex_rollout([exports_text.spoken("user", "Bake a tart.")]),
        ),
        Source.OPENAI: ("openai.json", exports_json.openai_export()),
        Source.SHAREGPT: ("sharegpt.json", exports_json.sharegpt_export()),
        Source.LANGCHAIN: ("langchain.json", exports_json.langchain_export()),
    }
    found = {transcript(folder, dialogue(3)): Source.CLAUDE_CODE}
    for source, (name, content) in texts.items():
        (folder / name).write_bytes(content)
        found[folder / name] = source
    with zipfile.ZipFile(folder / "chatgpt.zip", "w") as archive:
        archive.writestr("conversations.json", exports_json.chatgpt_export())
    found[folder / "chatgpt.zip"] = Source.CHATGPT
    state = exports_text.legacy_state(
        folder / "state",
        {"rollout": [exports_text.legacy_message(number, "user", "Old") for number in range(4)]},
    )
    found[state] = Source.LEGACY_STATE
    (folder / "diary.txt").write_text("Dear diary")
    (folder / "image.png").write_bytes(b"\x89PNG")
    return found


def _text() -> bytes:
    return exports_text.export_text([("prompt", "Bake a tart."), ("reply", "With apples?")])


def big_file(folder: Path, name: str) -> Path:
    rows = [prompt(f"{name}-{number}", f"{PADDING}{number}") for number in range(BIG)]
    return transcript(folder, [row | {"sessionId": name} for row in rows], name)


def let_planner_know_another_person_only(folder: Path) -> None:
    """It then expects one row of anybody else, and plans to go through them again and again."""
    make_tables_new()
    import_path(user_id=make_user().pk, path=transcript(folder / "another", dialogue(MANY)))


def run_json(owner: User, *arguments: object) -> tuple[int, dict[str, Any]]:
    named = ["--owner", owner.username, "--reason", "ticket 4711 of theirs", "--json"]
    done = manage("import_conversations", *map(str, arguments), *named)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def readers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Its worker processes."""
    found = []
    for child in psutil.Process(process.pid).children():
        # Others come and go while the services are found.
        with suppress(psutil.Error):
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return found


def wait_until_both_read(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    wait_for(lambda: len(readers(process)) == 2)
    found = readers(process)
    # The file is 11 MB; its copy and what is stored of it are as many, and then it is read.
    wait_for(lambda: min(reader.io_counters().write_chars for reader in found) > 22_000_000)
    return found


def group_is_empty(process: "subprocess.Popen[str]") -> bool:
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


def expected_messages(owner: User) -> int:
    """How many of the person the planner expects."""
    with acting_as(owner.pk), connection.cursor() as cursor:
        cursor.execute("EXPLAIN (FORMAT JSON) SELECT FROM dedup_message")
        ((plan,),) = cursor.fetchone()
        return int(plan["Plan"]["Plan Rows"])


def messages_of(owner: User) -> int:
    with acting_as(owner.pk):
        return Message.objects.count()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_of_every_format_comes_in_whole(owner: User, tmp_path: Path, workers: int) -> None:
    sources = mixed_folder(tmp_path)

    code, report = run_json(owner, tmp_path, "--workers", workers)

    assert (code, report["errors"], report["others"]) == (0, [], 1)
    assert {Path(file["path"]): file["source"] for file in report["files"]} == sources
    paths = [file["path"] for file in report["files"]]
    assert paths[:-1] == sorted(paths[:-1])
    assert paths[-1] == str(tmp_path / "state")
    assert [Path(found["path"]).name for found in report["skipped"]] == ["diary.txt"]
    assert report["totals"]["new_messages"] == messages_of(owner)
    with acting_as(owner.pk):
        assert Conversation.objects.filter(source=Source.CHATGPT).count() == 2


def test_two_workers_report_what_one_does_and_a_second_run_brings_nothing(
    owner: User, tmp_path: Path
) -> None:
    mixed_folder(tmp_path)
    other = make_user()

    _, one = run_json(owner, tmp_path, "--workers", "1")
    _, two = run_json(other, tmp_path, "--workers", "2")
    code, again = run_json(other, tmp_path, "--workers", "2")

    volatile = {"id", "conversations", "processing_time_ms"}
    for name in ("files", "conversations"):
        ours, theirs = (
            [{key: row[key] for key in row if key not in volatile} for row in report[name]]
            for report in (one, two)
        )
        assert ours == theirs
    assert code == 0
    assert (again["totals"]["new_messages"], messages_of(owner)) == (0, messages_of(other))
    assert all(file["already_imported"] for file in again["files"])


def test_versions_of_one_conversation_read_side_by_side_are_counted_once(
    owner: User, tmp_path: Path
) -> None:
    for turns in range(2, 12):
        transcript(tmp_path / f"{turns:02}", dialogue(turns))

    code, report = run_json(owner, tmp_path, "--workers", "2")

    assert code == 0
    (conversation,) = report["conversations"]
    assert (conversation["new_messages"], conversation["total_unique_messages"]) == (11, 11)
    assert (report["totals"]["new_messages"], messages_of(owner)) == (11, 11)


def test_a_killed_worker_loses_its_file_and_no_other(
    owner: User, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    let_planner_know_another_person_only(tmp_path_factory.mktemp("other"))
    big = [big_file(tmp_path, name) for name in ("1-big", "2-big")]
    small = [transcript(tmp_path / f"x{n}", [prompt(f"s{n}", f"Small {n}")]) for n in range(3)]
    named = ["--owner", owner.username, "--workers", "2", "--json"]
    process = start(MANAGE, "import_conversations", str(tmp_path), *named)
    try:
        wait_until_both_read(process)[0].send_signal(signal.SIGKILL)
        out, error = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        kill(process)

    report = json.loads(out)
    (lost,) = report["errors"]
    assert process.returncode == 1
    assert lost["reason"] == (
        "The process that read it was ended by SIGKILL: nothing of it was kept, import it again."
    )
    assert error == f"{lost['path']}: {lost['reason']}\n"
    kept = sorted({str(path) for path in big + small} - {lost["path"]})
    assert sorted(file["path"] for file in report["files"]) == kept
    assert sorted(rebuilt_files(owner.pk)) == kept
    wait_for(lambda: group_is_empty(process))
    _, rest = run_json(owner, lost["path"])
    assert rest["totals"]["new_messages"] == BIG
    assert messages_of(owner) == 2 * BIG + 3


def test_what_an_import_has_kept_the_next_one_is_planned_for(owner: User, tmp_path: Path) -> None:
    """In one transaction, where nothing but the merge itself can tell the planner."""
    let_planner_know_another_person_only(tmp_path)
    first = transcript(tmp_path / "1", dialogue(MANY + 1, "a"), OTHER_SESSION)
    second = transcript(tmp_path / "2", dialogue(3, "b"))

    with preview(user_id=owner.pk) as read:
        read(user_id=owner.pk, path=first)
        unknown = expected_messages(owner)
        read(user_id=owner.pk, path=second)
        known = expected_messages(owner)

    assert unknown < MANY < known
    assert expected_messages(owner) < MANY


def test_the_parts_of_a_zip_are_planned_for_what_the_parts_before_brought(
    owner: User, tmp_path: Path
) -> None:
    let_planner_know_another_person_only(tmp_path)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, turns in (("a", MANY + 1), ("b", 3)):
            path = transcript(tmp_path / name, dialogue(turns, name), f"{name}{SESSION}")
            archive.write(path, path.name)

    with preview(user_id=owner.pk) as read:
        result = read(user_id=owner.pk, path=tmp_path / "all.zip")
        known = expected_messages(owner)

    assert result.counts.new_messages == MANY + 1
    assert known > MANY


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_whole_files_and_no_process(
    owner: User, tmp_path: Path, number: signal.Signals
) -> None:
    make_tables_new()
    first = transcript(tmp_path / "0", dialogue(3))
    big = [big_file(tmp_path, name) for name in ("1-big", "2-big", "3-big")]
    named = ["--owner", owner.username, "--workers", "2", "--json"]
    process = start(MANAGE, "import_conversations", str(tmp_path), *named)
    try:
        wait_until_both_read(process)
        os.killpg(process.pid, number)
        out, error = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        kill(process)

    report = json.loads(out)
    assert (process.returncode, report["interrupted"], report["errors"]) == (130, True, [])
    assert error == "Interrupted: what is listed is kept, the rest was not begun.\n"
    listed = {file["path"] for file in report["files"]}
    assert listed < {str(path) for path in [first, *big]}
    assert rebuilt_files(owner.pk) == {path: Path(path).read_bytes() for path in listed}
    wait_for(lambda: group_is_empty(process))
    assert messages_of(owner) == report["totals"]["new_messages"]


def test_a_named_file_is_filed_under_the_named_conversation(owner: User, tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    path.write_bytes(exports_json.langchain_export())

    code, report = run_json(owner, path, "--conversation", "my-tarts")
    again, repeated = run_json(owner, path, "--conversation", "my-tarts")

    assert (code, again) == (0, 0)
    assert [found["native_key"] for found in report["conversations"]] == ["my-tarts"]
    assert repeated["totals"]["new_messages"] == 0
    with acting_as(owner.pk):
        assert [found.native_key for found in Conversation.objects.all()] == ["my-tarts"]


def test_a_file_of_any_name_is_read_where_its_source_is_said(owner: User, tmp_path: Path) -> None:
    path = transcript(tmp_path, dialogue(3)).rename(tmp_path / "session.log")
    (tmp_path / ".hidden").write_text("x")

    _, unsaid = run_json(owner, tmp_path)
    code, report = run_json(owner, tmp_path, "--source", "claude_code")

    assert (unsaid["files"], unsaid["others"]) == ([], 2)
    assert [file["path"] for file in report["files"]] == [str(path)]
    assert (code, report["totals"]["new_messages"]) == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--conversation", "key"], "one file belongs, and 2 were found"),
        (["--conversation", " "], "1 to 500 characters"),
        (["--conversation", "x" * 501], "1 to 500 characters"),
        (["--source", "telegram"], "invalid choice: 'telegram'"),
        (["--workers", "0"], "at least 1"),
        (["--workers", "two"], "at least 1"),
        (["--poll"], "needs --watch"),
        (["--watch", "--dry-run"], "--watch and --dry-run do not go together"),
        (["--watch", "--conversation", "key"], "--watch and --conversation do not go together"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything(
    owner: User, tmp_path: Path, arguments: list[str], message: str
) -> None:
    transcript(tmp_path, dialogue(3))
    transcript(tmp_path, dialogue(3, "o"), OTHER_SESSION)
    before, stored = counts_of_tables(), stored_files()

    with pytest.raises(CommandError, match=message):
        call_command("import_conversations", str(tmp_path), *arguments, owner=owner.username)

    assert (counts_of_tables(), stored_files()) == (before, stored)


def test_a_file_of_several_conversations_is_filed_under_none(owner: User, tmp_path: Path) -> None:
    path = tmp_path / "two.json"
    path.write_bytes(exports_json.chatgpt_export())

    code, report = run_json(owner, path, "--conversation", "mine")

    assert (code, report["files"]) == (1, [])
    assert "cannot be filed under one conversation" in report["errors"][0]["reason"]
    with acting_as(owner.pk):
        assert not Import.objects.exists()


def test_without_room_for_files_nothing_is_begun(
    owner: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcript(tmp_path, dialogue(3))
    usage = shutil.disk_usage(tmp_path)._replace(free=99_999_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    before, stored = counts_of_tables(), stored_files()

    with pytest.raises(CommandError, match="Only 99 MB are free where the imported files"):
        call_command("import_conversations", str(tmp_path), owner=owner.username)

    assert (counts_of_tables(), stored_files()) == (before, stored)


def test_a_state_directory_is_reported_on(owner: User, tmp_path: Path) -> None:
    said = [exports_text.legacy_message(number, "user", "Old") for number in range(4)]
    state = exports_text.legacy_state(tmp_path / "state", {"rollout": said})
    (state / "content_hashes.json").unlink()
    (state / "watermarks.json").write_text('{"rollout": 7}')

    code, report = run_json(owner, state)
    plain = manage("import_conversations", str(state), "--owner", owner.username)

    (file,) = report["files"]
    assert (code, file["report"]["hashes"]["verified"]) == (0, 4)
    assert file["report"]["missing_files"] == ["content_hashes.json"]
    assert plain.stdout.splitlines()[1:3] == [
        f"{state}: 4/4 hashes verified, missing: content_hashes.json, 1 watermark mismatches",
        "  rollout: the watermark is 7, the highest index 3",
    ]
    assert SESSION not in plain.stdout


def test_what_is_passed_over_is_said_on_standard_error(owner: User, tmp_path: Path) -> None:
    transcript(tmp_path, dialogue(3))
    (tmp_path / "diary.txt").write_text("Dear diary")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")

    done = manage("import_conversations", str(tmp_path), "--owner", owner.username)

    assert done.returncode == 0
    skipped, others = done.stderr.splitlines()
    assert skipped.startswith(f"{tmp_path / 'diary.txt'}: skipped. Nothing in the file looks")
    assert others == (
        "Not looked into, since their names end with none of .jsonl, .json, .txt, .zip: 1."
    )
