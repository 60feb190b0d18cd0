"""How long an answer takes does not tell a stranger whether an address has an account."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from accounts.identity import middleware, timing
from accounts.tests.phones import ADDRESS, ALL_CONSENTS, PASSWORD, Phone, registered

pytestmark = pytest.mark.django_db(transaction=True)

NOBODYS = "nobody@example.org"


@pytest.fixture(autouse=True)
def waits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited where all work takes 0.63 s, with steps of 0.5 s."""
    settings.ANSWER_STEP_MS = 500
    found: list[float] = []

    def sleep(seconds: float) -> None:
        assert not connection.in_atomic_block
        found.append(round(seconds, 6))

    monkeypatch.setattr(middleware, "time", SimpleNamespace(monotonic=lambda: 100.0))
    monkeypatch.setattr(timing, "time", SimpleNamespace(monotonic=lambda: 100.63, sleep=sleep))
    return found


@pytest.mark.parametrize("address", [ADDRESS, NOBODYS])
@pytest.mark.parametrize(
    ("door", "body", "status"),
    [
        ("auth/login", {"password": "a guess that is wrong"}, 400),
        ("auth/signup", {"password": PASSWORD, "consents": ALL_CONSENTS}, 401),
        ("auth/password/request", {}, 401),
    ],
)
def test_whoever_asks_by_api_is_answered_at_a_whole_step(
    waits: list[float], door: str, body: dict[str, Any], status: int, address: str
) -> None:
    registered()
    waits.clear()

    assert Phone("stranger").call("post", door, {"email": address, **body}).status_code == status

    assert waits == [0.37]


@pytest.mark.parametrize("address", [ADDRESS, NOBODYS])
@pytest.mark.parametrize(
    ("page", "form", "status"),
    [
        ("login/", {"login": "", "password": "a guess that is wrong"}, 200),
        ("password/reset/", {}, 302),
    ],
)
def test_whoever_asks_on_a_page_is_answered_at_a_whole_step(
    waits: list[float], page: str, form: dict[str, Any], status: int, address: str
) -> None:
    registered()
    waits.clear()
    form = {**form, "login" if "login" in form else "email": address}

    assert Client().post(f"/accounts/{page}", form).status_code == status

    assert waits == [0.37]


def test_nobody_else_waits(waits: list[float]) -> None:
    registered()
    waits.clear()
    phone = Phone("tablet")

    assert phone.log_in().status_code == 200
    assert phone.call("get", "/api/v1/account/").status_code == 200
    assert Client().get("/accounts/login/").status_code == 200

    assert waits == []


def test_nobody_waits_where_the_step_is_nothing(settings: Any, waits: list[float]) -> None:
    settings.ANSWER_STEP_MS = 0

    assert Phone().call("post", "auth/password/request", {"email": NOBODYS}).status_code == 401

    assert waits == []
