from collections.abc import Iterator

import pytest
from django.test import Client
from pytest_django import Settings

from common.health import redis_client
from common.traffic import REQUEST_BUCKETS, TASK_BUCKETS, note_request, note_task, traffic


@pytest.fixture(autouse=True)
def no_traffic(settings: Settings) -> Iterator[None]:
    settings.REDIS_PREFIX = f"{settings.REDIS_PREFIX}traffic-of-a-test:"
    prefix = settings.REDIS_PREFIX
    with redis_client() as client:
        yield
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)


def test_requests_are_counted_by_route_method_and_kind_of_answer() -> None:
    for status, seconds in ((200, 0.004), (204, 0.005), (404, 0.0051), (500, 99)):
        note_request(method="GET", route="/a/<pk>/", status=status, seconds=seconds)

    requests, tasks = traffic()

    assert requests.totals == {
        ("/a/<pk>/", "GET", "2xx"): 2,
        ("/a/<pk>/", "GET", "4xx"): 1,
        ("/a/<pk>/", "GET", "5xx"): 1,
    }
    durations = requests.durations["/a/<pk>/"]
    assert durations.counts == [2, 1, *[0] * (len(REQUEST_BUCKETS) - 2), 1]
    assert durations.microseconds == 99_014_100
    assert (tasks.totals, tasks.durations) == ({}, {})


def test_tasks_are_counted_by_name_and_outcome() -> None:
    note_task(name="a.tasks.b", outcome="success", seconds=0.01)
    note_task(name="a.tasks.b", outcome="failure", seconds=2000)

    _, tasks = traffic()

    assert tasks.totals == {("a.tasks.b", "success"): 1, ("a.tasks.b", "failure"): 1}
    assert tasks.durations["a.tasks.b"].counts == [1, *[0] * (len(TASK_BUCKETS) - 1), 1]


@pytest.mark.urls("common.tests.urls")
def test_what_a_client_makes_up_is_no_label() -> None:
    Client().get("/echo/marzipan?q=marzipan")
    Client().get("/marzipan")
    Client().generic("MARZIPAN", "/echo/marzipan")

    requests, _ = traffic()

    assert requests.totals == {
        ("/echo/<str:word>", "GET", "2xx"): 1,
        ("(no route)", "GET", "4xx"): 1,
        ("/echo/<str:word>", "other", "2xx"): 1,
    }


def test_a_route_is_shown_without_its_patterns() -> None:
    route = "/api/v1/^imports/(?P<pk>[^/.]+)/file/$"
    note_request(method="GET", route=route, status=200, seconds=0)

    assert list(traffic()[0].durations) == ["/api/v1/imports/<pk>/file/"]
