"""The real answer of /metrics, read as Prometheus reads it."""

import math
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from billiard.exceptions import TimeLimitExceeded
from celery import shared_task
from celery.signals import task_failure
from django.db import connections
from django.test import Client
from django.utils import timezone
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from accounts.tests.factories import client_of, make_user
from audit.choices import SecurityKind
from audit.errors import StreamBrokenError
from audit.recording import record
from common.failures import failures_by_hour
from common.health import record_heartbeat, redis_client
from common.queue import BaseTask
from common.tenancy import acting_as
from common.tests.connections import connect_as, connect_as_superuser
from dedup.choices import ImportStatus
from dedup.models import Artifact, Import
from operations.metrics import measures
from operations.metrics.families import GAUGES

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator", "metrics"])

TOKEN = "a token for Prometheus"


@pytest.fixture(autouse=True)
def nothing_measured_yet(settings: Settings) -> Iterator[None]:
    """A prefix of its own, a token, and no look that is remembered."""
    settings.METRICS_TOKEN = TOKEN
    settings.REDIS_PREFIX = f"{settings.REDIS_PREFIX}metrics-of-a-test:"
    measures._snapshot.cache_clear()
    prefix = settings.REDIS_PREFIX
    with redis_client() as client:
        yield
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)
    measures._snapshot.cache_clear()


@shared_task(base=BaseTask)
def bake(outcome: str) -> None:
    if outcome == "burnt":
        raise ValueError(outcome)


def scrape(**headers: str) -> str:
    measures._snapshot.cache_clear()
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"} | headers)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def measured(text: str = "") -> dict[tuple[str, ...], float]:
    """Each sample by its name, without the prefix, and its labels' values, by their names."""
    return {
        (
            sample.name.removeprefix("commonplace_"),
            *(sample.labels[label] for label in sorted(sample.labels)),
        ): sample.value
        for family in text_string_to_metric_families(text or scrape())
        for sample in family.samples
    }


def import_of(status: ImportStatus, *, age: timedelta) -> None:
    user = make_user()
    with acting_as(user.pk):
        artifact = Artifact.objects.create(user_id=user.pk, sha256=uuid4().bytes * 2, size=1)
        Import.objects.create(
            user_id=user.pk,
            artifact=artifact,
            name="marzipan.jsonl",
            status=status,
            created_at=timezone.now() - age,
        )


@pytest.mark.parametrize("offered", ["", TOKEN, "Bearer", "Bearer wrong", f"Basic {TOKEN}", "ü"])
def test_another_token_is_refused(offered: str) -> None:
    answer = Client().get("/metrics", headers={"Authorization": offered})

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert answer.json()["code"] == "not_authenticated"
    assert "commonplace_" not in answer.json()["detail"]


def test_the_token_of_a_person_is_refused() -> None:
    assert client_of(make_user()).get("/metrics").status_code == 401


@pytest.mark.parametrize("offered", ["Bearer ", "Bearer", f"Bearer {TOKEN}"])
def test_without_a_token_there_are_no_metrics(offered: str, settings: Settings) -> None:
    settings.METRICS_TOKEN = ""

    assert Client().get("/metrics", headers={"Authorization": offered}).status_code == 404


def test_metrics_are_only_read() -> None:
    assert Client().post("/metrics").status_code == 405


def test_both_formats_are_read_by_their_parsers_and_say_the_same() -> None:
    bake.apply(args=("done",))
    plain = list(text_string_to_metric_families(scrape()))
    accept = "application/openmetrics-text; version=1.0.0"
    open_text = scrape(Accept=accept)
    openmetrics = list(openmetrics_families(open_text))  # type: ignore[no-untyped-call]  # theirs

    assert open_text.endswith("# EOF\n")
    assert {family.name for family in plain} == {family.name for family in openmetrics}
    assert len({family.name for family in plain}) == len(GAUGES) + 6
    assert all(family.name.startswith("commonplace_") for family in plain)
    assert all(family.documentation for family in plain)


