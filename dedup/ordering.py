"""One order of messages out of two: what is placed, and what a file shows."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def merged_order(placed: Sequence[Key], shown: Sequence[Key]) -> list[Key]:
    """`placed` in its order, with what only `shown` has put in beside its neighbours.

    Each new key follows the key before it in `shown`; new keys before the first common one
    precede that one. Without a common key they follow everything. Keys of `shown` are unique.
    """
    known = set(placed)
    following: dict[Key | None, list[Key]] = {}
    anchor: Key | None = None
    for key in shown:
        if key in known:
            anchor = key
        else:
            following.setdefault(anchor, []).append(key)
    first_common = next((key for key in shown if key in known), None)
    leading = following.pop(None, [])
    order: list[Key] = []
    for key in placed:
        if key == first_common:
            order += leading
        order.append(key)
        order += following.get(key, [])
    return order if first_common is not None else order + leading
