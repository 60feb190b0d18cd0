"""Plain data keys in the memory of one process: few, for a short time."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

from django.conf import settings

from common.encryption.envelope import DataKey

# Whose key, what for, and its version; NEWEST is the one to seal with.
Slot = tuple[UUID, str, int]
NEWEST = 0


class KeyCache:
    """At most ENCRYPTION_CACHE_ENTRIES keys, each for ENCRYPTION_CACHE_SECONDS at most.

    Its `generation` changes when keys are forgotten. What was begun in an earlier one is not
    kept: a key may have been destroyed between its reading and its keeping.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[Slot, tuple[float, DataKey]] = OrderedDict()
        self._lock = threading.Lock()
        self.generation = 0

    def find(self, slot: Slot) -> DataKey | None:
        with self._lock:
            entry = self._entries.get(slot)
            if entry is None:
                return None
            kept_at, key = entry
            if time.monotonic() - kept_at >= settings.ENCRYPTION_CACHE_SECONDS:
                del self._entries[slot]
                return None
            return key

    def keep(self, slots: Iterable[Slot], key: DataKey, generation: int) -> None:
        kept_at = time.monotonic()
        with self._lock:
            if generation != self.generation:
                return
            for slot in slots:
                self._entries.pop(slot, None)
                self._entries[slot] = (kept_at, key)
            while len(self._entries) > settings.ENCRYPTION_CACHE_ENTRIES:
                self._entries.popitem(last=False)

    def forget(self, user_id: UUID) -> None:
        with self._lock:
            self.generation += 1
            for slot in [slot for slot in self._entries if slot[0] == user_id]:
                del self._entries[slot]

    def clear(self) -> None:
        with self._lock:
            self.generation += 1
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
