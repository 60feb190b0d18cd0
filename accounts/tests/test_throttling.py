"""Whoever asks too often is told to wait; the next person is not."""

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from accounts.tests.factories import client_of, make_user
from common.health import redis_client

pytestmark = pytest.mark.django_db

URL = "/api/v1/account/"


@pytest.fixture(autouse=True)
def three_requests(settings: object) -> None:
    settings.API_RATE_LIMIT = 3  # type: ignore[attr-defined]


def ask(client: APIClient, times: int, **more: str) -> list[int]:
    return [client.get(URL, **more).status_code for _ in range(times)]  # type: ignore[arg-type]


def test_a_person_is_told_to_wait_and_another_is_not() -> None:
    ada, bob = client_of(make_user()), client_of(make_user())

    assert ask(ada, 3) == [200, 200, 200]
    refused = ada.get(URL)

    assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    assert ask(bob, 1) == [200]


def test_several_tokens_of_a_person_are_counted_together() -> None:
    ada = make_user()

    assert ask(client_of(ada), 2) + ask(client_of(ada), 2) == [200, 200, 200, 429]


def test_nobody_is_counted_by_address() -> None:
    client = APIClient()
    public = "/api/v1/consents/documents/"

    answers = [client.get(public, REMOTE_ADDR="203.0.113.77").status_code for _ in range(4)] + [
        client.get(public, REMOTE_ADDR="203.0.113.78").status_code
    ]

    assert answers == [200, 200, 200, 429, 200]


def test_a_household_is_counted_as_one_and_by_no_address_in_clear() -> None:
    client = APIClient()
    public = "/api/v1/consents/documents/"
    addresses = ("2001:db8:1:2::a", "2001:db8:1:2::b", "2001:db8:1:2:3::c", "2001:db8:1:2:4::d")

    answers = [client.get(public, REMOTE_ADDR=address).status_code for address in addresses]

    assert answers == [200, 200, 200, 429]
    assert client.get(public, REMOTE_ADDR="2001:db8:1:3::a").status_code == 200
    kept = redis_client().keys(f"{settings.REDIS_PREFIX}requests:*")
    assert kept
    assert not any("2001" in key for key in kept)


def test_without_a_limit_nobody_waits(settings: object) -> None:
    settings.API_RATE_LIMIT = 0  # type: ignore[attr-defined]

    assert ask(client_of(make_user()), 6) == [200] * 6
