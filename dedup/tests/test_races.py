"""Importers at once: the archive is what they would have made one after the other."""

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from accounts.models import User
from accounts.tests.factories import make_operator, make_user
from common.tenancy import acting_as
from common.tests.connections import connect_as_superuser
from common.tests.races import at_once
from dedup.models import Alias, Artifact, DeduplicationLog, Import, Message, Observation
from dedup.results import FileResult
from dedup.services import import_path
from dedup.tests.factories import (
    OTHER_SESSION,
    counts_of_tables,
    dialogue,
    import_all,
    kept,
    prompt,
    reading_order,
    rebuilt_files,
    sample_files,
    transcript,
)
from dedup.tests.processes import manage
from dedup.tests.test_any_order import bytes_of, exports, reading
from dedup.tests.test_identity_histories import HISTORIES, talk, write, write_all
from dedup.verification import imports_to_verify, integrity_problems, verify_import

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

IMPORTERS = 8


def assert_sound(owner: User) -> None:
    assert integrity_problems(owner.pk) == []
    for row in imports_to_verify(owner.pk):
        assert verify_import(owner.pk, row) == []


def importer(owner: User, paths: list[Path], seed: int) -> Callable[[], None]:
    shuffled = list(paths)
    random.Random(seed).shuffle(shuffled)
    return lambda: import_all(owner.pk, shuffled)


def test_eight_importers_of_everything_make_one_archive() -> None:
    alone, owner, paths = make_user(), make_user(), sample_files()
    import_all(alone.pk, paths)

    first = at_once([importer(owner, paths, seed) for seed in range(IMPORTERS)])
    with acting_as(owner.pk):
        observations, messages = Observation.objects.count(), Message.objects.count()
    second = at_once([importer(owner, paths, -seed) for seed in range(IMPORTERS)])

    assert first + second == [None] * 2 * IMPORTERS
    assert kept(owner.pk) == kept(alone.pk)
    assert rebuilt_files(owner.pk) == {str(path): path.read_bytes() for path in paths}
    assert_sound(owner)
    with acting_as(owner.pk):
        assert Artifact.objects.count() == Import.objects.filter(original=None).count() == 11
        assert Import.objects.completed().count() == 2 * IMPORTERS * len(paths)
        assert DeduplicationLog.objects.count() == len(paths)
        assert (Observation.objects.count(), Message.objects.count()) == (observations, messages)


def overlapping_exports(folder: Path) -> list[Path]:
    """Files of every format, and three exports of one conversation of most of them."""
    paths = exports(folder / "formats")
    for name, history in HISTORIES.items():
        paths += write_all(folder / name, history.versions())
    for name in ("text", "openai with id", "sharegpt"):
        paths += [write(folder / name / str(end), name, talk(end)) for end in (7, 10, 13)]
    return paths


def importing_process(owner: User, paths: list[Path], seed: int) -> Callable[[], dict[str, Any]]:
    shuffled = list(map(str, paths))
    random.Random(seed).shuffle(shuffled)

    def run() -> dict[str, Any]:
        done = manage("import_conversations", *shuffled, "--owner", owner.username, "--json")
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    return run


def texts(owner: User) -> list[tuple[str, list[str]]]:
    """A conversation without an id has the name of the file that brought it first."""
    return sorted((source, sorted(said)) for (source, _), said in reading(owner.pk).items())


def test_eight_processes_that_import_every_format_make_one_archive(tmp_path: Path) -> None:
    alone, owner, paths = make_user(), make_operator(), overlapping_exports(tmp_path)
    import_all(alone.pk, paths)

    reports = at_once([importing_process(owner, paths, seed) for seed in range(IMPORTERS)])

    for report in reports:
        assert not isinstance(report, Exception), report
        assert (report["errors"], report["skipped"]) == ([], [])
        assert len(report["files"]) == len(paths)
    assert texts(owner) == texts(alone)
    assert len(kept(owner.pk)) == len(kept(alone.pk))
    assert rebuilt_files(owner.pk).items() <= {str(path): bytes_of(path) for path in paths}.items()
    assert len(imports_to_verify(owner.pk)) == len(imports_to_verify(alone.pk))
    assert_sound(owner)
    with acting_as(owner.pk):
        assert Import.objects.completed().count() == IMPORTERS * len(paths)


