import logging
import re

import pytest
from django.test import Client

from common import context

pytestmark = pytest.mark.urls("common.tests.urls")

UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.mark.parametrize(
    "offered",
    [
        "019a0000-0000-7000-8000-00000000beef",
        "5D1F2C3A-0000-4000-8000-00000000BEEF",
        "019a000000007000800000000000beef",
    ],
)
def test_an_offered_request_id_is_kept(offered: str) -> None:
    answer = Client().get("/echo/a", headers={"X-Request-ID": offered})

    assert answer["X-Request-ID"] == offered


@pytest.mark.parametrize(
    "offered",
    [
        "",
        "short",
        "a" * 31,
        "a" * 33,
        "a-word-of-the-client",
        "with space",
        "with\ttab",
        "<script>alert(1)",
        "é" * 10,
        "019a0000-0000-7000-8000-00000000bee\u00e9",
        "019a0000-0000-7000-8000-00000000beef\n",
        "019a0000-0000-7000-8000-00000000word",
    ],
)
def test_another_one_is_replaced(offered: str) -> None:
    answer = Client().get("/echo/a", headers={"X-Request-ID": offered})

    assert UUID_TEXT.fullmatch(answer["X-Request-ID"])


def test_two_requests_have_two_ids_and_leave_none_behind() -> None:
    first, second = (Client().get("/echo/a")["X-Request-ID"] for _ in range(2))

    assert first != second
    assert context.request_id.get() == ""
    assert context.person_id.get() is None


def test_a_request_is_logged_by_its_route_without_its_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "commonplace.request"):
        Client().get("/echo/private?word=private")
        Client().get("/nowhere/private")

    assert [
        record.getMessage() for record in caplog.records if record.name == "commonplace.request"
    ] == [
        "GET /echo/<str:word> 200",
        "GET (no route) 404",
    ]
    assert all(
        vars(record)["milliseconds"] >= 0
        for record in caplog.records
        if record.name == "commonplace.request"
    )


def test_a_request_that_fails_is_answered_with_its_id_too() -> None:
    answer = Client(raise_request_exception=False).get("/api/fail/unexpected")

    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer["X-Request-ID"]
