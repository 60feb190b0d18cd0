import json
import logging
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from unittest.mock import patch

import pytest
from django.db import connections
from django.test import Client
from pytest_django import Settings

from common import health
from common.health import CHECKS, readiness, recent_readiness, record_heartbeat, redis_client
from common.tests.connections import connect_as_superuser

ALIASES = ["default", "operator", "owner"]
NOWHERE = "redis://:hunter2@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def no_heartbeats(settings: Settings) -> Iterator[None]:
    keys = [f"{settings.REDIS_PREFIX}alive:{process}" for process in ("worker", "beat")]
    with redis_client() as client:
        client.delete(*keys)
        yield
        client.delete(*keys)


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    recent_readiness.cache_clear()
    yield
    recent_readiness.cache_clear()


@pytest.fixture
def live_process(settings: Settings) -> Iterator[None]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        settings.LIVE_INTERNAL_URL = f"http://127.0.0.1:{server.server_port}"
        yield
        server.shutdown()


@pytest.mark.django_db
def test_what_works_is_ok(live_process: None) -> None:
    record_heartbeat("worker")
    record_heartbeat("beat")

    assert readiness(list(CHECKS)) == dict.fromkeys(
        ["database", "migrations", "redis", "keys", "worker", "beat", "live"], "ok"
    )


def test_a_heartbeat_is_believed_for_a_minute(settings: Settings) -> None:
    record_heartbeat("worker")

    with redis_client() as client:
        assert 55 < client.ttl(f"{settings.REDIS_PREFIX}alive:worker") <= 60


def test_processes_without_a_sign_of_life_are_named() -> None:
    assert readiness(["worker", "beat"]) == {
        "worker": "UnhealthyError: no sign of life from worker for 60 s",
        "beat": "UnhealthyError: no sign of life from beat for 60 s",
    }


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_another_role_than_app_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "connection", connections["operator"])

    assert readiness(["database"]) == {
        "database": "UnhealthyError: connected as operator, not as app: policies may not hold"
    }


@pytest.mark.django_db(transaction=True)
def test_a_pending_migration_is_unhealthy() -> None:
    row = "app = 'accounts' AND name = (SELECT max(name) FROM django_migrations m"
    row += " WHERE m.app = 'accounts')"
    with connect_as_superuser() as superuser:
        superuser.execute(f"UPDATE django_migrations SET app = 'away' WHERE {row}")
        try:
            outcome = readiness(["migrations"])["migrations"]
        finally:
            superuser.execute("UPDATE django_migrations SET app = 'accounts' WHERE app = 'away'")

    assert outcome.startswith("UnhealthyError: ")
    assert outcome.endswith(" migrations are pending: run manage.py migrate")


def test_an_unreachable_redis_fails_quickly(settings: Settings) -> None:
    settings.REDIS_URL = NOWHERE

    outcomes = readiness(["redis", "worker", "beat"])

    assert all(outcome.startswith("ConnectionError: ") for outcome in outcomes.values())


def test_a_live_process_that_is_away_is_unhealthy(settings: Settings) -> None:
    settings.LIVE_INTERNAL_URL = "http://127.0.0.1:1"

    assert readiness(["live"])["live"].startswith("URLError: ")


@pytest.mark.django_db
def test_readyz_answers_ok_when_each_check_is() -> None:
    answer = Client().get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "checks": {"database": "ok", "migrations": "ok", "redis": "ok", "keys": "ok"},
    }


@pytest.mark.django_db
def test_readyz_names_what_failed_and_keeps_its_address(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = NOWHERE

    with caplog.at_level(logging.WARNING, "common.health"):
        answer = Client().get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "checks": {"database": "ok", "migrations": "ok", "redis": "failed", "keys": "ok"},
    }
    assert "not ready: redis: ConnectionError: " in caplog.text


@pytest.mark.django_db
def test_readyz_answers_when_the_database_is_away() -> None:
    def away() -> None:
        raise OSError("connection to server at 10.0.0.9 failed")

    broken: dict[str, Callable[[], None]] = {**CHECKS, "database": away}
    with patch.object(health, "CHECKS", broken):
        answer = Client().get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "failed"
    assert "10.0.0.9" not in answer.content.decode()


def test_readyz_looks_once_in_two_seconds(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    settings.READINESS_CHECKS = ["redis"]
    moment = 100.0
    monkeypatch.setattr(health, "CHECKS", {"redis": lambda: looks.append(moment)})
    monkeypatch.setattr(time, "monotonic", lambda: moment)

    for moment in (100.0, 100.5, 101.9, 102.0, 103.9, 104.1):  # noqa: B007 - the clock reads it
        assert Client().get("/readyz").status_code == 200

    assert looks == [100.0, 102.0, 104.1]


def test_healthz_asks_nothing_of_others(settings: Settings) -> None:
    settings.REDIS_URL = NOWHERE

    answer = Client().get("/healthz")

    assert answer.status_code == 200
    assert json.loads(answer.content) == {"status": "ok"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_only_read(path: str) -> None:
    assert Client().post(path).status_code == 405


@pytest.mark.urls("config.live_urls")
def test_the_live_process_which_has_no_admin_answers_too() -> None:
    assert Client().get("/healthz").status_code == 200
