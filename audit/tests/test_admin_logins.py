"""How often a network may try to log in to the admin, whatever the names."""

from itertools import count
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.tests.factories import PASSWORD, make_operator
from tests.events import security

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

# What Redis counts outlives a test: each has networks of its own.
_numbers = count(1)


def new_network() -> str:
    return f"203.0.{next(_numbers)}.113"


@pytest.fixture(autouse=True)
def three_logins(settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "login": "3/15m/ip"}


def log_in(address: str, username: str, password: str = PASSWORD) -> Any:
    form = {"username": username, "password": password, "next": "/admin/"}
    return Client().post(reverse("admin:login"), form, REMOTE_ADDR=address)


def test_a_network_that_tries_too_often_is_told_so_before_a_password_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator, flooder = make_operator(), new_network()
    for number in range(3):
        assert log_in(flooder, f"name-{number}", "wrong").status_code == 200
    noted = len(security())
    monkeypatch.setattr("accounts.identity.backends.IdentityBackend.authenticate", None)

    refused = log_in(flooder, operator.username)

    assert (refused.status_code, refused["Retry-After"]) == (429, "900")
    assert "Too many attempts" in refused.content.decode()
    assert len(security()) == noted


def test_of_other_networks_operators_come_in() -> None:
    operator, flooder = make_operator(), new_network()
    for _ in range(4):
        log_in(flooder, "somebody", "wrong")

    assert log_in(new_network(), operator.username).status_code == 302


def test_the_form_is_shown_however_often_it_is_asked_for() -> None:
    network = new_network()

    form = [Client().get(reverse("admin:login"), REMOTE_ADDR=network) for _ in range(5)]

    assert {answer.status_code for answer in form} == {200}