def test_the_same_file_at_once_is_read_once(tmp_path: Path) -> None:
    owner, path = make_user(), transcript(tmp_path, dialogue(20))

    results = at_once([lambda: import_path(user_id=owner.pk, path=path)] * IMPORTERS)

    found = [result for result in results if isinstance(result, FileResult)]
    assert len(found) == IMPORTERS
    assert sorted(result.counts.new_messages for result in found) == [0] * 7 + [20]
    assert sorted(result.already_imported for result in found) == [False] + [True] * 7
    assert_sound(owner)


def test_two_conversations_that_share_messages_at_once(tmp_path: Path) -> None:
    owner = make_user()
    shared = dialogue(200)
    one = transcript(tmp_path, [*shared, prompt("one", "Here", "m199", 500)])
    copy = [row | {"sessionId": OTHER_SESSION} for row in shared]
    two = transcript(
        tmp_path, [*reversed(copy), prompt("two", "There", "m199", 600)], OTHER_SESSION
    )

    results = at_once(
        [lambda path=path: import_path(user_id=owner.pk, path=path) for path in (one, two)]  # type: ignore[misc]  # mypy cannot type the default
    )

    found = [result for result in results if isinstance(result, FileResult)]
    assert sorted(result.counts.new_messages for result in found) == [1, 201]
    assert len(kept(owner.pk)) == 202
    assert len(reading_order(owner.pk)) == len(reading_order(owner.pk, OTHER_SESSION)) == 201
    assert_sound(owner)


def test_a_copy_under_other_ids_waits_for_what_it_is_a_copy_of(tmp_path: Path) -> None:
    owner, rows = make_user(), dialogue(6)
    copy = [
        row
        | {"uuid": f"new-{row['uuid']}", "sessionId": OTHER_SESSION}
        | {"parentUuid": row["parentUuid"] and f"new-{row['parentUuid']}"}
        for row in rows
    ]
    original, again = transcript(tmp_path, rows), transcript(tmp_path, copy, OTHER_SESSION)
    started = threading.Thread(target=_import_and_close, args=(owner, again))

    with acting_as(owner.pk):
        import_path(user_id=owner.pk, path=original)
        started.start()
        _wait_until_blocked()
    started.join(timeout=60)

    assert len(kept(owner.pk)) == 6
    with acting_as(owner.pk):
        assert Alias.objects.count() == 6
    assert_sound(owner)


def test_people_do_not_wait_for_each_other(tmp_path: Path) -> None:
    owner, stranger, path = make_user(), make_user(), transcript(tmp_path, dialogue(3))

    with acting_as(owner.pk):
        import_path(user_id=owner.pk, path=path)
        (result,) = at_once([lambda: import_path(user_id=stranger.pk, path=path)])

    assert isinstance(result, FileResult)
    assert kept(owner.pk) == kept(stranger.pk)


def test_an_import_that_is_rolled_back_leaves_the_waiting_one_to_do_it(tmp_path: Path) -> None:
    owner, path = make_user(), transcript(tmp_path, dialogue(3))
    before = counts_of_tables()
    waiting = threading.Thread(target=_import_and_close, args=(owner, path))

    def fail_while_another_waits() -> None:
        with acting_as(owner.pk):
            import_path(user_id=owner.pk, path=path)
            waiting.start()
            _wait_until_blocked()
            raise RuntimeError("lightning")

    with pytest.raises(RuntimeError, match="lightning"):
        fail_while_another_waits()
    waiting.join(timeout=60)

    assert counts_of_tables()["dedup_import"] == before["dedup_import"] + 1
    assert len(kept(owner.pk)) == 3
    assert_sound(owner)


def _import_and_close(owner: User, path: Path) -> None:
    try:
        import_path(user_id=owner.pk, path=path)
    finally:
        connections.close_all()


def _wait_until_blocked() -> None:
    """Until another session of this database waits for a lock."""
    end = time.monotonic() + 60
    with connect_as_superuser() as connection:
        while not connection.execute(
            "SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchall():
            assert time.monotonic() < end
            time.sleep(0.01)
