"""The commands as a person or a script meets them: words, figures and exit codes."""

import json
import os
import signal
import time
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError

from accounts.models import User
from accounts.tests.factories import client_of, make_operator, make_user
from common.tenancy import acting_as
from dedup import outcomes
from dedup.models import Import, Message
from dedup.services import import_path
from dedup.tests.factories import (
    OTHER_SESSION,
    SAMPLES,
    SESSION,
    counts_of_tables,
    dialogue,
    import_all,
    kept,
    latest_import,
    lines,
    make_tables_new,
    prompt,
    rebuilt_files,
    sample_files,
    stored_files,
    transcript,
)
from dedup.tests.processes import MANAGE, PATIENCE_SECONDS, manage, start
from tests.events import security

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

REASON = "ticket 4711 of the person"
COUNTS = {
    "messages_in_export",
    "new_messages",
    "duplicates_filtered",
    "content_collisions",
    "revisions",
    "unreadable_records",
    "processing_time_ms",
    "savings_pct",
}


@pytest.fixture
def owner() -> User:
    return make_operator()


def run(name: str, *arguments: Any, **options: Any) -> tuple[int, str, str]:
    """Exit code, output and complaints of a command in this process."""
    out, error, code = StringIO(), StringIO(), 0
    try:
        call_command(name, *map(str, arguments), stdout=out, stderr=error, **options)
    except SystemExit as end:
        code = int(str(end.code))
    return code, out.getvalue(), error.getvalue()


def import_json(owner: User, *paths: Path, **options: Any) -> tuple[int, dict[str, Any]]:
    code, out, _ = run("import_conversations", *paths, owner=owner.username, json=True, **options)
    return code, json.loads(out)


def figures(report: dict[str, Any]) -> list[dict[str, Any]]:
    """A report without what differs between two runs: ids and times."""
    parts = [*report["files"], *report["conversations"], report["totals"]]
    volatile = {"id", "conversations", "processing_time_ms"}
    return [{name: value for name, value in part.items() if name not in volatile} for part in parts]


# --- import_conversations -----------------------------------------------------------------------


