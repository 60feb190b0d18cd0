"""The check names what is not as it was imported, and nothing else."""

import json
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.core.management import call_command

from accounts.models import User
from accounts.tests.factories import make_operator, make_user
from common.tenancy import acting_as
from common.tests.connections import connect_as_superuser
from dedup.models import Import, Revision
from dedup.services import import_path
from dedup.tests.factories import (
    dialogue,
    import_all,
    latest_import,
    lines,
    prompt,
    sample_files,
    transcript,
)

REASON = "ticket 4711 of the person"

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


@pytest.fixture
def owner() -> User:
    return make_operator()


def verify(owner: User) -> tuple[int, dict[str, Any]]:
    """The exit code of the command and its report."""
    out, code = StringIO(), 0
    try:
        call_command("verify_archive", owner=owner.username, reason=REASON, json=True, stdout=out)
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(out.getvalue())


def tamper(statement: str, *values: object) -> None:
    """Change what nobody may change, as a superuser who switches the guards off."""
    with connect_as_superuser() as connection:
        connection.execute("SET session_replication_role = replica")
        changed = connection.execute(statement, values)
        assert changed.rowcount == 1


def revision_of(owner: User, key: str) -> UUID:
    with acting_as(owner.pk):
        revision = Revision.objects.get(message__native_key=key)
    return UUID(str(revision.pk))


def reasons(report: dict[str, Any]) -> set[str]:
    return {mismatch["reason"] for mismatch in report["mismatched"]}


def test_the_sample_archive_verifies(owner: User) -> None:
    import_all(owner.pk, sample_files())

    code, report = verify(owner)

    assert report == {
        "files": len(sample_files()),
        "rebuilt": len(sample_files()),
        "mismatched": [],
        "integrity": {"valid": True, "problems": []},
    }
    assert code == 0


def test_an_empty_archive_verifies(owner: User) -> None:
    assert verify(owner) == (
        0,
        {
            "files": 0,
            "rebuilt": 0,
            "mismatched": [],
            "integrity": {"valid": True, "problems": []},
        },
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("content = '[]'", "the stored content is not that of the record"),
        ("text = text || '!'", "the stored content is not that of the record"),
        ("metadata = '{}'", "the stored content is not that of the record"),
        ("role = 'system'", "the stored content is not that of the record"),
        ("content_hash = sha256('x')", "the content hash is not that of the record"),
        (
            "raw = convert_to(replace(convert_from(raw, 'UTF8'), 'Words', 'Lies'), 'UTF8')",
            "the bytes are not those of the record",
        ),
        ("raw = raw || ' '::bytea", "the bytes are not those of the record"),
        ("raw = '{'", "the bytes are not those of the record"),
    ],
)
def test_a_changed_revision_is_named(owner: User, tmp_path: Path, change: str, reason: str) -> None:
    rows = [row | {"version": "2.1.9"} for row in dialogue(5)]
    path = transcript(tmp_path / "a", rows)
    import_path(user_id=owner.pk, path=path)
    import_path(user_id=owner.pk, path=transcript(tmp_path / "b", [prompt("x0", "Pie")]))
    changed = revision_of(owner, "m2")

    tamper(f"UPDATE dedup_revision SET {change} WHERE id = %s", changed)
    code, report = verify(owner)

    assert (code, report["files"], report["rebuilt"]) == (1, 2, 1)
    assert reason in reasons(report)
    named = [row for row in report["mismatched"] if row["revision"]]
    assert {(row["revision"], row["ordinal"], row["file"]) for row in named} == {
        (str(changed), 2, str(path))
    }


def test_a_changed_record_is_named_by_its_place(owner: User, tmp_path: Path) -> None:
    path = transcript(tmp_path, [*dialogue(3), b"{torn\n", b"\n"])
    import_path(user_id=owner.pk, path=path)

    tamper("UPDATE dedup_record SET raw = '{worn\n' WHERE raw = '{torn\n'")
    code, report = verify(owner)

    assert (code, report["rebuilt"]) == (1, 0)
    assert (report["mismatched"][0]["ordinal"], report["mismatched"][0]["revision"]) == (3, None)


@pytest.mark.parametrize("ordinal", [0, 2, 4])
def test_a_deleted_observation_is_missed(owner: User, tmp_path: Path, ordinal: int) -> None:
    import_path(user_id=owner.pk, path=transcript(tmp_path, dialogue(5)))

    tamper("DELETE FROM dedup_observation WHERE ordinal = %s", ordinal)
    code, report = verify(owner)

    assert code == 1
    (mismatch,) = report["mismatched"]
    assert mismatch["ordinal"] == ordinal
    assert "missing" in mismatch["reason"]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM dedup_placement WHERE position = 1", "counts 5 messages, not 4"),
        ("UPDATE dedup_placement SET position = 7 WHERE position = 4", "gaps in its positions"),
        ("UPDATE dedup_watermark SET highest_index = 9", "has the watermark 9, not 4"),
        ("DELETE FROM dedup_message WHERE message_index = 2", "has gaps"),
        ("DELETE FROM dedup_revision WHERE text = 'Words 3'", "has no content"),
    ],
)
def test_books_that_do_not_agree_are_a_problem(
    owner: User, tmp_path: Path, statement: str, words: str
) -> None:
    import_path(user_id=owner.pk, path=transcript(tmp_path, dialogue(5)))

    tamper(statement)
    code, report = verify(owner)

    assert code == 1
    assert not report["integrity"]["valid"]
    assert any(words in problem for problem in report["integrity"]["problems"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "the stored file is gone"),
        (b"", "the stored file differs from the imported one"),
        (lines(dialogue(5)).replace(b"Words", b"words"), "the stored file differs"),
    ],
)
def test_a_stored_file_that_is_not_what_came_is_named(
    owner: User, tmp_path: Path, data: bytes | None, reason: str
) -> None:
    path = transcript(tmp_path, dialogue(5))
    import_path(user_id=owner.pk, path=path)
    stored = Path(settings.MEDIA_ROOT, latest_import(owner.pk).artifact.stored_as)

    if data is None:
        stored.unlink()
    else:
        stored.write_bytes(data)
    code, report = verify(owner)

    assert code == 1
    (mismatch,) = report["mismatched"]
    assert (mismatch["file"], mismatch["revision"]) == (str(path), None)
    assert reason in mismatch["reason"]


def test_importing_again_restores_a_stored_file_that_is_gone(owner: User, tmp_path: Path) -> None:
    path = transcript(tmp_path, dialogue(5))
    import_path(user_id=owner.pk, path=path)
    Path(settings.MEDIA_ROOT, latest_import(owner.pk).artifact.stored_as).unlink()

    import_path(user_id=owner.pk, path=path)

    assert verify(owner)[0] == 0


@pytest.mark.parametrize("head", [b"\n", b"{torn\n", b'{"mode": "x"}\n', b"\xef\xbb\xbf\n"])
def test_a_file_whose_first_record_says_nothing_is_verified(
    owner: User, tmp_path: Path, head: bytes
) -> None:
    import_path(user_id=owner.pk, path=transcript(tmp_path, [head, *dialogue(2)]))

    assert verify(owner)[0] == 0


def test_a_strangers_archive_is_not_looked_at(owner: User, tmp_path: Path) -> None:
    stranger = make_user()
    import_path(user_id=stranger.pk, path=transcript(tmp_path, [prompt("m0", "Pie")]))
    with acting_as(owner.pk):
        assert not Import.objects.exists()

    tamper("UPDATE dedup_revision SET text = 'Cake'")

    assert verify(owner)[0] == 0
    assert verify(stranger)[0] == 1
