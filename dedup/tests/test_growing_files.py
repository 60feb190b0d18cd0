"""A file that grows under one name brings its end, and the archive is that of the whole file."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings

from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup import beginnings, intake
from dedup.choices import ImportStatus
from dedup.importing import run_import
from dedup.models import Import, Message, Observation, Record, Revision
from dedup.results import FileResult
from dedup.selectors import latest_revisions
from dedup.services import import_path, keep_upload, retry_imports, start_import
from dedup.tests.exports_text import codex_rollout, json_lines, legacy_message, legacy_row, spoken
from dedup.tests.factories import (
    OTHER_SESSION,
    Row,
    dialogue,
    kept,
    latest_import,
    lines,
    prompt,
    reading_order,
    reply,
)
from dedup.tests.test_any_order import assert_sound, reading
from dedup.verification import imports_to_verify, rebuilt

pytestmark = pytest.mark.django_db

STEPS = 5


@dataclass(frozen=True)
class Growing:
    """A file's lines, and how many of them there are at first and after each step."""

    name: str
    lines: list[bytes]
    first: int
    step: int

    def version(self, number: int) -> bytes:
        return b"".join(self.lines[: self.first + number * self.step])


def growing_transcript() -> Growing:
    """With a bad line and one that is no message in the beginning, and a branch in the end."""
    note = b'{"type":"summary","summary":"Tarts","leafUuid":"m1"}\n'
    rows: list[Row | bytes] = [*dialogue(4), b"{torn\n", note]
    rows += [prompt(f"n{number}", f"More {number}", "m1", 100 + number) for number in range(10)]
    return Growing("talk.jsonl", lines(rows).splitlines(keepends=True), 6, 2)


def growing_codex() -> Growing:
    texts = [spoken(("user", "assistant")[n % 2], f"Words {n // 3}") for n in range(9)]
    return Growing("rollout.jsonl", codex_rollout(texts).splitlines(keepends=True), 6, 4)


