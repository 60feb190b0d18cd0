"""How often a network may try to log in to the admin, whatever the names."""

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.tests.factories import PASSWORD, make_operator
from tests.events import security

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

FLOODER, OTHER = "203.0.113.201", "203.0.113.202"


@pytest.fixture(autouse=True)
def three_logins(settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "login": "3/15m/ip"}
    cache.clear()


def log_in(address: str, username: str, password: str = PASSWORD) -> Any:
    form = {"username": username, "password": password, "next": "/admin/"}
    return Client().post(reverse("admin:login"), form, REMOTE_ADDR=address)


def test_a_network_that_tries_too_often_is_told_so_before_a_password_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator = make_operator()
    for number in range(3):
        assert log_in(FLOODER, f"name-{number}", "wrong").status_code == 200
    noted = len(security())
    monkeypatch.setattr("accounts.identity.backends.IdentityBackend.authenticate", None)

    refused = log_in(FLOODER, operator.username)

    assert (refused.status_code, refused["Retry-After"]) == (429, "900")
    assert "Too many attempts" in refused.content.decode()
    assert len(security()) == noted


def test_of_other_networks_operators_come_in() -> None:
    operator = make_operator()
    for _ in range(4):
        log_in(FLOODER, "somebody", "wrong")

    assert log_in(OTHER, operator.username).status_code == 302


def test_the_form_is_shown_however_often_it_is_asked_for() -> None:
    form = [Client().get(reverse("admin:login"), REMOTE_ADDR=FLOODER) for _ in range(5)]

    assert {answer.status_code for answer in form} == {200}
