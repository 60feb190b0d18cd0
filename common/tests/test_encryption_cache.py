"""Opened keys in memory: few, for a short time, and none that was forgotten."""

import threading
import time
from uuid import UUID

import pytest
from pytest_django import Settings

from common.encryption.cache import NEWEST, KeyCache
from common.encryption.envelope import DataKey

ADA, BOB = UUID(int=1), UUID(int=2)
KEY = DataKey(1, bytes(32))


@pytest.fixture
def cache(settings: Settings) -> KeyCache:
    settings.ENCRYPTION_CACHE_SECONDS = 300
    settings.ENCRYPTION_CACHE_ENTRIES = 3
    return KeyCache()


def test_a_key_is_found_until_its_time_is_over(
    cache: KeyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    cache.keep([(ADA, "profile", 1), (ADA, "profile", NEWEST)], KEY, 0)

    now = 1299.9
    assert cache.find((ADA, "profile", 1)) is KEY
    assert cache.find((ADA, "profile", NEWEST)) is KEY
    now = 1300.0
    # That it was used does not prolong it.
    assert cache.find((ADA, "profile", 1)) is None
    assert len(cache) == 1


def test_the_oldest_goes_first(cache: KeyCache) -> None:
    for version in (1, 2, 3, 1, 4):
        cache.keep([(ADA, "profile", version)], KEY, 0)

    assert len(cache) == 3
    assert cache.find((ADA, "profile", 2)) is None
    assert cache.find((ADA, "profile", 1)) is KEY


def test_without_a_time_nothing_is_found(cache: KeyCache, settings: Settings) -> None:
    settings.ENCRYPTION_CACHE_SECONDS = 0
    cache.keep([(ADA, "profile", 1)], KEY, 0)

    assert cache.find((ADA, "profile", 1)) is None


def test_one_persons_keys_are_forgotten(cache: KeyCache) -> None:
    cache.keep([(ADA, "profile", 1), (ADA, "mail", 1), (BOB, "profile", 1)], KEY, 0)

    cache.forget(ADA)

    assert len(cache) == 1
    assert cache.find((BOB, "profile", 1)) is KEY


def test_what_was_read_before_keys_were_forgotten_is_not_kept(cache: KeyCache) -> None:
    began = cache.generation

    cache.forget(BOB)
    cache.keep([(ADA, "profile", 1)], KEY, began)

    assert len(cache) == 0


def test_threads_do_not_break_it(cache: KeyCache) -> None:
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for turn in range(2000):
                slot = (UUID(int=turn % 7), "profile", number % 3)
                cache.keep([slot], KEY, cache.generation)
                cache.find(slot)
                if turn % 50 == 0:
                    cache.forget(slot[0])
        except Exception as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(cache) <= 3
