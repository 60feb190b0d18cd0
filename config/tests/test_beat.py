import logging
from unittest.mock import patch

import pytest
from celery.beat import PersistentScheduler
from pytest_django import Settings

from common.health import redis_client
from config.beat import LivingScheduler
from config.celery import app

NOWHERE = "redis://127.0.0.1:1/0"


def test_beat_goes_on_without_redis_and_says_so(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = NOWHERE
    scheduler = LivingScheduler(app, lazy=True)

    with (
        patch.object(PersistentScheduler, "tick", return_value=3.0),
        caplog.at_level(logging.WARNING, "config.beat"),
    ):
        waits = [scheduler.tick(), scheduler.tick()]

    assert waits == [3.0, 3.0]
    assert caplog.text.count("no sign of life could be given: ") == 1


def test_beat_gives_a_sign_of_life(settings: Settings) -> None:
    key = f"{settings.REDIS_PREFIX}alive:beat"
    with redis_client() as client, patch.object(PersistentScheduler, "tick", return_value=99.0):
        client.delete(key)
        wait = LivingScheduler(app, lazy=True).tick()
        found = client.exists(key)
        client.delete(key)

    assert (wait, found) == (10.0, 1)
