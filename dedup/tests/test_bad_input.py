"""Damaged, strange and moving files: a sentence or a raw record, and the rest goes on."""

import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from django.conf import settings

from accounts.models import User
from accounts.tests.factories import make_user
from common.errors import DomainError
from common.tenancy import acting_as
from dedup import intake
from dedup.errors import FileChangedError, UnknownFormatError, UnreadableFileError
from dedup.models import Artifact, Conversation, Import, Message, Observation, Revision
from dedup.services import import_path
from dedup.tests.factories import (
    SESSION,
    counts_of_tables,
    dialogue,
    latest_import,
    lines,
    prompt,
    reading_order,
    rebuilt_files,
    transcript,
)
from dedup.verification import verify_import

# What is refused leaves the committed rows as they were.
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


def assert_refused(owner: User, path: Path, error: type[DomainError], words: str) -> None:
    """The import ends with the error and its sentence, and nothing is kept."""
    with pytest.raises(error, match=words) as caught:
        import_path(user_id=owner.pk, path=path)

    assert caught.value.detail.endswith(".")
    with acting_as(owner.pk):
        for model in (Artifact, Import, Conversation, Message, Revision, Observation):
            assert not model._default_manager.exists()


def meddle(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Let the act happen once a file has been opened, before its bytes are read."""
    make_copy = tempfile.TemporaryFile

    def copy() -> IO[bytes]:
        act()
        return make_copy()

    monkeypatch.setattr("dedup.artifacts.tempfile.TemporaryFile", copy)


# --- Records that are damaged -------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        b"{torn\n",
        b"\x00\x00\x00\n",
        b'{"type":"user","uuid":"\x00","message":{"content":"x"}}\n',
        b'{"type":"user","uuid":"b1","message":{"content":"\xff\xfe"}}\n',
        b'{"type":"user","uuid":"b1","message":null}\n',
        b'{"type":["user"],"uuid":"b1"}\n',
        b'{"type":"user","uuid":"b1","message":{"content":' + b"[" * 5000 + b"\n",
        b'{"type":"user","uuid":"b1","message":{"content":[{"a":'
        + b"[" * 300
        + b"]" * 300
        + b"}]}}\n",
        b'{"type":"user","uuid":"b1","n":' + b"9" * 5000 + b"}\n",
        bytes(byte for byte in range(256) if byte != ord("\n")) * 8 + b"\n",
    ],
    ids=lambda bad: ascii(bad[:30]),
)
def test_a_bad_record_is_kept_raw_and_the_rest_is_read(tmp_path: Path, bad: bytes) -> None:
    owner = make_user()
    first, *rest = dialogue(4)
    path = transcript(tmp_path, [first, bad, *rest])

    result = import_path(user_id=owner.pk, path=path)

    expected_unreadable = 0 if b'["user"]' in bad else bad.count(b"\n")
    assert result.counts.new_messages == 4
    assert result.counts.unreadable_records == expected_unreadable
    assert rebuilt_files(owner.pk) == {str(path): path.read_bytes()}
    assert verify_import(owner.pk, latest_import(owner.pk)) == []


def test_numbers_that_json_has_and_the_database_has_not_are_read(tmp_path: Path) -> None:
    owner = make_user()
    numbers = b"[NaN, Infinity, -Infinity, 1e400, 1e23, -1e308, 5e-324, -0.0, 1.0, 123456789012]"
    row = b'{"type":"user","uuid":"m0","sessionId":"s","message":{"content":[{"n":%b}]}}\n'
    path = transcript(tmp_path, [row % numbers])

    import_path(user_id=owner.pk, path=path)

    with acting_as(owner.pk):
        ((block,),) = Revision.objects.values_list("content", flat=True)
    assert block["n"][:4] == ["nan", "inf", "-inf", "inf"]
    assert verify_import(owner.pk, latest_import(owner.pk)) == []


def test_lone_surrogates_are_read_wherever_they_stand(tmp_path: Path) -> None:
    owner = make_user()
    raw = json.dumps(
        prompt("m0", [{"type": "t\ud83e", "\udc00": ["\x00\ud83e"]}])
        | {"cwd": "/\ud83e\x00", "version": "\udfff", "gitBranch": "\x00"}
    )
    path = transcript(tmp_path, [raw.encode() + b"\n"])

    import_path(user_id=owner.pk, path=path)

    with acting_as(owner.pk):
        revision, conversation = Revision.objects.get(), Conversation.objects.get()
    assert revision.content == [{"type": "t\ufffd", "\ufffd": ["\u2400\ufffd"]}]
    assert revision.metadata == {
        "cwd": "/\ufffd\u2400",
        "version": "\ufffd",
        "git_branch": "\u2400",
    }
    assert conversation.project == "/?"
    assert verify_import(owner.pk, latest_import(owner.pk)) == []


@pytest.mark.parametrize("size", [1_200_000, 10_000_000])
def test_a_very_long_record_is_read(tmp_path: Path, size: int) -> None:
    owner = make_user()
    words = "baking powder " * (size // 14)
    rows = [prompt("m0", words), *dialogue(3)[1:]]
    path = transcript(tmp_path, rows)

    result = import_path(user_id=owner.pk, path=path)

    assert result.counts.new_messages == 3
    assert verify_import(owner.pk, latest_import(owner.pk)) == []
    with acting_as(owner.pk):
        revision = Revision.objects.get(message__native_key="m0")
    assert revision.content == [{"type": "text", "text": words}]
    assert bytes(revision.raw) == lines(rows[:1])


def test_a_text_full_of_unclosed_elements_takes_no_time(tmp_path: Path) -> None:
    owner = make_user()

    result = import_path(
        user_id=owner.pk, path=transcript(tmp_path, [prompt("m0", "<p>" * 60_000)])
    )

    assert result.counts.processing_time_ms < 5000


# --- Files that are damaged ---------------------------------------------------------------------


def test_a_torn_last_line_is_completed_by_the_next_export(tmp_path: Path) -> None:
    owner = make_user()
    whole = lines(dialogue(4))
    torn = transcript(tmp_path / "a", [whole[:-40]])
    first = import_path(user_id=owner.pk, path=torn)

    second = import_path(user_id=owner.pk, path=transcript(tmp_path / "b", [whole]))

    assert (first.counts.new_messages, first.counts.unreadable_records) == (3, 1)
    assert (second.counts.new_messages, second.counts.unreadable_records) == (1, 0)
    assert reading_order(owner.pk) == ["m0", "m1", "m2", "m3"]
    assert rebuilt_files(owner.pk)[str(torn)] == whole[:-40]


def test_a_last_line_without_its_end_is_the_same_message(tmp_path: Path) -> None:
    owner = make_user()
    whole = lines(dialogue(2))
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", [whole[:-1]]))

    result = import_path(user_id=owner.pk, path=transcript(tmp_path / "b", [whole]))

    assert (result.counts.new_messages, result.counts.duplicates_filtered) == (0, 2)
    assert sorted(rebuilt_files(owner.pk).values()) == [whole[:-1], whole]


def test_an_empty_transcript_is_imported_as_one(tmp_path: Path) -> None:
    owner = make_user()

    result = import_path(user_id=owner.pk, path=transcript(tmp_path, []))

    assert (result.source, result.counts.messages_in_export) == ("claude_code", 0)
    assert verify_import(owner.pk, latest_import(owner.pk)) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is binary"),
        (lines(dialogue(3)).decode().encode("utf-16"), "is binary"),
        (b"Dear diary, today I baked.\n" * 100, "Nothing in the file looks like"),
        (b'{"role": "user", "content": "Hello"}\n', "Nothing in the file looks like"),
    ],
)
def test_what_is_no_transcript_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "diary.txt"
    path.write_bytes(data)

    assert_refused(make_user(), path, UnknownFormatError, words)


# --- Paths that are no files --------------------------------------------------------------------


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "session.jsonl"
    link.symlink_to(tmp_path / "gone.jsonl")

    for path in (link, tmp_path / "never.jsonl", tmp_path / ("x" * 300)):
        assert_refused(make_user(), path, UnreadableFileError, "cannot be read")


def test_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder.jsonl", tmp_path / "pipe.jsonl"
    folder.mkdir()
    os.mkfifo(pipe)

    for path in (folder, pipe):
        assert_refused(make_user(), path, UnreadableFileError, "is not a file")


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = transcript(tmp_path, dialogue(2))

    def forbid(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbid)

    assert_refused(make_user(), path, UnreadableFileError, "cannot be read: Permission denied")


def test_a_full_disk_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dedup.services.keep_bytes", fill)

    with pytest.raises(OSError, match="No space left"):
        import_path(user_id=make_user().pk, path=transcript(tmp_path, dialogue(2)))


def test_names_that_are_not_unicode_or_too_long_are_kept_as_well_as_possible(
    tmp_path: Path,
) -> None:
    owner = make_user()
    folder = tmp_path.joinpath(*["long" * 50] * 6)
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/gef\xfcllt.jsonl"))
    odd.parent.mkdir(parents=True)
    odd.write_bytes(lines(dialogue(2)))

    result = import_path(user_id=owner.pk, path=odd)

    assert result.path == str(odd).replace("\udcfc", "?")[-1000:]
    assert result.path.endswith("/gef?llt.jsonl")
    assert verify_import(owner.pk, latest_import(owner.pk)) == []


# --- Files that change while they are read ------------------------------------------------------


def test_a_file_that_shrinks_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = transcript(tmp_path, dialogue(4))
    meddle(monkeypatch, lambda: os.truncate(path, 100))

    assert_refused(make_user(), path, FileChangedError, "changed while it was read")


def test_a_file_that_is_rewritten_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = transcript(tmp_path, dialogue(4))
    os.utime(path, (1, 1))
    meddle(monkeypatch, lambda: path.write_bytes(path.read_bytes().replace(b"Words", b"WORDS")))

    assert_refused(make_user(), path, FileChangedError, "changed while it was read")


def test_a_file_that_grows_meanwhile_is_read_as_far_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = make_user()
    path = transcript(tmp_path, dialogue(4))
    before, more = path.read_bytes(), lines([prompt("m4", "And on", "m3", 4)])

    def grow() -> None:
        with path.open("ab") as file:
            file.write(more)

    with monkeypatch.context() as meanwhile:
        meddle(meanwhile, grow)
        first = import_path(user_id=owner.pk, path=path)
    second = import_path(user_id=owner.pk, path=path)

    assert (first.counts.new_messages, second.counts.new_messages) == (4, 1)
    with acting_as(owner.pk):
        sizes = list(Artifact.objects.order_by("size").values_list("size", flat=True))
    assert sizes == [len(before), len(before) + len(more)]


# --- Nothing half-written -----------------------------------------------------------------------


@pytest.mark.django_db(transaction=True, databases=["default", "operator"])
@pytest.mark.parametrize("step", ["stage", "merge_staged", "write_log"])
def test_an_import_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owner = make_user()
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", dialogue(2)))
    before, path = counts_of_tables(), transcript(tmp_path / "b", dialogue(6))
    real = getattr(intake, step)

    def fail(*values: Any) -> None:
        real(*values)
        raise RuntimeError("lightning")

    with monkeypatch.context() as storm:
        storm.setattr(intake, step, fail)
        with pytest.raises(RuntimeError, match="lightning"):
            import_path(user_id=owner.pk, path=path)

    assert counts_of_tables() == before
    assert import_path(user_id=owner.pk, path=path).counts.new_messages == 4


def test_stored_bytes_are_for_their_owner_alone(tmp_path: Path) -> None:
    owner = make_user()
    import_path(user_id=owner.pk, path=transcript(tmp_path, dialogue(2)))
    artifact = latest_import(owner.pk).artifact

    mode = Path(settings.MEDIA_ROOT, artifact.stored_as).stat().st_mode

    assert stat.S_IMODE(mode) == 0o600
    assert SESSION not in artifact.stored_as
