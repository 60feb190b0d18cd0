"""Forced races: everybody waits at a barrier, and then all begin at once."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

T = TypeVar("T")

PATIENCE_SECONDS = 60


def at_once(actions: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """What each action returned or raised; each ran in a thread and connections of its own."""
    barrier = threading.Barrier(len(actions), timeout=PATIENCE_SECONDS)

    def run(action: Callable[[], T]) -> T | Exception:
        barrier.wait()
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))
