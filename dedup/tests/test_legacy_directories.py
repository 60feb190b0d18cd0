"""State directories of an earlier de-duplication as whole imports, however much of them is left."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup.errors import UnreadableFileError
from dedup.models import Conversation
from dedup.results import FileResult
from dedup.services import import_path
from dedup.tests.exports_text import json_lines, legacy_message, legacy_row, legacy_state
from dedup.tests.factories import counts_of_tables, latest_import, rebuilt_files, stored_files
from dedup.tests.test_any_order import assert_sound, bytes_of, reading

pytestmark = pytest.mark.django_db
# Rows that others count must be committed.
committed = pytest.mark.django_db(transaction=True)

LOG, WATERMARKS, HASHES = "conversation_log.jsonl", "watermarks.json", "content_hashes.json"
TALK = [
    legacy_message(0, "user", "I will look at the recipes."),
    legacy_message(1, "user", "Bash(grep -rn yeast)"),
    legacy_message(2, "assistant", "bread/rye.py:12"),
    legacy_message(3, "user", "I will look at the recipes."),
]


def state(folder: Path) -> Path:
    return legacy_state(folder / "state", {"bakery": TALK, "mill": TALK[:2]})


def imported(path: Path) -> tuple[FileResult, dict[str, Any]]:
    """The directory in an empty archive, with all that always holds."""
    owner = make_user()
    result = import_path(user_id=owner.pk, path=path)

    row = latest_import(owner.pk)
    assert row.source == "legacy_state"
    assert rebuilt_files(owner.pk) == {str(path): bytes_of(path)}
    assert_sound(owner.pk)
    report: dict[str, Any] = row.report
    return result, report


def test_a_whole_directory_is_imported_and_agrees_with_itself(tmp_path: Path) -> None:
    result, report = imported(state(tmp_path))

    assert (result.counts.new_messages, result.counts.unreadable_records) == (6, 0)
    assert result.counts.content_collisions == 1
    assert report == {
        "hashes": {"checked": 6, "verified": 6, "mismatched": []},
        "conversations": 2,
        "messages": 6,
        "watermarks": 2,
        "watermark_mismatches": [],
        "hash_file": {"missing_in_log": 0, "missing_in_file": 0},
        "unreadable_lines": 0,
        "missing_files": [],
        "damaged_files": [],
    }


@pytest.mark.parametrize(("name", "messages"), [(LOG, 0), (WATERMARKS, 6), (HASHES, 6)])
def test_a_file_that_is_missing_is_reported_and_the_rest_is_imported(
    tmp_path: Path, name: str, messages: int
) -> None:
    path = state(tmp_path)
    (path / name).unlink()

    result, report = imported(path)

    assert result.counts.new_messages == messages
    assert (report["missing_files"], report["damaged_files"]) == ([name], [])
    assert report["messages"] == messages


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda data: data[: len(data) * 2 // 3],
    "no JSON": lambda _: b"<html>",
    "other JSON": lambda _: b"[1, 2]",
    "other values": lambda _: b'{"bakery": {"a": 1}}',
    "no UTF-8": lambda data: b"\xff\xfe" + data,
    "NUL": lambda data: b"\x00" * len(data),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [WATERMARKS, HASHES])
def test_a_damaged_file_beside_the_log_is_reported_and_the_log_is_imported(
    tmp_path: Path, name: str, damage: str
) -> None:
    path = state(tmp_path)
    (path / name).write_bytes(DAMAGES[damage]((path / name).read_bytes()))

    result, report = imported(path)

    assert result.counts.new_messages == 6
    assert result.counts.unreadable_records == 1
    assert (report["missing_files"], report["damaged_files"]) == ([], [name])
    assert report["hashes"]["verified"] == 6


@pytest.mark.parametrize("name", [LOG, WATERMARKS, HASHES])
def test_an_empty_file_is_reported_or_says_nothing(tmp_path: Path, name: str) -> None:
    path = state(tmp_path)
    (path / name).write_bytes(b"")

    result, report = imported(path)

    assert result.counts.new_messages == (0 if name == LOG else 6)
    assert report["damaged_files"] == ([] if name == LOG else [name])
    assert report["messages"] == result.counts.new_messages


def test_damaged_lines_of_the_log_are_counted_and_the_others_imported(tmp_path: Path) -> None:
    path = state(tmp_path)
    first, *rest = (path / LOG).read_bytes().splitlines(keepends=True)
    bad = [b"{torn\n", b"\xff\xfe\n", b'{"conversation_id": 7, "message": {}}\n']
    (path / LOG).write_bytes(b"".join([first, *bad, *rest])[:-10])

    result, report = imported(path)

    assert (result.counts.new_messages, result.counts.unreadable_records) == (5, 4)
    assert (report["unreadable_lines"], report["damaged_files"]) == (4, [LOG])


def test_what_the_three_files_say_of_each_other_is_reported(tmp_path: Path) -> None:
    path = state(tmp_path)
    rows = [legacy_row("bakery", message) for message in TALK]
    rows[1]["content_hash"] = "0" * 64
    (path / LOG).write_bytes(json_lines(rows))
    (path / WATERMARKS).write_text(json.dumps({"bakery": 9, "gone": 3}))

    result, report = imported(path)

    assert result.counts.new_messages == 4
    assert report["hashes"] == {
        "checked": 4,
        "verified": 3,
        "mismatched": [{"conversation": "bakery", "line": 2}],
    }
    assert report["watermark_mismatches"] == [
        {"conversation": "bakery", "watermark": 9, "highest_index": 3},
        {"conversation": "gone", "watermark": 3, "highest_index": None},
    ]


@committed
def test_a_directory_that_grew_brings_what_is_added(tmp_path: Path) -> None:
    owner, path = make_user(), state(tmp_path)
    import_path(user_id=owner.pk, path=path)
    grown = [*TALK, legacy_message(4, "user", "Done."), legacy_message(6, "user", "Bye.")]
    legacy_state(path, {"bakery": grown, "oven": TALK[:1]})

    result = import_path(user_id=owner.pk, path=path)
    before = counts_of_tables()
    again = import_path(user_id=owner.pk, path=path)

    assert (result.counts.new_messages, result.counts.duplicates_filtered) == (3, 4)
    assert again.already_imported
    assert counts_of_tables() == before | {"dedup_import": before["dedup_import"] + 1}
    words = reading(owner.pk)
    texts = ["Bash grep -rn yeast" if n == 1 else row["content"] for n, row in enumerate(grown)]
    assert words["legacy_state", "bakery"] == texts
    assert len(words["legacy_state", "mill"]) == 2
    with acting_as(owner.pk):
        assert Conversation.objects.count() == 3
    assert_sound(owner.pk)


@committed
@pytest.mark.parametrize("left", [[], [LOG], [HASHES]], ids=str)
def test_a_folder_that_is_no_state_directory_is_refused(tmp_path: Path, left: list[str]) -> None:
    owner, path = make_user(), state(tmp_path)
    for name in {LOG, WATERMARKS, HASHES} - set(left):
        (path / name).unlink()
    before, files = counts_of_tables(), stored_files()

    with pytest.raises(UnreadableFileError, match="is not a file") as caught:
        import_path(user_id=owner.pk, path=path)

    assert caught.value.code == "unreadable_file"
    assert (counts_of_tables(), stored_files()) == (before, files)
