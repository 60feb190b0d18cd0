"""The data keys of persons: one for each purpose, made on first use, wrapped where it is kept.

The rows belong to accounts, which registers its store in `ready()`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from django.db import connections, transaction

from common.encryption.cache import NEWEST, KeyCache, Slot
from common.encryption.envelope import DataKey
from common.encryption.errors import DecryptionError, DestroyedKeyError
from common.encryption.providers import Context, active_provider, provider_named
from common.encryption.purposes import Purpose
from common.tenancy import current_alias

FIRST_VERSION = 1


@dataclass(frozen=True)
class WrappedKey:
    """A data key as it is kept; without bytes once it is destroyed.

    `settled` is True if it cannot be undone by a rollback of the transaction that reads it.
    """

    version: int
    provider: str
    key_id: str
    wrapped: bytes | None = field(repr=False)
    settled: bool


class Store(Protocol):
    """Where wrapped keys are kept; it works through the connection of the running code."""

    def newest(self, user_id: UUID, purpose: Purpose) -> WrappedKey | None: ...

    def find(self, user_id: UUID, purpose: Purpose, version: int) -> WrappedKey | None: ...

    def add(
        self,
        user_id: UUID,
        purpose: Purpose,
        *,
        version: int,
        provider: str,
        key_id: str,
        wrapped: bytes,
    ) -> None:
        """Afterwards there is a key of that version: this one, or the one of whoever was first."""

    def one_of_each(self) -> Sequence[tuple[WrappedKey, Context]]:
        """For each key that wraps anything one of those that it wraps, with its context."""

    def proof_of(self, name: str, proof: str) -> str:
        """The proof kept for the key of the house of that name: this one if there was none."""


_stores: list[Store] = []
cache = KeyCache()


def register_store(store: Store) -> None:
    _stores[:] = [store]


def registered_store() -> Store:
    (store,) = _stores
    return store


def context_of(user_id: UUID, purpose: str) -> dict[str, str]:
    """What a wrapped key is bound to."""
    return {"userId": str(user_id), "purpose": str(purpose)}


def key_to_seal_with(user_id: UUID, purpose: Purpose) -> DataKey:
    """The person's newest key for the purpose, made if there is none.

    Raises DestroyedKeyError: nothing more is sealed for somebody who was erased.
    """
    slot = (user_id, purpose.value, NEWEST)
    if known := _known(slot):
        return known
    store, generation = registered_store(), cache.generation
    if row := store.newest(user_id, purpose):
        key = _unwrapped(row, user_id, purpose)
    else:
        row, key = _made(store, user_id, purpose)
    _remember([slot, (user_id, purpose.value, row.version)], key, row, generation)
    return key


def key_to_open_with(user_id: UUID, purpose: Purpose, version: int) -> DataKey:
    """The person's key of that version. Raises DecryptionError if there never was one."""
    if version < FIRST_VERSION:
        raise DecryptionError
    slot = (user_id, purpose.value, version)
    if known := _known(slot):
        return known
    store, generation = registered_store(), cache.generation
    row = store.find(user_id, purpose, version)
    if row is None:
        raise DecryptionError
    key = _unwrapped(row, user_id, purpose)
    _remember([slot], key, row, generation)
    return key


def forget_keys(user_id: UUID) -> None:
    """This process holds no key of the person's any more; others do until theirs expire."""
    cache.forget(user_id)
    # Until the destruction is committed, another thread may read the key once more.
    transaction.on_commit(lambda: cache.forget(user_id), using=current_alias())


def _made(store: Store, user_id: UUID, purpose: Purpose) -> tuple[WrappedKey, DataKey]:
    """The first key, plain as well: it is not opened again if nobody else was first."""
    provider = active_provider()
    plain, key_id, wrapped = provider.generate(context_of(user_id, purpose))
    store.add(
        user_id,
        purpose,
        version=FIRST_VERSION,
        provider=provider.name,
        key_id=key_id,
        wrapped=wrapped,
    )
    row = store.newest(user_id, purpose)
    if row is None:
        raise LookupError("A data key is gone that was there a moment ago.")
    if row.wrapped == wrapped:
        return row, DataKey(row.version, plain)
    return row, _unwrapped(row, user_id, purpose)


def _unwrapped(row: WrappedKey, user_id: UUID, purpose: Purpose) -> DataKey:
    if row.wrapped is None:
        raise DestroyedKeyError
    context = context_of(user_id, purpose)
    return DataKey(
        row.version, provider_named(row.provider).unwrap(row.key_id, row.wrapped, context)
    )


@dataclass(frozen=True)
class _AfterCommit:
    """Puts a key into the cache when the transaction that can see it has ended well."""

    slots: Sequence[Slot]
    key: DataKey
    generation: int

    def __call__(self) -> None:
        cache.keep(self.slots, self.key, self.generation)


def _remember(slots: Sequence[Slot], key: DataKey, row: WrappedKey, generation: int) -> None:
    """Keep the key; one that a rollback may undo is kept only once it no longer can.

    What is sealed with a key that was never committed, nobody could ever open.
    """
    keep = _AfterCommit(slots, key, generation)
    if row.settled:
        keep()
    else:
        transaction.on_commit(keep, using=current_alias())


def _known(slot: Slot) -> DataKey | None:
    return cache.find(slot) or _of_this_transaction(slot)


def _of_this_transaction(slot: Slot) -> DataKey | None:
    """A key that waits for the commit. A rollback to a savepoint takes the waiting ones away."""
    for entry in reversed(connections[current_alias()].run_on_commit):
        action = entry[1]
        if isinstance(action, _AfterCommit) and slot in action.slots:
            return action.key if action.generation == cache.generation else None
    return None
