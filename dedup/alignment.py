"""Which shown messages are stored ones, where messages have no ids: identity rule 3.

Messages that are equal in content and role and stand exactly once on both sides are anchors.
Between anchors equal neighbours are the same message, and what was rewritten between the same
neighbours is a revision; beyond the first and last anchor only unbroken equality counts. The
whole is believed only if nearly all of the overlap agrees. Equal content alone is never enough,
and in doubt a message is new: a spare duplicate is visible and repairable, a lost one is not.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dedup.subsequences import Pair, longest_common, longest_rising, mask_of, masks_of

LIKELY = 0.9  # of an overlap agrees
REWRITTEN = 0.6  # of an overlap agrees, where the source names the conversation
TELLING = 3  # equal neighbours that are hardly chance
OFFSETS = 3  # that are tried if all anchors together make no sense
CELLS = 100_000_000  # bits of the longest common subsequence's table: 12 MB

Token = tuple[bytes, str]
Tokens = Sequence[frozenset[Token]]


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as the archive has it: the hashes of all its revisions."""

    keys: frozenset[bytes]
    role: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as an export shows it."""

    key: bytes
    role: str


@dataclass(frozen=True, slots=True)
class Match:
    """One segment against one export. Positions rise on both sides."""

    pairs: dict[int, int]  # shown position to stored position
    revised: frozenset[int]  # shown positions in `pairs` whose content is not stored there
    equal: int
    votes: int  # anchors


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where the messages of an export belong. No segments: it begins one of its own."""

    segments: list[int]  # those that it overlaps, in its order
    messages: dict[int, tuple[int, int]]  # shown position to segment and stored position
    revised: frozenset[int]


def assign(
    segments: Sequence[Sequence[Stored]], shown: Sequence[Shown], *, certain: bool
) -> Assignment:
    """The segment with the most in common, and those that the export joins to it.

    A segment that overlaps the same part of the export as a better one is left alone, and so
    is one that does not fit the export as one piece with the better one.
    """
    found = {
        index: match
        for index, stored in enumerate(segments)
        if (match := align(stored, shown, certain=certain))
    }
    taken: list[int] = []
    whole = Match({}, frozenset(), 0, 0)
    for index in sorted(found, key=lambda index: (-found[index].equal, index)):
        if any(_overlap(found[index], found[other]) for other in taken):
            continue
        trial = sorted([*taken, index], key=lambda index: min(found[index].pairs))
        joined = [message for each in trial for message in segments[each]]
        match = align(joined, shown, certain=certain, bridge=True) if taken else found[index]
        if match and match.equal >= sum(found[each].equal for each in trial):
            taken, whole = trial, match
    places = [(index, place) for index in taken for place in range(len(segments[index]))]
    messages = {position: places[place] for position, place in whole.pairs.items()}
    return Assignment(taken, messages, whole.revised)


def _overlap(one: Match, other: Match) -> bool:
    return min(one.pairs) <= max(other.pairs) and min(other.pairs) <= max(one.pairs)


def align(
    stored: Sequence[Stored], shown: Sequence[Shown], *, certain: bool, bridge: bool = False
) -> Match | None:
    """The overlap of a segment with an export, or nothing if there may be none.

    `certain` says that the source names the conversation, so that less has to agree. What an
    export shows between the segments that it may `bridge` speaks against nothing.
    """
    old = [frozenset((key, message.role) for key in message.keys) for message in stored]
    new = [frozenset([(message.key, message.role)]) for message in shown]
    anchors = _anchors(new, old)
    for chain in _chains(anchors):
        equal = list(_equal_pairs(chain, new, old))
        score = _score(equal, len(new), len(old), bridge=bridge)
        likely = score >= LIKELY and _is_enough(equal, len(new), len(old))
        rewritten = score >= REWRITTEN and _longest_run(equal) >= TELLING
        if (likely and (certain or len(chain) > 1)) or (certain and rewritten and len(chain) > 1):
            revised = dict(_revised_pairs(equal, shown, stored))
            pairs = dict(sorted([*equal, *revised.items()]))
            return Match(pairs, frozenset(revised), len(equal), votes=len(chain))
    if certain and not anchors and (equal := _contained(new, old)):
        return Match(dict(equal), frozenset(), len(equal), votes=0)
    return None


def _score(equal: list[Pair], new_size: int, old_size: int, *, bridge: bool) -> float:
    """The equal part of the overlap, which ends where one side does."""
    (new_first, old_first), (new_last, old_last) = equal[0], equal[-1]
    span = old_last - old_first + 1
    if not bridge:
        span = max(span, new_last - new_first + 1)
    before = min(new_first, old_first)
    after = min(new_size - 1 - new_last, old_size - 1 - old_last)
    return len(equal) / (before + span + after)


def _is_enough(equal: list[Pair], new_size: int, old_size: int) -> bool:
    """Three messages; or two that are one side, or one that is both, from end to end."""
    if len(equal) == 1:
        return new_size == old_size == 1
    return len(equal) >= TELLING or len(equal) in {new_size, old_size}