def growing_legacy() -> Growing:
    """Two conversations in turn, one of them without indexes, each saying the same again."""
    rows = []
    for number in range(14):
        message = legacy_message(number // 2, "user", f"Words {number // 5}")
        if number % 2:
            del message["index"]
        rows.append(legacy_row(("tarts", "bread")[number % 2], message, number))
    return Growing("log-of-november.jsonl", json_lines(rows).splitlines(keepends=True), 4, 2)


GROWING: dict[str, Callable[[], Growing]] = {
    "transcript": growing_transcript,
    "codex": growing_codex,
    "legacy": growing_legacy,
}


def put(folder: Path, data: bytes, name: str = "talk.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name


def import_bytes(user_id: UUID, folder: Path, data: bytes, name: str = "talk.jsonl") -> FileResult:
    result = import_path(user_id=user_id, path=put(folder, data, name))
    found = result.counts
    stored = found.new_messages + found.duplicates_filtered + found.revisions
    assert stored == found.messages_in_export
    return result


def versions_kept(user_id: UUID) -> list[bytes]:
    """Every imported file from the database alone, in the order in which they came."""
    rows = imports_to_verify(user_id)
    with acting_as(user_id):
        return [b"".join(record.raw for record in rebuilt(row)) for row in rows]


def observations_of(row: Import) -> int:
    with acting_as(row.user_id):
        return Observation.objects.filter(import_row=row).count()


def archive(user_id: UUID) -> Any:
    """What a reader finds, however it came there."""
    with acting_as(user_id):
        indexes = Message.objects.values_list("native_key", "native_index", "parent_key")
        return kept(user_id), reading(user_id), set(indexes)


def archive_of_whole(folder: Path, data: bytes, name: str = "talk.jsonl") -> Any:
    """The archive of somebody who imports only the last version."""
    stranger = make_user()
    import_bytes(stranger.pk, folder, data, name)
    return archive(stranger.pk)


# The messages of a log are read in the order of their indexes: it is read whole.
@pytest.mark.parametrize("kind", ["transcript", "codex"])
def test_a_file_that_grows_brings_its_tails(tmp_path: Path, kind: str) -> None:
    owner, growing = make_user(), GROWING[kind]()
    versions = [growing.version(number) for number in range(STEPS + 1)]
    assert len(set(versions)) == STEPS + 1

    for number, data in enumerate(versions):
        result = import_bytes(owner.pk, tmp_path, data, growing.name)

        row = latest_import(owner.pk)
        whole = archive_of_whole(tmp_path, data, growing.name)
        assert archive(owner.pk) == whole
        assert result.counts.messages_in_export == sum(map(len, whole[1].values()))
        assert observations_of(row) == (growing.step if number else growing.first)
        assert (row.records, row.unreadable_records) == (
            len(data.splitlines()),
            data.count(b"{torn"),
        )
        assert (row.extends_id is None) == (number == 0)
    assert versions_kept(owner.pk) == versions
    assert_sound(owner.pk)


@pytest.mark.parametrize("kind", GROWING)
def test_versions_that_come_in_any_order_are_the_last_one(tmp_path: Path, kind: str) -> None:
    growing = GROWING[kind]()
    versions = [growing.version(number) for number in range(STEPS + 1)]
    whole = archive_of_whole(tmp_path, versions[-1], growing.name)

    for seed in range(3):
        owner, order = make_user(), list(versions)
        random.Random(seed).shuffle(order)
        for data in [*order, *versions]:
            import_bytes(owner.pk, tmp_path, data, growing.name)

        assert archive(owner.pk) == whole
        assert versions_kept(owner.pk) == order
        assert_sound(owner.pk)


@pytest.mark.parametrize("kind", GROWING)
def test_another_copy_that_comes_between_changes_nothing(tmp_path: Path, kind: str) -> None:
    owner, growing = make_user(), GROWING[kind]()
    order = [(0, "here"), (3, "there"), (1, "here"), (2, "here"), (4, "there"), (5, "here")]

    for number, folder in order:
        data = growing.version(number)
        import_bytes(owner.pk, tmp_path / folder, data, growing.name)

    assert archive(owner.pk) == archive_of_whole(tmp_path, growing.version(5), growing.name)
    assert versions_kept(owner.pk) == [growing.version(number) for number, _ in order]
    assert_sound(owner.pk)


def test_a_branch_in_the_tail_stands_behind_what_the_file_says_before_it(tmp_path: Path) -> None:
    owner, rows = make_user(), dialogue(6)
    branch = [prompt("b0", "Or pears?", "m1", 60), reply("b1", "Yes.", "b0", 61)]
    import_bytes(owner.pk, tmp_path, lines(rows))

    import_bytes(owner.pk, tmp_path, lines([*rows, *branch]))

    assert reading_order(owner.pk) == [*(f"m{number}" for number in range(6)), "b0", "b1"]
    with acting_as(owner.pk):
        assert Message.objects.get(native_key="b0").parent_key == "m1"
    assert_sound(owner.pk)


def test_a_session_that_is_written_again_in_the_tail_is_kept_once(tmp_path: Path) -> None:
    owner, rows = make_user(), dialogue(5)
    copies = [
        row
        | {"uuid": f"new-{row['uuid']}"}
        | {"parentUuid": row["parentUuid"] and f"new-{row['parentUuid']}"}
        for row in rows
    ]
    whole = lines([*rows, *copies, prompt("m5", "And pears?", "new-m4", 5)])
    import_bytes(owner.pk, tmp_path, lines(rows))

    result = import_bytes(owner.pk, tmp_path, whole)

    assert result.counts.new_messages == 1
    assert archive(owner.pk) == archive_of_whole(tmp_path, whole)
    assert_sound(owner.pk)


def test_a_row_that_the_tail_repeats_moves_nothing(tmp_path: Path) -> None:
    owner, rows = make_user(), dialogue(6)
    whole = lines([*rows, rows[1], prompt("m6", "And pears?", "m5", 6)])
    import_bytes(owner.pk, tmp_path, lines(rows))

    import_bytes(owner.pk, tmp_path, whole)

    assert archive(owner.pk) == archive_of_whole(tmp_path, whole)
    assert_sound(owner.pk)


def test_an_index_that_the_tail_of_a_log_fills_in_stands_in_its_place(tmp_path: Path) -> None:
    owner = make_user()
    rows = [
        legacy_row("tarts", legacy_message(index, "user", f"Words {index}"), index)
        for index in (0, 1, 5, 3)
    ]
    whole = json_lines(rows)
    import_bytes(owner.pk, tmp_path, json_lines(rows[:3]), "log.jsonl")

    import_bytes(owner.pk, tmp_path, whole, "log.jsonl")

    assert archive(owner.pk) == archive_of_whole(tmp_path, whole, "log.jsonl")
    assert_sound(owner.pk)


def test_two_ends_of_one_beginning_are_both_kept(tmp_path: Path) -> None:
    owner, rows = make_user(), dialogue(4)
    ends = [lines([*rows, prompt(key, key, "m3", 10 + n)]) for n, key in enumerate(["one", "two"])]
    for data in (lines(rows), *ends):
        import_bytes(owner.pk, tmp_path, data)

    whole = make_user()
    for number, data in enumerate(ends):
        import_bytes(whole.pk, tmp_path / str(number), data)
    assert archive(owner.pk) == archive(whole.pk)
    assert versions_kept(owner.pk) == [lines(rows), *ends]
    assert_sound(owner.pk)


# --- Files of one name that do not grow ----------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 20, 0], ids=["no line end", "torn", "whole"])
def test_a_last_line_that_was_torn_is_read_again_with_the_whole(tmp_path: Path, cut: int) -> None:
    owner, data = make_user(), lines(dialogue(5))
    first = lines(dialogue(3))
    first = first[: len(first) - cut]
    import_bytes(owner.pk, tmp_path, first)

    result = import_bytes(owner.pk, tmp_path, data)

    row = latest_import(owner.pk)
    assert (row.extends_id is None, observations_of(row)) == ((True, 5) if cut else (False, 2))
    assert result.counts.new_messages == (3 if cut == 20 else 2)
    assert result.counts.unreadable_records == 0
    assert archive(owner.pk) == archive_of_whole(tmp_path, data)
    assert versions_kept(owner.pk) == [first, data]
    assert_sound(owner.pk)


def test_a_file_that_is_rewritten_in_the_same_length_is_read_whole(tmp_path: Path) -> None:
    owner = make_user()
    first, second = (lines([prompt("m0", word), prompt("m1", "Ta")]) for word in ("Rye?", "Pie?"))
    assert len(first) == len(second)
    import_bytes(owner.pk, tmp_path, first)

    result = import_bytes(owner.pk, tmp_path, second)

    assert (result.counts.revisions, result.counts.duplicates_filtered) == (1, 1)
    assert latest_import(owner.pk).extends_id is None
    assert versions_kept(owner.pk) == [first, second]
    assert_sound(owner.pk)


def test_a_file_that_shrinks_takes_nothing_away_and_grows_from_there(tmp_path: Path) -> None:
    owner, versions = make_user(), [lines(dialogue(length)) for length in (6, 3, 5, 8)]

    for data in versions:
        import_bytes(owner.pk, tmp_path, data)

    with acting_as(owner.pk):
        rows = list(Import.objects.order_by("pk"))
    assert [row.extends_id for row in rows] == [None, None, rows[1].pk, rows[0].pk]
    assert archive(owner.pk) == archive_of_whole(tmp_path, versions[-1])
    assert versions_kept(owner.pk) == versions
    assert_sound(owner.pk)


def test_another_session_in_a_file_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    owner = make_user()
    other = [
        prompt(f"x{number}", f"Salt {number}", second=100 + number, sessionId=OTHER_SESSION)
        for number in range(4)
    ]
    files = [lines(dialogue(2)), lines(other), lines(dialogue(5)), codex_rollout([])]

    for data in files:
        import_bytes(owner.pk, tmp_path, data)

    assert reading_order(owner.pk) == [f"m{number}" for number in range(5)]
    assert reading_order(owner.pk, OTHER_SESSION) == [f"x{number}" for number in range(4)]
    assert versions_kept(owner.pk) == files
    assert_sound(owner.pk)


def test_a_changed_line_in_the_beginning_is_a_revision(tmp_path: Path) -> None:
    owner, rows = make_user(), dialogue(6)
    changed = [rows[0], rows[1] | {"message": {"role": "assistant", "content": "No"}}, *rows[2:]]
    import_bytes(owner.pk, tmp_path, lines(rows[:4]))

    result = import_bytes(owner.pk, tmp_path, lines(changed))

    assert (result.counts.new_messages, result.counts.revisions) == (2, 1)
    assert latest_import(owner.pk).extends_id is None
    assert_sound(owner.pk)


def test_more_versions_than_are_compared_are_read_whole(tmp_path: Path) -> None:
    owner, rows = make_user(), dialogue(30)
    rewritten = [lines(dialogue(10 + n, f"x{n}-")) for n in range(3)]
    files = [lines(rows[:4]), *rewritten, lines(rows)]

    for data in files:
        import_bytes(owner.pk, tmp_path, data)

    assert latest_import(owner.pk).extends_id is None
    assert versions_kept(owner.pk) == files
    assert_sound(owner.pk)


def test_a_beginning_that_came_first_under_another_name_is_enough(tmp_path: Path) -> None:
    owner, data = make_user(), lines(dialogue(6))
    import_bytes(owner.pk, tmp_path / "there", lines(dialogue(4)))
    import_bytes(owner.pk, tmp_path / "here", lines(dialogue(4)))

    import_bytes(owner.pk, tmp_path / "here", data)

    assert archive(owner.pk) == archive_of_whole(tmp_path, data)
    assert versions_kept(owner.pk) == [lines(dialogue(4)), data]
    assert_sound(owner.pk)


# --- What counts of several contents -------------------------------------------------------------


def said(user_id: UUID, key: str) -> str:
    with acting_as(user_id):
        message = Message.objects.get(native_key=key)
        return latest_revisions([message.pk])[message.pk].text


def test_what_a_growing_file_says_counts_after_an_older_backup(tmp_path: Path) -> None:
    owner = make_user()
    rows = [prompt("m0", "Bread?"), reply("m1", "Yes, rye.", "m0", 1)]
    more = [prompt(f"m{n}", f"More {n}", f"m{n - 1}", n) for n in range(2, 6)]
    backup = [prompt("m0", "Bread?"), reply("m1", "Ye", "m0", 1), more[0], more[1]]
    import_bytes(owner.pk, tmp_path, lines(rows))

    import_bytes(owner.pk, tmp_path / "backup", lines(backup))
    assert said(owner.pk, "m1") == "Ye"
    for end in (1, 3, 4):
        import_bytes(owner.pk, tmp_path, lines([*rows, *more[:end]]))

    assert said(owner.pk, "m1") == "Yes, rye."
    assert_sound(owner.pk)


def test_an_older_backup_after_a_growing_file_brings_nothing_back(tmp_path: Path) -> None:
    owner = make_user()
    rows = [prompt("m0", "Bread?"), reply("m1", "Yes, rye.", "m0", 1)]
    more = [prompt(f"m{n}", f"More {n}", f"m{n - 1}", n) for n in range(2, 6)]
    for end in range(5):
        import_bytes(owner.pk, tmp_path, lines([*rows, *more[:end]]))
    backup = [prompt("m0", "Bread?"), reply("m1", "Ye", "m0", 1), *more[:3]]

    import_bytes(owner.pk, tmp_path / "backup", lines(backup))

    assert said(owner.pk, "m1") == "Yes, rye."
    with acting_as(owner.pk):
        assert Revision.objects.filter(message__native_key="m1").count() == 2


# --- Imports that fail ---------------------------------------------------------------------------


def test_a_version_whose_import_failed_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, versions = make_user(), [lines(dialogue(length)) for length in (3, 5, 8)]
    import_bytes(owner.pk, tmp_path, versions[0])

    def fail(*_: Any) -> None:
        raise RuntimeError("lightning")

    with monkeypatch.context() as storm:
        storm.setattr(intake, "extend_reach", fail)
        with pytest.raises(RuntimeError, match="lightning"):
            import_bytes(owner.pk, tmp_path, versions[1])
    import_bytes(owner.pk, tmp_path, versions[2])

    with acting_as(owner.pk):
        first, last = Import.objects.order_by("pk")
    assert last.extends_id == first.pk
    assert archive(owner.pk) == archive_of_whole(tmp_path, versions[2])
    assert versions_kept(owner.pk) == [versions[0], versions[2]]
    assert_sound(owner.pk)


def test_an_upload_that_failed_between_is_read_when_its_bytes_are_back(tmp_path: Path) -> None:
    owner, rows = make_user(), []
    versions = [lines(dialogue(length)) for length in (3, 5, 8)]
    for number, data in enumerate(versions):
        with put(tmp_path, data).open("rb") as upload:
            taken = keep_upload(user_id=owner.pk, upload=upload, name="talk.jsonl")
        rows.append(start_import(user_id=owner.pk, kept=taken))
        stored = tmp_path / "hidden"
        where = Path(settings.MEDIA_ROOT, taken.stored_as)
        if number == 1:
            where.rename(stored)
        run_import(rows[-1].pk, owner.pk)
        if number == 1:
            stored.rename(where)
    with acting_as(owner.pk):
        states = [Import.objects.get(pk=row.pk) for row in rows]
    assert [row.status for row in states] == [
        ImportStatus.COMPLETED,
        ImportStatus.FAILED,
        ImportStatus.COMPLETED,
    ]
    assert [row.extends_id for row in states] == [None, None, states[0].pk]

    with acting_as(owner.pk):
        assert retry_imports(import_ids=[rows[1].pk]) == 1
    run_import(rows[1].pk, owner.pk)

    with acting_as(owner.pk):
        again = Import.objects.get(pk=rows[1].pk)
    assert (again.status, again.extends_id) == (ImportStatus.COMPLETED, states[0].pk)
    assert (again.new_messages, again.duplicates_filtered) == (0, 5)
    assert archive(owner.pk) == archive_of_whole(tmp_path, versions[2])
    assert sorted(versions_kept(owner.pk), key=len) == versions
    assert_sound(owner.pk)


def test_what_a_file_grows_by_is_all_that_is_stored(tmp_path: Path) -> None:
    owner = make_user()
    rows: list[Row | bytes] = [
        *dialogue(50),
        b'{"type":"summary","summary":"Tarts","leafUuid":"m1"}\n',
    ]
    import_bytes(owner.pk, tmp_path, lines(rows))
    with acting_as(owner.pk):
        before = (Revision.objects.count(), Record.objects.count(), Observation.objects.count())

    import_bytes(owner.pk, tmp_path, lines([*rows, prompt("m50", "Ta", "m49", 50)]))

    with acting_as(owner.pk):
        after = (Revision.objects.count(), Record.objects.count(), Observation.objects.count())
    assert after == (before[0] + 1, before[1], before[2] + 1)


def test_a_file_that_grew_often_is_read_whole_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginnings, "LONGEST_CHAIN", 3)
    owner, rows = make_user(), dialogue(8)

    for length in range(1, 9):
        import_bytes(owner.pk, tmp_path, lines(rows[:length]))

    with acting_as(owner.pk):
        imports = Import.objects.order_by("pk")
        assert [row.extends_id is None for row in imports] == [True, False, False] * 2 + [
            True,
            False,
        ]
        assert [row.observations.count() for row in imports] == [1, 1, 1, 4, 1, 1, 7, 1]
    assert versions_kept(owner.pk) == [lines(rows[:length]) for length in range(1, 9)]
    assert_sound(owner.pk)
