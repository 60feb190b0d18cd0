"""What JSON may hold that jsonb, or a text of the database, cannot."""

from math import isfinite
from typing import Any

UNSTORABLE = "It holds a character or a number that cannot be kept."


def fault_of(value: Any, *, deepest: int | None = None) -> str:
    """Why the database cannot keep the value, names of members included, or "".

    It refuses NUL, halves of surrogate pairs and numbers beyond all bounds. `deepest` is how far
    lists and objects may be nested.
    """
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        if deepest is not None and depth > deepest:
            return f"It is nested more than {deepest} deep."
        if not _is_storable(part):
            return UNSTORABLE
        if isinstance(part, dict):
            waiting += [(inner, depth + 1) for pair in part.items() for inner in pair]
        elif isinstance(part, list):
            waiting += [(inner, depth + 1) for inner in part]
    return ""


def _is_storable(leaf: Any) -> bool:
    if isinstance(leaf, float):
        return isfinite(leaf)
    if isinstance(leaf, str):
        return "\0" not in leaf and not any("\ud800" <= sign <= "\udfff" for sign in leaf)
    return True