def test_everything_is_measured_when_all_is_well() -> None:
    record_heartbeat("worker")

    found = measured()

    assert {key: value for key, value in found.items() if key[0] == "up"} == {
        ("up", name): 1
        for name in ("database", "statistics", "redis", "files", "stream", "logins", "backups")
    }
    assert found["heartbeat_age_seconds", "worker"] < 5
    assert found["heartbeat_age_seconds", "beat"] == math.inf
    assert 0 < found["files_free_ratio",] <= 1
    assert found["database_size_bytes",] > 1_000_000
    assert 0 < found["database_connections",] < found["database_connections_max",]
    assert 0 < found["database_cache_hit_ratio",] <= 1
    assert found["database_blocks_total", "cache"] > 0
    assert found["database_transaction_id_age",] > 0
    assert found["database_replication_lag_seconds",] == 0
    assert found["audit_stream_lag_seconds",] == 0


def test_imports_are_counted_and_the_oldest_that_waits_is_known() -> None:
    import_of(ImportStatus.QUEUED, age=timedelta(minutes=20))
    import_of(ImportStatus.RUNNING, age=timedelta(minutes=5))
    import_of(ImportStatus.FAILED, age=timedelta(days=2))

    found = measured()

    assert {status: found["imports", status] for status in ImportStatus.values} == {
        "queued": 1,
        "running": 1,
        "completed": 0,
        "failed": 1,
    }
    assert 1199 < found["oldest_unfinished_import_age_seconds",] < 1230


def test_what_was_done_long_ago_is_not_counted() -> None:
    import_of(ImportStatus.FAILED, age=timedelta(0))
    import_of(ImportStatus.QUEUED, age=timedelta(0))
    with connect_as_superuser() as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE dedup_import SET id = uuidv7(interval '-25 hours')")

    found = measured()

    assert (found["imports", "queued"], found["imports", "failed"]) == (1, 0)


def test_a_broken_stream_hides_neither_logins_nor_backups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def break_down() -> float:
        raise StreamBrokenError("The files are not what they were.")

    monkeypatch.setattr(measures, "stream_lag", break_down)
    record(SecurityKind.BACKUP_MADE)
    record(SecurityKind.LOGIN_FAILED)

    found = measured()

    assert {name: found["up", name] for name in ("stream", "logins", "backups")} == {
        "stream": 0,
        "logins": 1,
        "backups": 1,
    }
    assert found["failed_logins_recently",] == 1
    assert 0 <= found["backup_age_seconds",] < 60
    assert ("audit_stream_lag_seconds",) not in found


def test_a_look_that_took_long_asks_for_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "LONGEST_LOOK_SECONDS", 0.05)

    def take_long() -> measures.Measured:
        time.sleep(0.1)
        return {}

    monkeypatch.setattr(measures, "SOURCES", {"redis": take_long, "files": measures.files})

    found = measured()

    assert (found["up", "redis"], found["up", "files"]) == (1, 0)
    assert ("files_free_ratio",) not in found


def test_the_queue_is_measured(settings: Settings) -> None:
    with redis_client() as client:
        client.lpush(f"{settings.REDIS_PREFIX}celery", "a message", "another")

    assert measured()["queue_length",] == 2


def test_a_long_query_and_who_it_blocks_are_measured() -> None:
    with connect_as("default") as holder, connect_as("default") as waiter:
        with holder.transaction():
            holder.execute("SELECT pg_advisory_xact_lock(4711)")
            waiting = threading.Thread(
                target=waiter.execute, args=("SELECT pg_advisory_xact_lock(4711)",)
            )
            waiting.start()
            time.sleep(0.3)
            found = measured()
        waiting.join()

    assert found["database_blocked_sessions",] >= 1
    assert found["database_longest_query_seconds",] > 0.2


