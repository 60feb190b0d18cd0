"""Nonces for ID tokens: forgotten after minutes, and kept as digests."""

import pytest
from django.conf import settings

from accounts.identity.social import NONCE_SECONDS, issue_nonce, use_nonce
from accounts.tests.phones import Phone
from common.health import redis_client

PATTERN = f"{settings.REDIS_PREFIX}nonce:*"


@pytest.fixture(autouse=True)
def forgotten() -> None:
    for key in redis_client().scan_iter(PATTERN):
        redis_client().delete(key)


@pytest.mark.django_db(transaction=True)
def test_a_nonce_is_kept_for_ten_minutes_and_not_in_the_clear() -> None:
    nonce = Phone().call("post", "/api/v1/auth/nonce/").json()["nonce"]

    (key,) = redis_client().scan_iter(PATTERN)

    assert NONCE_SECONDS == 600
    assert NONCE_SECONDS - 60 <= redis_client().ttl(key) <= NONCE_SECONDS
    assert nonce not in f"{key!r} {redis_client().get(key)!r}"


def test_after_its_time_a_nonce_is_none() -> None:
    late, in_time = issue_nonce(), issue_nonce()
    for key in redis_client().scan_iter(PATTERN):
        # As if all but a moment of its time were over.
        redis_client().expire(key, redis_client().ttl(key) - NONCE_SECONDS)
    another = issue_nonce()

    assert [use_nonce(one) for one in (late, in_time, another)] == [False, False, True]
    assert not use_nonce(another)


def test_nothing_is_left_of_one_that_was_used() -> None:
    nonce = issue_nonce()

    assert use_nonce(nonce)

    assert list(redis_client().scan_iter(PATTERN)) == []
