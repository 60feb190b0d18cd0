import logging
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.test import Client
from pytest_django import Settings

from common.failures import failures_by_hour, note_failure
from common.health import redis_client
from common.tallies import QUIET_SECONDS, Tallies, _tallies, tallies

NOWHERE = "redis://:hunter2@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def no_failures(settings: Settings) -> Iterator[None]:
    """A prefix of its own: other tests on this worker fail requests too."""
    settings.REDIS_PREFIX = f"{settings.REDIS_PREFIX}failures-of-a-test:"
    prefix = settings.REDIS_PREFIX
    with redis_client() as client:
        yield
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)


def test_failures_are_counted_by_kind_and_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 3, 1, 10, 59, tzinfo=UTC)
    monkeypatch.setattr(time, "time", lambda: now.timestamp())  # noqa: PLW0108 - it moves on
    note_failure("request")
    note_failure("request")
    note_failure("task")
    now += timedelta(minutes=2)
    note_failure("task")

    hour = datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert failures_by_hour(3) == [
        (hour - timedelta(hours=2), {"request": 0, "task": 0}),
        (hour - timedelta(hours=1), {"request": 2, "task": 1}),
        (hour, {"request": 0, "task": 1}),
    ]


def test_they_are_forgotten_after_eight_days(settings: Settings) -> None:
    note_failure("task")

    with redis_client() as client:
        (key,) = client.scan_iter(f"{settings.REDIS_PREFIX}*")
        assert 8 * 86_400 - 5 <= client.ttl(key) <= 8 * 86_400


@pytest.mark.urls("common.tests.urls")
def test_each_answer_of_500_or_more_is_a_failure_also_if_the_view_raised() -> None:
    client = Client(raise_request_exception=False)
    assert client.get("/api/fail/unexpected").status_code == 500
    assert client.get("/api/fail/missing").status_code == 404
    assert client.get("/echo/a").status_code == 200

    ((_, found),) = failures_by_hour(1)
    assert found == {"request": 1, "task": 0}


@pytest.mark.urls("common.tests.urls")
def test_while_redis_is_away_requests_are_answered_and_it_is_said_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = NOWHERE
    # Another test may have found out already.
    _tallies.cache_clear()

    with caplog.at_level(logging.INFO, "common.tallies"):
        answers = {Client().get("/echo/a").status_code for _ in range(5)}

    assert answers == {200}
    assert [one.getMessage() for one in caplog.records if one.name == "common.tallies"] == [
        "nothing is counted while Redis is away: ConnectionError"
    ]
    with pytest.raises(redis.ConnectionError):
        failures_by_hour(1)


def test_after_a_while_it_is_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Tallies(NOWHERE)
    counting.add("failures:1", {"task": 1})
    # Redis is back at once, and is found out later.
    counting._client = tallies()._client
    counting.add("failures:1", {"task": 1})
    later = time.monotonic() + QUIET_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    counting.add("failures:1", {"task": 1})

    assert counting.read("failures:1", "failures:2") == [{"task": 1}, {}]


def test_a_redis_that_is_silent_holds_a_request_for_a_moment_only(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.REDIS_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        started = time.monotonic()
        for _ in range(20):
            note_failure("task")

    assert time.monotonic() - started < 2