def _longest_run(equal: list[Pair]) -> int:
    longest = run = 1
    for before, after in pairwise(equal):
        run = run + 1 if after == (before[0] + 1, before[1] + 1) else 1
        longest = max(longest, run)
    return longest


def _anchors(new: Tokens, old: Tokens) -> list[Pair]:
    places = _once(old)
    return [(position, places[token]) for token, position in _once(new).items() if token in places]


def _once(messages: Tokens) -> dict[Token, int]:
    counts = Counter(token for tokens in messages for token in tokens)
    return {
        token: position
        for position, tokens in enumerate(messages)
        for token in tokens
        if counts[token] == 1
    }


def _chains(anchors: list[Pair]) -> Iterator[list[Pair]]:
    """Anchors that agree with one another, the most promising first.

    Chance repeats may make a longer chain than a short overlap does: those of one offset each
    are the second choice.
    """
    if anchors:
        yield longest_rising(anchors)
    offsets = Counter(place - position for position, place in anchors)
    for offset, _ in offsets.most_common(OFFSETS):
        yield [pair for pair in anchors if pair[1] - pair[0] == offset]


def _equal_pairs(chain: list[Pair], new: Tokens, old: Tokens) -> Iterator[Pair]:
    """The chain, what is equal between its anchors, and their equal neighbours at both ends."""
    position, place = chain[0]
    for back in range(_common_start(new[:position][::-1], old[:place][::-1]), 0, -1):
        yield position - back, place - back
    for (position, place), (next_position, next_place) in pairwise(chain):
        yield position, place
        gap = _gap(new[position + 1 : next_position], old[place + 1 : next_place])
        yield from ((position + 1 + a, place + 1 + b) for a, b in gap)
    position, place = chain[-1]
    for on in range(1 + _common_start(new[position + 1 :], old[place + 1 :])):
        yield position + on, place + on


def _gap(new: Tokens, old: Tokens) -> Iterator[Pair]:
    """Equal pairs between two anchors: equal neighbours of both, and the best of what is left."""
    start = _common_start(new, old)
    new, old = new[start:], old[start:]
    end = _common_start(new[::-1], old[::-1])
    new_end, old_end = len(new) - end, len(old) - end
    yield from ((at, at) for at in range(start))
    rest = _common(new[:new_end], old[:old_end])
    yield from ((start + position, start + place) for position, place in rest)
    yield from ((start + new_end + at, start + old_end + at) for at in range(end))


def _common_start(new: Tokens, old: Tokens) -> int:
    unequal = (at for at, (a, b) in enumerate(zip(new, old, strict=False)) if a.isdisjoint(b))
    return next(unequal, min(len(new), len(old)))


def _common(new: Tokens, old: Tokens) -> list[Pair]:
    """A longest common subsequence: in linear time where all that is shown is stored.

    Of several, the one in which each stands where it stood: the rest was rewritten.
    """
    if (places := _within(new, old)) is not None:
        return list(enumerate(places))
    level = [(at, at) for at, (a, b) in enumerate(zip(new, old, strict=False)) if a & b]
    longest = longest_common(new, old) if len(new) * len(old) <= CELLS else []
    return level if len(new) == len(old) and len(level) >= len(longest) else longest


def _within(part: Tokens, whole: Tokens) -> list[int] | None:
    """Where each of `part` stands in `whole`, in order, if all do."""
    places: list[int] = []
    for place, tokens in enumerate(whole):
        if len(places) < len(part) and not part[len(places)].isdisjoint(tokens):
            places.append(place)
    return places if len(places) == len(part) else None


def _revised_pairs(
    equal: list[Pair], shown: Sequence[Shown], stored: Sequence[Stored]
) -> Iterator[Pair]:
    """What stands between the same neighbours, as many and in the same roles, is rewritten."""
    for (position, place), (next_position, next_place) in pairwise(equal):
        new, old = range(position + 1, next_position), range(place + 1, next_place)
        if [shown[at].role for at in new] == [stored[at].role for at in old]:
            yield from zip(new, old, strict=True)


def _contained(new: Tokens, old: Tokens) -> list[Pair]:
    """Pairs if one side is the start, the end, or in one place only a part of the other."""
    part, whole = (new, old) if len(new) <= len(old) else (old, new)
    if len(part) < min(2, len(whole)):
        return []
    last = len(whole) - len(part)
    masks = masks_of(whole)
    places = (1 << last + 1) - 1
    for at, tokens in enumerate(part):
        places &= mask_of(tokens, masks) >> at
    starts = [at for at in (0, last, places.bit_length() - 1) if at >= 0 and places >> at & 1]
    if not starts or (places.bit_count() > 1 and starts[0] not in {0, last}):
        return []
    pairs = [(at, starts[0] + at) for at in range(len(part))]
    return pairs if part is new else [(position, place) for place, position in pairs]
