"""What de-duplication saved, by day."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from accounts.tests.factories import make_user
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser
from dedup.models import DeduplicationLog, Import
from dedup.savings import DaySavings, cumulative, savings_by_day
from dedup.tests.factories import OTHER_SESSION, dialogue, import_all, prompt, transcript

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"])


@pytest.fixture
def ada(tmp_path: Path) -> User:
    """A person who imported a session of 4 messages, and 6 messages that begin with them."""
    ada = make_user("ada")
    import_all(ada.pk, [transcript(tmp_path / "1", dialogue(4))])
    import_all(ada.pk, [transcript(tmp_path / "2", dialogue(6))])
    return ada


def move_to(user: User, moments: Sequence[datetime]) -> None:
    """Say of a person's imports in turn, and of their log, when they were."""
    with connect_as_superuser() as connection:
        found = connection.execute(
            "SELECT id FROM dedup_import WHERE user_id = %s ORDER BY id", [user.pk]
        ).fetchall()
        for (pk,), moment in zip(found, moments, strict=True):
            connection.execute(
                "UPDATE dedup_import SET created_at = %s WHERE id = %s", [moment, pk]
            )
            connection.execute("SET session_replication_role = replica")
            connection.execute(
                "UPDATE dedup_deduplicationlog SET created_at = %s WHERE import_id = %s",
                [moment, pk],
            )


def days_of(user: User, **options: int) -> list[DaySavings]:
    with acting_as(user.pk):
        return savings_by_day(DeduplicationLog.objects.visible_to(user.pk), **options)


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)


def test_the_first_export_saves_nothing_and_a_repeated_one_all_it_repeats(ada: User) -> None:
    move_to(ada, [at(2), at(3)])

    days = days_of(ada)

    assert days == [DaySavings(date(2026, 3, 2), 4, 4, 0), DaySavings(date(2026, 3, 3), 6, 2, 4)]
    assert [day.savings_pct for day in days] == [0.0, 66.67]


def test_exports_of_one_day_are_summed(ada: User) -> None:
    move_to(ada, [at(2, 0), at(2, 23)])

    assert days_of(ada) == [DaySavings(date(2026, 3, 2), 10, 6, 4)]


def test_a_day_begins_at_midnight_in_utc(ada: User) -> None:
    just_before = datetime.fromisoformat("2026-03-03T01:30:00+02:00")
    move_to(ada, [just_before, at(3, 0)])

    assert [day.day for day in days_of(ada)] == [date(2026, 3, 2), date(2026, 3, 3)]


def test_days_between_hold_nothing(ada: User) -> None:
    move_to(ada, [at(2), at(5)])

    assert days_of(ada)[1:3] == [DaySavings(date(2026, 3, 3)), DaySavings(date(2026, 3, 4))]
    assert days_of(ada)[1].savings_pct == 0.0


@pytest.mark.parametrize(("days", "first"), [(1, 5), (3, 3), (4, 2), (90, 2)])
def test_at_most_the_last_days_are_shown(ada: User, days: int, first: int) -> None:
    move_to(ada, [at(2), at(5)])

    shown = days_of(ada, days=days)

    assert [row.day.day for row in shown] == list(range(first, 6))


def test_revisions_are_stored_and_save_nothing(tmp_path: Path) -> None:
    bob = make_user("bob")
    import_all(bob.pk, [transcript(tmp_path / "1", [prompt("m0", "Words"), prompt("m1", "More")])])
    edited = [prompt("m0", "Words"), prompt("m1", "Other words")]
    import_all(bob.pk, [transcript(tmp_path / "2", edited)])
    move_to(bob, [at(2), at(3)])

    day = days_of(bob)[-1]

    assert (day.messages_in_exports, day.new_messages, day.duplicates_filtered) == (2, 0, 1)
    assert day.savings_pct == 50.0


def test_without_rows_there_are_no_days() -> None:
    assert days_of(make_user("bob")) == []


def test_one_conversation_is_seen_apart(ada: User, tmp_path: Path) -> None:
    rows = [
        prompt(f"o{number}", f"Other words {number}", second=number + 99)
        | {"sessionId": OTHER_SESSION}
        for number in range(2)
    ]
    import_all(ada.pk, [transcript(tmp_path, rows, OTHER_SESSION)])
    move_to(ada, [at(2), at(3), at(4)])

    with acting_as(ada.pk):
        log = DeduplicationLog.objects.visible_to(ada.pk)
        days = savings_by_day(log.filter(conversation__native_key=OTHER_SESSION))

    assert days == [DaySavings(date(2026, 3, 4), 2, 2, 0)]


def test_nobody_sees_what_others_saved_but_the_house_sees_all(ada: User, tmp_path: Path) -> None:
    bob = make_user("bob")
    import_all(bob.pk, [transcript(tmp_path, dialogue(3))])
    move_to(ada, [at(2), at(3)])
    move_to(bob, [at(3)])

    with as_operator("savings of the house"):
        house = savings_by_day(DeduplicationLog.objects.all())

    assert days_of(bob) == [DaySavings(date(2026, 3, 3), 3, 3, 0)]
    assert house[-1] == DaySavings(date(2026, 3, 3), 9, 5, 4)


def test_imports_count_a_file_that_came_again(ada: User, tmp_path: Path) -> None:
    import_all(ada.pk, [transcript(tmp_path / "2", dialogue(6))])
    move_to(ada, [at(2), at(3), at(4)])

    with acting_as(ada.pk):
        days = savings_by_day(Import.objects.visible_to(ada.pk))

    assert days[-1] == DaySavings(date(2026, 3, 4), 6, 0, 6)
    assert days[-1].savings_pct == 100.0
    assert len(days_of(ada)) == 2


def test_sums_grow_from_day_to_day(ada: User) -> None:
    move_to(ada, [at(2), at(4)])

    sums = cumulative(days_of(ada))

    assert [day.messages_in_exports for day in sums] == [4, 4, 10]
    assert [day.savings_pct for day in sums] == [0.0, 0.0, 40.0]
    assert cumulative([]) == []


def test_the_days_cost_one_query(
    ada: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with acting_as(ada.pk), django_assert_num_queries(1):
        savings_by_day(DeduplicationLog.objects.visible_to(ada.pk).order_by("-id"))


def test_a_stranger_has_no_days(ada: User) -> None:
    with acting_as(UUID(int=0)):
        assert savings_by_day(DeduplicationLog.objects.all()) == []
