"""Idempotency-Key: a write that a client repeats is carried out once and answered alike.

The rows belong to accounts, which registers its store in `ready()`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from common.errors import (
    IdempotencyInFlightError,
    IdempotencyKeyReusedError,
    InvalidInputError,
)
from common.locks import try_lock
from common.tenancy import acting_as

LONGEST_KEY = 255


@dataclass(frozen=True)
class Answer:
    """What was answered to a write: HTTP status, JSON body, and where the result is found."""

    status: int
    body: Any
    location: str = ""


@dataclass(frozen=True)
class StoredAnswer:
    fingerprint: str
    answer: Answer


class Store(Protocol):
    """Where answers are kept, as the acting person, in the open transaction."""

    def find(self, key: str) -> StoredAnswer | None: ...

    def save(self, user_id: UUID, key: str, stored: StoredAnswer) -> None: ...


_stores: list[Store] = []


def register_store(store: Store) -> None:
    _stores[:] = [store]


def answer_once(
    *, user_id: UUID, key: str, fingerprint: str, action: Callable[[], Answer]
) -> tuple[Answer, bool]:
    """The answer of `action`, or the stored one and True if this key was answered before.

    Without a key the action just runs. Raises IdempotencyInFlightError while another request
    with the key runs, and IdempotencyKeyReusedError if the key belongs to a different request
    (another `fingerprint`). If the action raises, nothing is stored.
    """
    if not key:
        return action(), False
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise InvalidInputError(
            f"An Idempotency-Key has at most {LONGEST_KEY} printable characters."
        )
    (store,) = _stores
    with acting_as(user_id):
        if not try_lock(f"idempotency:{user_id}:{key}"):
            raise IdempotencyInFlightError("Wait for the first request to end, then repeat it.")
        if stored := store.find(key):
            if stored.fingerprint != fingerprint:
                raise IdempotencyKeyReusedError("Choose a new key for a new request.")
            return stored.answer, True
        answer = action()
        store.save(user_id, key, StoredAnswer(fingerprint, answer))
        return answer, False


def fingerprint_of(*parts: str) -> str:
    """A digest that is equal for equal requests: method, path and the meaning of the body."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()