def test_requests_are_counted_by_their_routes_and_never_by_their_paths() -> None:
    client = client_of(make_user())
    secret = uuid4()
    client.get(f"/api/v1/imports/{secret}/?word=marzipan")
    client.get("/api/v1/imports/")
    client.get("/api/v1/imports/")

    text = scrape()
    found = measured(text)

    assert found["http_requests_total", "GET", "/api/v1/imports/", "2xx"] == 2
    assert found["http_requests_total", "GET", "/api/v1/imports/<pk>/", "4xx"] == 1
    assert found["http_request_duration_seconds_count", "/api/v1/imports/"] == 2
    assert found["http_request_duration_seconds_bucket", "10.0", "/api/v1/imports/"] == 2
    assert found["http_request_duration_seconds_bucket", "+Inf", "/api/v1/imports/"] == 2
    assert found["http_request_duration_seconds_sum", "/api/v1/imports/"] > 0
    assert str(secret) not in text
    assert "marzipan" not in text


def test_tasks_are_counted_by_outcome_and_their_failures_by_the_hour() -> None:
    bake.apply(args=("done",))
    bake.apply(args=("done",))
    bake.apply(args=("burnt",))

    found = measured()

    assert found["tasks_total", "success", bake.name] == 2
    assert found["tasks_total", "failure", bake.name] == 1
    assert found["task_duration_seconds_count", bake.name] == 3
    ((_, failures),) = failures_by_hour(1)
    assert failures == {"request": 0, "task": 1}


def test_a_task_whose_process_was_stopped_is_lost() -> None:
    task_failure.send(sender=bake, task_id="an-id", exception=TimeLimitExceeded(1))

    assert measured()["tasks_total", "lost", bake.name] == 1
    assert failures_by_hour(1)[0][1]["task"] == 1


def test_without_redis_the_rest_is_measured(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    found = measured()

    assert found["up", "redis"] == 0
    assert found["up", "database"] == found["up", "statistics"] == 1
    assert found["database_size_bytes",] > 0
    assert ("queue_length",) not in found
    assert not [key for key in found if key[0] == "heartbeat_age_seconds"]


def test_without_the_login_of_metrics_the_rest_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections["metrics"].close()
    monkeypatch.setitem(connections["metrics"].settings_dict, "PASSWORD", "wrong")

    found = measured()

    assert found["up", "statistics"] == 0
    assert found["up", "database"] == found["up", "redis"] == 1
    assert found["imports", "failed"] == 0
    assert ("database_size_bytes",) not in found


def test_a_lock_on_the_imports_is_not_waited_for() -> None:
    with connect_as_superuser() as holder, holder.transaction():
        holder.execute("LOCK TABLE dedup_import IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()

        found = measured()

    assert time.monotonic() - started < 3
    assert (found["up", "database"], found["up", "statistics"]) == (0, 1)


def test_without_any_database_there_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for alias in ("operator", "metrics"):
        connections[alias].close()
        monkeypatch.setitem(connections[alias].settings_dict, "PORT", "1")

    found = measured()

    assert found["up", "database"] == found["up", "statistics"] == 0
    assert found["queue_length",] == 0


def test_the_server_is_looked_at_once_however_often_it_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float] = []
    moment = 100.0

    def look() -> dict[str, Any]:
        looks.append(moment)
        return {}

    monkeypatch.setattr(measures, "SOURCES", {"redis": look})
    monkeypatch.setattr(time, "monotonic", lambda: moment)
    headers = {"Authorization": f"Bearer {TOKEN}"}

    for moment in (100.0, 101.0, 104.9, 105.0, 109.9):  # noqa: B007 - the clock reads it
        assert Client().get("/metrics", headers=headers).status_code == 200

    assert looks == [100.0, 105.0]


def test_nobody_waits_long_for_a_look_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "PATIENCE_SECONDS", 0.1)
    with measures._looking:
        found = measured()

    assert {key[1]: value for key, value in found.items() if key[0] == "up"} == dict.fromkeys(
        measures.SOURCES, 0
    )
    assert measured()["up", "database"] == 1


def test_of_a_bucket_no_free_room_is_known(settings: Settings) -> None:
    storage = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    settings.STORAGES = settings.STORAGES | {"default": storage}

    assert measures.files() == {}
