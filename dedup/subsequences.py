"""The longest rising part of a sequence, and the longest common part of two."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

Token = TypeVar("Token")
Pair = tuple[int, int]


def longest_rising(pairs: list[Pair]) -> list[Pair]:
    """The longest part of the pairs, sorted by the first, in which the second rises, too.

    Patience sorting. Needs at least one pair.
    """
    lows: list[int] = []  # the lowest end of a rising part, by length
    ends: list[int] = []  # its index
    before: list[int | None] = []
    for index, (_, place) in enumerate(pairs):
        length = bisect_left(lows, place)
        lows[length : length + 1] = [place]
        ends[length : length + 1] = [index]
        before.append(ends[length - 1] if length else None)
    rising = []
    at: int | None = ends[-1]
    while at is not None:
        rising.append(pairs[at])
        at = before[at]
    return rising[::-1]


def longest_common(new: Sequence[frozenset[Token]], old: Sequence[frozenset[Token]]) -> list[Pair]:
    """Positions in both of a longest sequence of elements that have a token in common.

    Bit-parallel: a row for each of `new`, a bit for each of `old`, unset where it adds one.
    Hyyrö, "Bit-parallel LCS-length computation revisited", 2004.
    """
    masks = masks_of(old)
    row = full = (1 << len(old)) - 1
    rows = []
    for tokens in new:
        added = row & mask_of(tokens, masks)
        row = ((row + added) | (row - added)) & full
        rows.append(row)
    pairs = []
    position, place = len(new) - 1, len(old) - 1
    while position >= 0 and place >= 0:
        if rows[position] >> place & 1:
            place -= 1
        elif position and not rows[position - 1] >> place & 1:
            position -= 1
        else:
            pairs.append((position, place))
            position, place = position - 1, place - 1
    return pairs[::-1]


def masks_of(messages: Sequence[frozenset[Token]]) -> dict[Token, int]:
    """Each token's positions as the bits of a number."""
    masks: Counter[Token] = Counter()
    for position, tokens in enumerate(messages):
        for token in tokens:
            masks[token] |= 1 << position
    return masks


def mask_of(tokens: Iterable[Token], masks: dict[Token, int]) -> int:
    mask = 0
    for token in tokens:
        mask |= masks.get(token, 0)
    return mask
