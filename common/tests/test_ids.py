import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest
from django.db import connection

from common import ids
from common.ids import uuid7


def milliseconds_of(identifier: UUID) -> int:
    return identifier.int >> 80


def test_version_and_variant_are_those_of_the_standard() -> None:
    for identifier in [uuid7() for _ in range(100)]:
        assert identifier.version == 7
        assert identifier.variant == RFC_4122


def test_the_time_of_making_stands_in_the_first_48_bits() -> None:
    before = time.time_ns() // 1_000_000

    identifier = uuid7()

    # A few of the identifiers made before may have run ahead of the clock.
    assert before <= milliseconds_of(identifier) <= time.time_ns() // 1_000_000 + 1


def test_the_fraction_of_the_millisecond_follows_the_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ids, "_last", 0)
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_123_500_000)

    identifier = uuid7()

    assert milliseconds_of(identifier) == 1_700_000_000_123
    assert identifier.int >> 64 & 0xFFF == 2048


def test_eight_threads_make_80_000_different_ones_each_in_order() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [uuid7() for _ in range(10_000)], range(8)))

    assert all(batch == sorted(batch) for batch in made)
    assert len({identifier for batch in made for identifier in batch}) == 80_000


def test_the_order_holds_when_the_clock_steps_back_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ids, "_last", 0)
    times = iter([1_700_003_600_000_000_000] + [1_700_000_000_000_000_000] * 5_000)
    monkeypatch.setattr(time, "time_ns", lambda: next(times))

    made = [uuid7() for _ in range(5_001)]

    assert made == sorted(made)
    assert milliseconds_of(made[-1]) - milliseconds_of(made[0]) == 1


def test_the_random_part_differs_while_the_clock_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ids, "_last", 0)
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)

    tails = {uuid7().int & (1 << 62) - 1 for _ in range(1_000)}

    assert len(tails) == 1_000


@pytest.mark.django_db
def test_the_database_reads_the_same_time_out_of_it() -> None:
    identifier = uuid7()

    with connection.cursor() as cursor:
        cursor.execute("SELECT uuid_extract_timestamp(%s)", [identifier])
        (moment,) = cursor.fetchone()

    made_at = datetime.fromtimestamp(milliseconds_of(identifier) / 1000, UTC)
    assert abs(moment - made_at) < timedelta(milliseconds=1)