def test_what_the_database_refuses_ends_one_file_and_not_the_run(
    owner: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bad", "good"):
        transcript(tmp_path, [prompt(name, name)], name)

    def refuse_bad(*, path: Path, **rest: Any) -> Any:
        if path.name == "bad.jsonl":
            raise DataError("out of range")
        return import_path(path=path, **rest)

    monkeypatch.setattr(outcomes, "import_path", refuse_bad)
    code, report = import_json(owner, tmp_path)

    assert code == 1
    assert [Path(file["path"]).name for file in report["files"]] == ["good.jsonl"]
    assert [Path(entry["path"]).name for entry in report["errors"]] == ["bad.jsonl"]


def test_a_folder_that_cannot_be_listed_is_said(
    owner: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)

    code, report = import_json(owner, tmp_path)

    assert code == 1
    assert report["errors"] == [
        {"path": str(tmp_path), "reason": "It cannot be read: Permission denied."}
    ]


def test_a_folder_is_imported_with_all_that_is_below_it(owner: User) -> None:
    code, report = import_json(owner, SAMPLES)

    assert code == 0
    assert sorted(file["path"] for file in report["files"]) == sorted(map(str, sample_files()))
    assert (report["skipped"], report["errors"], report["interrupted"]) == ([], [], False)
    with acting_as(owner.pk):
        messages = Message.objects.count()
    assert report["totals"]["total_unique_messages"] == messages
    assert report["totals"]["new_messages"] == messages


def test_the_report_names_every_figure(owner: User, tmp_path: Path) -> None:
    path = transcript(tmp_path, dialogue(3))

    code, report = import_json(owner, path)

    assert code == 0
    assert set(report) == {
        "files",
        "conversations",
        "totals",
        "skipped",
        "errors",
        "interrupted",
        "others",
    }
    (file,), (conversation,) = report["files"], report["conversations"]
    assert set(file) == {
        *COUNTS,
        "path",
        "source",
        "sha256",
        "already_imported",
        "conversations",
        "report",
    }
    assert set(conversation) == {
        *COUNTS,
        "id",
        "source",
        "native_key",
        "title",
        "watermark",
        "total_unique_messages",
    }
    assert set(report["totals"]) == {*COUNTS, "total_unique_messages"}
    assert (file["path"], file["conversations"]) == (str(path), [conversation["id"]])
    assert (conversation["native_key"], conversation["watermark"]) == (SESSION, 2)


def test_a_dry_run_says_the_same_and_keeps_nothing(owner: User) -> None:
    before, stored = counts_of_tables(), stored_files()

    code, foreseen = import_json(owner, SAMPLES, dry_run=True)

    assert (code, counts_of_tables(), stored_files()) == (0, before, stored)
    _, done = import_json(owner, SAMPLES)
    assert figures(foreseen) == figures(done)


def test_a_dry_run_of_what_is_imported_sees_it(owner: User, tmp_path: Path) -> None:
    path = transcript(tmp_path, dialogue(3))
    import_all(owner.pk, [path])
    before = counts_of_tables()

    _, report = import_json(owner, path, dry_run=True)

    assert report["files"][0]["already_imported"] is True
    assert report["totals"]["savings_pct"] == 100.0
    assert counts_of_tables() == before


def test_people_read_a_line_for_each_conversation(owner: User, tmp_path: Path) -> None:
    transcript(tmp_path / "a", dialogue(3))
    transcript(tmp_path / "b", [*dialogue(5), b"{torn"])
    transcript(tmp_path / "c", dialogue(3))

    code, out, error = run("import_conversations", tmp_path, owner=owner.username)
    _, dry, _ = run("import_conversations", tmp_path, owner=owner.username, dry_run=True)

    assert (code, error) == (0, "")
    assert out.splitlines() == [
        "Words 0: 11 messages, 5 new, 6 kept already, 0 revised; 5 in all",
        (
            "3 files (1 imported before), 11 messages: 5 new, 6 kept already, 0 revised,"
            " 1 unreadable records; saved 54.55 %."
        ),
    ]
    assert dry.splitlines()[-1] == "This was a dry run: nothing was kept."


def test_junk_in_a_folder_is_passed_over_and_said(owner: User, tmp_path: Path) -> None:
    good = transcript(tmp_path, dialogue(3))
    (tmp_path / "notes.txt").write_text("Dear diary")
    (tmp_path / "random.jsonl").write_bytes(os.urandom(500) + b"\x00")
    (tmp_path / "other.jsonl").write_bytes(b'{"role": "user", "content": "Hello"}\n')
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")

    code, report = import_json(owner, tmp_path)

    assert code == 1
    assert [file["path"] for file in report["files"]] == [str(good)]
    assert [Path(row["path"]).name for row in report["skipped"]] == [
        "notes.txt",
        "other.jsonl",
        "random.jsonl",
    ]
    assert [Path(row["path"]).name for row in report["errors"]] == ["gone.jsonl"]
    assert "cannot be read: No such file" in report["errors"][0]["reason"]


def test_a_named_file_that_is_no_export_is_an_error(owner: User, tmp_path: Path) -> None:
    diary, good = tmp_path / "diary.txt", transcript(tmp_path, dialogue(3))
    diary.write_text("Dear diary")

    code, report = import_json(owner, diary, good)

    assert code == 1
    assert [row["path"] for row in report["errors"]] == [str(diary)]
    assert [file["path"] for file in report["files"]] == [str(good)]


def test_a_path_named_twice_is_read_once(owner: User, tmp_path: Path) -> None:
    path = transcript(tmp_path, dialogue(3))
    (tmp_path / "link.jsonl").symlink_to(path)

    _, report = import_json(owner, path, tmp_path, path)

    assert [file["path"] for file in report["files"]] == [str(path)]


def test_a_tilde_is_the_home_folder(
    owner: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    transcript(tmp_path / ".claude" / "projects", dialogue(3))

    code, report = import_json(owner, Path("~/.claude/projects"))

    assert (code, report["totals"]["new_messages"]) == (0, 3)


@pytest.mark.parametrize("name", ["nowhere.jsonl", "näh"])
def test_a_path_that_does_not_exist_is_refused_before_anything(
    owner: User, tmp_path: Path, name: str
) -> None:
    good, before = transcript(tmp_path, dialogue(3)), counts_of_tables()

    with pytest.raises(CommandError, match="does not exist"):
        run("import_conversations", good, tmp_path / name, owner=owner.username)

    assert counts_of_tables() == before


def test_the_archive_is_the_first_operators_unless_another_owner_is_named(
    tmp_path: Path,
) -> None:
    path = transcript(tmp_path, dialogue(3))
    with pytest.raises(CommandError, match="no operator yet"):
        run("import_conversations", path)
    with pytest.raises(CommandError, match="nobody"):
        run("import_conversations", path, owner="nobody")
    operator, _, ada = make_operator(), make_operator(), make_user()

    run("import_conversations", path)
    run("import_conversations", path, owner=ada.username, reason=REASON)

    assert len(kept(operator.pk)) == len(kept(ada.pk)) == 3
    assert run("verify_archive")[1] == "1 of 1 files rebuilt exactly.\n"


@pytest.mark.parametrize("reason", ["", "ticket 47", "x" * 301])
def test_nobody_goes_to_a_strangers_archive_without_a_reason(
    owner: User, tmp_path: Path, reason: str
) -> None:
    make_user("ada")
    path, before, noted = transcript(tmp_path, dialogue(3)), counts_of_tables(), len(security())

    for command, arguments in (
        ("import_conversations", [path]),
        ("verify_archive", []),
        ("export_conversations", ["--output", tmp_path / "out"]),
    ):
        with pytest.raises(CommandError, match="--reason why you go to the things of ada"):
            run(command, *arguments, owner="ada", reason=reason)

    assert counts_of_tables() == before
    assert len(security()) == noted
    assert not (tmp_path / "out").exists()


def test_the_owner_sees_what_the_house_did_by_command_and_that_it_was_the_house(
    owner: User, tmp_path: Path
) -> None:
    ada = make_user("ada")
    path = transcript(tmp_path, dialogue(3))
    hers = {"owner": "ada", "reason": REASON}

    run("import_conversations", path, **hers)
    run("verify_archive", **hers)
    run("export_conversations", "--output", tmp_path / "out", **hers)

    client = client_of(ada)
    seen = [
        (row["event"], row["by"], row["details"])
        for row in client.get("/api/v1/activity/").json()["results"]
        if row["subject"].startswith("dedup_")
    ]
    assert {by for _, by, _ in seen} == {"house"}
    assert [(event, details) for event, _, details in seen if details] == [
        ("data-exported", {"action": "export", "form": "markdown", "conversations": 1}),
        ("operator-looked", {"action": "verify"}),
        ("operator-acted", {"action": "import"}),
    ]
    assert "import-completed" in {event for event, *_ in seen}
    kinds = ("operator_acted", "operator_looked", "data_exported")
    assert {row["reason"] for row in security(*kinds)} == {REASON}


def test_what_a_person_does_is_theirs(owner: User) -> None:
    client, file = client_of(owner), BytesIO(lines(dialogue(3)))
    file.name = "chat.jsonl"

    sent = client.post("/api/v1/imports/", {"file": file}, format="multipart")

    assert sent.status_code == 202, sent.content
    rows = client.get("/api/v1/activity/").json()["results"]
    assert {row["by"] for row in rows if row["subject"].startswith("dedup_")} == {"you"}


# --- Both, as processes -------------------------------------------------------------------------


def test_the_exit_code_tells_a_script_how_it_went(owner: User, tmp_path: Path) -> None:
    good, bad = transcript(tmp_path, dialogue(3)), tmp_path / "diary.txt"
    bad.write_text("Dear diary")
    mine = ["--owner", owner.username]

    fine = manage("import_conversations", str(good), *mine, "--json")
    failed = manage("import_conversations", str(bad), str(good), *mine)

    assert (fine.returncode, fine.stderr) == (0, "")
    assert json.loads(fine.stdout)["totals"]["new_messages"] == 3
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"{bad}: Nothing in the file looks like")
    assert "1 files (1 imported before)" in failed.stdout
    assert rebuilt_files(owner.pk) == {str(good): good.read_bytes()}


def test_verification_ends_with_one_if_anything_differs(owner: User, tmp_path: Path) -> None:
    path = transcript(tmp_path, dialogue(3))
    import_all(owner.pk, [path])
    mine = ["--owner", owner.username]

    fine = manage("verify_archive", *mine)
    next(file for file in stored_files() if _is_artifact_of(owner, file)).unlink()
    wrong = manage("verify_archive", *mine)

    assert (fine.returncode, fine.stdout) == (0, "1 of 1 files rebuilt exactly.\n")
    assert (wrong.returncode, wrong.stdout) == (1, "0 of 1 files rebuilt exactly.\n")
    assert wrong.stderr == f"{path}: the stored file is gone\n"


def test_an_interrupted_import_keeps_whole_files_only(owner: User, tmp_path: Path) -> None:
    make_tables_new()
    first = transcript(tmp_path / "1", dialogue(3))
    words = "flour and sugar " * 60
    many = [prompt(f"x{number}", f"{words}{number}") for number in range(20_000)]
    second = transcript(tmp_path / "2", many, OTHER_SESSION)
    process = start(
        MANAGE, "import_conversations", str(tmp_path), "--owner", owner.username, "--json"
    )

    _wait_for(lambda: _imports_of(owner) == 1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 130
    report = json.loads(out)
    assert (report["interrupted"], [file["path"] for file in report["files"]]) == (
        True,
        [str(first)],
    )
    assert error.strip() == "Interrupted: what is listed is kept, the rest was not begun."
    assert rebuilt_files(owner.pk) == {str(first): first.read_bytes()}
    assert import_json(owner, second)[1]["totals"]["new_messages"] == 20_000


def _is_artifact_of(owner: User, file: Path) -> bool:
    return str(file).endswith(latest_import(owner.pk).artifact.stored_as)


def _imports_of(owner: User) -> int:
    with acting_as(owner.pk):
        return Import.objects.count()


def _wait_for(condition: Any) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
