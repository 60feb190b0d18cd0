"""What the planner knows after a large import."""

from pathlib import Path

import pytest

from accounts.tests.factories import make_user
from common.tests.connections import connect_as_superuser
from dedup.services import import_path
from dedup.tests.factories import dialogue, make_tables_new, transcript

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

TABLES = ["dedup_message", "dedup_observation", "dedup_placement", "dedup_revision"]


def rows_that_the_planner_knows() -> list[int]:
    with connect_as_superuser() as superuser:
        found = superuser.execute(
            "SELECT reltuples::int FROM pg_class WHERE relname = ANY(%s) ORDER BY relname", [TABLES]
        )
        return [int(str(number)) for (number,) in found.fetchall()]


def test_the_planner_learns_of_a_large_import_at_once(tmp_path: Path) -> None:
    make_tables_new()

    import_path(user_id=make_user().pk, path=transcript(tmp_path, dialogue(2100)))

    assert rows_that_the_planner_knows() == [2100] * 4


def test_a_small_import_leaves_that_to_the_database(tmp_path: Path) -> None:
    make_tables_new()

    import_path(user_id=make_user().pk, path=transcript(tmp_path, dialogue(20)))

    assert rows_that_the_planner_knows() == [-1] * 4
