from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dedup.alignment import Assignment, Match, Shown, Stored, align, assign
from dedup.ordering import merged_order

# Short messages that come again and again, with who says them.
REPEATED = {"continue": "user", "yes": "user", "(No content)": "tool", "Update Todos": "assistant"}
ROLES = ("assistant", "tool", "user")

History = list[Shown]
Positions = range


@dataclass(eq=False, slots=True)
class Message:
    keys: set[bytes]
    role: str


@dataclass(slots=True)
class Archive:
    """One conversation in memory. `seen` holds every export with the messages that it became."""

    certain: bool = True
    segments: list[list[Message]] = field(default_factory=list)
    seen: list[tuple[list[Shown], list[Message]]] = field(default_factory=list)

    def assignment(self, shown: Sequence[Shown]) -> Assignment:
        return assign(self.content(), shown, certain=self.certain)

    def add(self, shown: Sequence[Shown]) -> list[Message]:
        assignment = self.assignment(shown)
        became = [Message({each.key}, each.role) for each in shown]
        for position, (segment, place) in assignment.messages.items():
            became[position] = self.segments[segment][place]
            became[position].keys.add(shown[position].key)
        placed = [message for index in assignment.segments for message in self.segments[index]]
        merged = merged_order(placed, became)
        self._place(merged, assignment.segments)
        self.seen.append((list(shown), became))
        return became

    def _place(self, merged: list[Message], instead_of: list[int]) -> None:
        """The first of the merged segments grows, the others go."""
        for index in sorted(instead_of, reverse=True):
            del self.segments[index]
        if merged:
            self.segments.insert(min(instead_of, default=len(self.segments)), merged)

    def content(self) -> list[list[Stored]]:
        return [
            [Stored(frozenset(message.keys), message.role) for message in segment]
            for segment in self.segments
        ]


def texts(words: str | Iterable[str]) -> list[Shown]:
    """Messages out of words: `continue` and the like by their speakers, all else in turns."""
    words = words.split() if isinstance(words, str) else words
    return [Shown(word.encode(), REPEATED.get(word, "assistant")) for word in words]


def as_stored(shown: Sequence[Shown]) -> list[Stored]:
    return [Stored(frozenset([each.key]), each.role) for each in shown]


def aligned(stored: str, shown: str, *, certain: bool = True) -> Match | None:
    return align(as_stored(texts(stored)), texts(shown), certain=certain)


def imported(*exports: str | list[Shown], certain: bool = True) -> Archive:
    archive = Archive(certain)
    for export in exports:
        archive.add(texts(export) if isinstance(export, str) else export)
    return archive


def spoken(archive: Archive) -> list[str]:
    """Each segment as a line; revisions of a message are joined by a slash."""
    return [
        " ".join("/".join(sorted(key.decode() for key in message.keys)) for message in segment)
        for segment in archive.segments
    ]


# What is the same


def test_a_longer_export_of_a_conversation_adds_what_follows() -> None:
    match = aligned("a b c", "a b c d e")

    assert match == Match({0: 0, 1: 1, 2: 2}, frozenset(), equal=3, votes=3)


def test_three_messages_then_five_then_three_again_are_five() -> None:  # CD-106 to CD-108
    assert spoken(imported("a b c", "a b c d e", "a b c")) == ["a b c d e"]
    assert spoken(imported("a b c", "a b c d e", "a b c", certain=False)) == ["a b c d e"]


def test_an_export_up_to_index_25_after_one_up_to_index_10_adds_15() -> None:  # CD-117
    archive = imported(texts(f"m{index}" for index in range(11)))

    match = archive.assignment(texts(f"m{index}" for index in range(26)))

    assert len(match.messages) == 11
    assert not match.revised


def test_two_conversations_with_equal_text_remain_separate() -> None:  # CD-115
    one = imported("yes hello continue")
    other = imported("yes hello continue")

    assert spoken(one) == spoken(other) == ["yes hello continue"]
    assert assign([], texts("yes hello continue"), certain=True) == Assignment([], {}, frozenset())


def test_an_empty_export_and_an_empty_archive_have_nothing_in_common() -> None:
    assert assign([], [], certain=True).messages == {}
    assert assign([as_stored(texts("a b"))], [], certain=True).segments == []
    assert assign([[]], texts("a b"), certain=True).segments == []


def test_a_message_that_comes_again_is_kept_each_time() -> None:
    archive = imported("a continue b continue", "a continue b continue c continue continue")

    assert spoken(archive) == ["a continue b continue c continue continue"]


def test_equal_content_in_another_role_is_another_message() -> None:
    stored = [Stored(frozenset([b"a"]), "user"), *as_stored(texts("b c d"))]

    match = align(stored, texts("a b c d"), certain=True)

    assert match
    assert match.pairs == {1: 1, 2: 2, 3: 3}


def test_a_message_is_known_by_each_of_its_revisions() -> None:
    archive = imported("a b c d e f", "a b C d e f", "a b c d e f", "a b C d e f g")

    assert spoken(archive) == ["a b C/c d e f g"]


def test_a_shorter_export_removes_nothing() -> None:
    archive = imported("a b c d e f", "a b c", "d e f", "c d e")

    assert spoken(archive) == ["a b c d e f"]


def test_messages_that_an_export_leaves_out_stay() -> None:
    match = aligned("a b continue c continue d e f g h i", "a b continue c d e f g h i")

    assert match
    assert list(match.pairs.values()) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]


def test_messages_between_known_ones_are_put_between_them() -> None:
    archive = imported("a b c d e f g h i j", "a b c d e x f g h i j")

    assert spoken(archive) == ["a b c d e x f g h i j"]


def test_a_moved_message_is_kept_in_both_places() -> None:
    archive = imported("a b c d e f g h i j k l", "a b c d f g h i j k e l")

    assert spoken(archive) == ["a b c d e f g h i j k e l"]


def test_a_short_overlap_wins_over_more_chance_repeats_that_contradict_it() -> None:
    archive = imported("(1) (2) (3) a b c d e f g X 1 Y", "X 1 Y h (1) i (2) j (3)")

    assert spoken(archive) == ["(1) (2) (3) a b c d e f g X 1 Y h (1) i (2) j (3)"]


# What was rewritten


def test_a_rewritten_message_between_known_ones_is_a_revision() -> None:
    match = aligned("a b c d e f", "a b c X e f g")

    assert match == Match({at: at for at in range(6)}, frozenset([3]), equal=5, votes=5)


def test_two_equal_neighbours_are_too_few_beside_a_rewritten_one() -> None:
    assert aligned("a b c d e", "a b X d e") is None


def test_rewriting_a_fifth_needs_a_source_that_names_the_conversation() -> None:
    assert aligned("a b c d e f g h", "a X c d e Y g h", certain=False) is None
    match = aligned("a b c d e f g h", "a X c d e Y g h")

    assert match
    assert match.revised == {1, 5}


def test_a_repeat_among_rewritten_messages_stays_where_it_stood() -> None:
    before, after = "a b c d e f g h i j", "k l m n o p q r s t"

    match = aligned(f"{before} u u v {after}", f"{before} X u Y {after}")

    assert match
    assert match.pairs == {at: at for at in range(23)}
    assert match.revised == {10, 12}


def test_a_rewritten_message_in_another_role_is_a_message_of_its_own() -> None:
    archive = imported("a b c d e f yes g h i j", "a b c d e f X g h i j", certain=False)

    assert spoken(archive) == ["a b c d e f X yes g h i j"]


def test_two_messages_in_the_place_of_one_are_messages_of_their_own() -> None:
    match = aligned("a b c d e f g", "a b c X Y e f g")

    assert match
    assert not match.revised
    assert 3 not in match.pairs
    assert 4 not in match.pairs


def test_another_ending_is_kept_beside_the_stored_one() -> None:
    archive = imported("a b c d e f g h i j", "a b c d e f g h i X")

    assert spoken(archive) == ["a b c d e f g h i X j"]


def test_another_beginning_is_kept_beside_the_stored_one() -> None:
    archive = imported("a b c d e f g h i j", "X b c d e f g h i j")

    assert spoken(archive) == ["a X b c d e f g h i j"]


# What is uncertain


def test_windows_that_share_short_messages_and_a_long_one_are_two_segments() -> None:
    one = "a continue b yes c long continue d e f"
    other = "g continue h long i continue j yes k l"

    assert aligned(one, other) is None
    assert aligned(one, other, certain=False) is None


def test_an_end_that_begins_the_next_window_by_chance_is_no_overlap() -> None:
    assert spoken(imported("a b c yes continue", "yes continue d e f")) == [
        "a b c yes continue",
        "yes continue d e f",
    ]


def test_ends_or_beginnings_that_differ_by_half_are_no_overlap() -> None:
    assert aligned("a b c 1 2 3", "a b c 4 5 6") is None
    assert aligned("1 2 3 a b c", "4 5 6 a b c") is None


def test_another_ending_after_one_message_of_its_own_is_no_overlap() -> None:
    assert aligned("yes yes a yes yes 1", "yes yes a yes yes 2") is None


def test_an_overlap_without_a_message_of_its_own_is_no_overlap() -> None:
    stored = "a yes yes continue yes continue yes"

    assert aligned(stored, "continue yes continue yes b") is None


@pytest.mark.parametrize("shown", ["yes yes", "continue continue", "yes yes continue continue yes"])
def test_a_part_without_a_message_of_its_own_is_known_in_one_place_only(shown: str) -> None:
    stored = "yes yes continue continue yes yes yes continue continue"

    assert aligned(stored, shown)
    assert aligned(shown, stored)
    assert aligned(stored, shown, certain=False) is None
    assert aligned(f"a {stored} b", "yes yes") is None


def test_one_message_is_known_only_if_it_is_all_there_is() -> None:
    assert aligned("yes", "yes")
    assert aligned("yes", "yes", certain=False) is None
    assert aligned("yes", "a yes b") is None
    assert aligned("yes", "yes a b") is None
    assert aligned("a yes b", "yes") is None


def test_where_only_a_file_name_is_known_one_common_message_is_too_little() -> None:
    assert aligned("continue a continue yes yes", "continue a continue yes yes b")
    assert aligned(
        "continue a continue yes yes", "continue a continue yes yes b", certain=False
    ) is (None)


# Several segments


def test_a_bridging_export_joins_two_segments_in_its_order() -> None:
    archive = imported("h i j k", "a b c d", "b c d e f g h i j")

    assert spoken(archive) == ["a b c d e f g h i j k"]


def test_a_bridge_on_two_messages_of_each_side_is_a_segment_of_its_own() -> None:
    archive = imported("h i j k", "a b c d", "c d e f g h i")

    assert spoken(archive) == ["h i j k", "a b c d", "c d e f g h i"]


def test_a_bridge_leads_over_an_end_that_it_contradicts_a_little() -> None:
    archive = imported("a b c d e f g h i j X", "m n o p", "a b c d e f g h i j k l m n o p")

    assert spoken(archive) == ["a b c d e f g h i j k l X m n o p"]


def test_an_end_with_much_that_a_bridge_leaves_out_is_joined_to_nothing() -> None:
    start, end = [f"s{at}" for at in range(30)], [f"e{at}" for at in range(3)]
    archive = imported(texts([*start, *(f"x{at}" for at in range(30))]), texts(end))

    assert archive.assignment(texts(start + end)).segments == [0]


def test_a_segment_that_overlaps_the_same_part_as_a_better_one_is_left_alone() -> None:
    segments = [as_stored(texts(each)) for each in ("b c d", "a b c d e", "a b c d e")]

    found = assign(segments, texts("a b c d e f"), certain=True)

    assert found.segments == [1]
    assert found.messages == {position: (1, position) for position in range(5)}


# Whatever is shown, nothing is lost


def words(*, most: int) -> st.SearchStrategy[list[Shown]]:
    return st.lists(st.sampled_from([*REPEATED, *"abcdef"]), max_size=most).map(texts)


@given(st.lists(words(most=14), max_size=6), st.booleans())
def test_every_message_of_every_export_is_there_in_its_order(
    exports: list[list[Shown]],
    certain: bool,  # noqa: FBT001 (drawn)
) -> None:
    archive = imported(*exports, certain=certain)

    for shown, became in archive.seen:
        for each, message in zip(shown, became, strict=True):
            assert each.key in message.keys
            assert each.role == message.role
        homes = [segment for segment in archive.segments if set(became) & set(segment)]
        places = [homes[0].index(message) for message in became]
        assert len(homes) == min(1, len(shown))
        assert places == sorted(set(places))


@given(st.lists(words(most=14), min_size=1, max_size=6), st.booleans())
def test_an_export_that_is_shown_again_at_once_changes_nothing(
    exports: list[list[Shown]],
    certain: bool,  # noqa: FBT001 (drawn)
) -> None:
    shown = exports[-1]
    # Where only a file name is known, text that has hardly anything of its own is kept again.
    assume(certain or list(Counter(shown).values()).count(1) > 1)
    archive = imported(*exports, certain=certain)
    before = archive.content()

    archive.add(shown)

    assert archive.content() == before


@given(words(most=14), words(most=14), st.booleans())
def test_a_match_rises_on_both_sides_and_says_what_differs(
    old: list[Shown],
    new: list[Shown],
    certain: bool,  # noqa: FBT001 (drawn)
) -> None:
    match = align(as_stored(old), new, certain=certain)

    if match:
        assert all(a < b and c < d for (a, c), (b, d) in pairwise(match.pairs.items()))
        assert all(new[at].role == old[place].role for at, place in match.pairs.items())
        assert match.revised == {at for at, place in match.pairs.items() if new[at] != old[place]}
        assert match.equal == len(match.pairs) - len(match.revised) > 0


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_between_anchors_as_many_as_possible_are_equal(old: list[str], new: list[str]) -> None:
    before, after = [f"<{at}" for at in range(40)], [*"abcabc", *(f"{at}>" for at in range(40))]

    match = align(
        as_stored(texts([*before, *old, *after])), texts([*before, *new, *after]), certain=True
    )

    assert match
    assert match.equal == 86 + longest_common(old, new)


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """The textbook's table."""
    row = [0] * (len(other) + 1)
    for a in one:
        above = row
        row = [0]
        for at, b in enumerate(other):
            row.append(above[at] + 1 if a == b else max(above[at + 1], row[at]))
    return row[-1]


# Exports of one true history


@st.composite
def histories(draw: st.DrawFn, least: int = 12) -> list[Shown]:
    """Up to two thirds repeats; of any three successive messages one at least occurs once."""
    drawn = draw(st.lists(st.sampled_from([*REPEATED, *[""] * 4]), min_size=least, max_size=60))
    spoken: list[str] = []
    for at, word in enumerate(drawn):
        chance = word in REPEATED and any(each not in REPEATED for each in (["", *spoken])[-2:])
        spoken.append(word if chance else f"#{at}")
    return texts(spoken)


def own(history: History, part: Positions) -> int:
    """How many messages of a part occur once in the whole history."""
    counts = Counter(history)
    return sum(counts[history[at]] == 1 for at in part)


def overlaps_for_certain(history: History, one: Positions, other: Positions) -> bool:
    """Four messages or more in common, of which two or more occur once in the history."""
    common = range(max(one.start, other.start), min(one.stop, other.stop))
    return len(common) >= 4 and own(history, common) >= 2


def shown_in(history: History, parts: Iterable[Positions]) -> list[list[Shown]]:
    return [history[part.start : part.stop] for part in parts]


@given(st.data(), st.booleans())
def test_growing_exports_in_any_order_are_the_history(data: st.DataObject, certain: bool) -> None:  # noqa: FBT001 (drawn)
    history = data.draw(histories())
    ends = data.draw(st.lists(st.integers(4, len(history)), min_size=1, max_size=6))
    parts = [range(end) for end in ends]
    assume(all(overlaps_for_certain(history, part, part) for part in parts))

    archive = imported(*shown_in(history, parts), certain=certain)

    assert archive.content() == [as_stored(history[: max(ends)])]


@st.composite
def windows(draw: st.DrawFn, history: History) -> list[Positions]:
    """Parts of a history, each of which overlaps the next for certain and no other one."""
    parts = [range(draw(st.integers(6, 12)))]
    while parts[-1].stop < len(history):
        least = parts[-2].stop if len(parts) > 1 else 0
        common = draw(st.sampled_from([4, 6, 6, 6]))  # six hold two that occur once
        start = draw(st.integers(least, parts[-1].stop - common))
        stop = parts[-1].stop + draw(st.integers(6, 12))
        parts.append(range(start, min(stop, len(history))))
    assume(all(overlaps_for_certain(history, one, other) for one, other in pairwise(parts)))
    return parts


@given(st.data(), st.booleans())
def test_windows_in_any_order_are_the_history(data: st.DataObject, certain: bool) -> None:  # noqa: FBT001 (drawn)
    history = data.draw(histories())
    parts = data.draw(st.permutations(data.draw(windows(history))))

    archive = imported(*shown_in(history, parts), certain=certain)

    assert archive.content() == [as_stored(history)]


@given(st.data(), st.booleans())
def test_a_part_that_starts_in_the_middle_waits_for_a_bridge(
    data: st.DataObject,
    certain: bool,  # noqa: FBT001 (drawn)
) -> None:
    history = data.draw(histories())
    stop = data.draw(st.integers(4, len(history) - 4))
    start = data.draw(st.integers(stop, len(history) - 4))
    first, second = range(stop), range(start, len(history))
    begin, end = st.integers(0, stop - 4), st.integers(start + 4, len(history))
    bridge = range(data.draw(begin), data.draw(end))
    assume(overlaps_for_certain(history, first, bridge))
    assume(overlaps_for_certain(history, second, bridge))
    parts = data.draw(st.permutations([first, second]))

    archive = imported(*shown_in(history, parts), certain=certain)
    assert archive.content() == [as_stored(part) for part in shown_in(history, parts)]

    archive.add(history[bridge.start : bridge.stop])
    assert archive.content() == [as_stored(history)]


@given(st.data(), st.booleans())
def test_the_whole_after_any_part_of_it_is_the_whole(data: st.DataObject, certain: bool) -> None:  # noqa: FBT001 (drawn)
    history = data.draw(histories())
    start = data.draw(st.integers(0, len(history) - 4))
    part = range(start, data.draw(st.integers(start + 4, len(history))))
    assume(own(history, part) >= 2)
    exports = data.draw(st.permutations([history, *shown_in(history, [part])]))

    archive = imported(*exports, certain=certain)

    assert archive.content() == [as_stored(history)]


@given(st.data(), st.booleans())
def test_what_is_rewritten_between_messages_of_its_own_is_a_revision(
    data: st.DataObject,
    certain: bool,  # noqa: FBT001 (drawn)
) -> None:
    """Less than a tenth of the overlap, each between two messages that occur once in it."""
    history = data.draw(histories(least=24))
    start = data.draw(st.integers(0, len(history) - 22))
    stop = data.draw(st.integers(start + 22, len(history)))
    edits = data.draw(st.sets(st.integers(start, stop - 1), max_size=(stop - start) // 11))
    assume(all(own(history, range(start, at)) >= 1 + len(edits) for at in edits))
    assume(all(own(history, range(at + 1, stop)) >= 1 + len(edits) for at in edits))
    later = [
        Shown(b"edit of " + each.key, each.role) if at in edits else each
        for at, each in enumerate(history)
    ]

    archive = imported(history[:stop], later[start:], history, later, certain=certain)

    assert archive.content() == [
        [
            Stored(frozenset({each.key, edited.key}), each.role)
            for each, edited in zip(history, later, strict=True)
        ]
    ]


@given(st.data(), st.booleans())
def test_an_export_with_holes_changes_nothing(data: st.DataObject, certain: bool) -> None:  # noqa: FBT001 (drawn)
    """Less than a tenth is left out, between the first and last message that occur once."""
    history = data.draw(histories(least=24))
    counts = Counter(history)
    alone = [at for at, each in enumerate(history) if counts[each] == 1]
    inner = range(alone[1], alone[-2] + 1)
    holes = data.draw(st.sets(st.sampled_from(inner), max_size=len(history) // 11))
    archive = imported(history, certain=certain)

    archive.add([each for at, each in enumerate(history) if at not in holes])

    assert archive.content() == [as_stored(history)]


@given(st.data(), st.booleans())
def test_where_overlaps_are_uncertain_there_are_duplicates_at_worst(
    data: st.DataObject,
    certain: bool,  # noqa: FBT001 (drawn)
) -> None:
    """Parts of three messages or more, of whatever overlap: none of their messages is missing."""
    history = data.draw(histories())
    archive = Archive(certain)
    seen: set[int] = set()
    for _ in range(data.draw(st.integers(2, 6))):
        start = data.draw(st.integers(0, len(history) - 3))
        part = range(start, data.draw(st.integers(start + 3, min(start + 20, len(history)))))
        archive.add(history[part.start : part.stop])
        seen.update(part)

    kept = Counter(message for segment in archive.content() for message in segment)
    assert kept >= Counter(as_stored([history[at] for at in seen]))
    for segment in archive.content():
        assert segment in parts_of(as_stored(history), len(segment))


def parts_of(history: list[Stored], size: int) -> list[list[Stored]]:
    return [history[start : start + size] for start in range(len(history) - size + 1)]


@given(st.data(), st.booleans())
def test_a_moved_message_adds_at_most_what_it_passed(data: st.DataObject, certain: bool) -> None:  # noqa: FBT001 (drawn)
    history = data.draw(histories(least=24))
    inner = range(6, len(history) - 6)
    moved = data.draw(st.sampled_from(inner))
    to = data.draw(st.sampled_from(inner))
    assume(own(history, range(6)) > 1 and own(history, range(len(history) - 6, len(history))) > 1)
    shown = [each for at, each in enumerate(history) if at != moved]
    shown.insert(to, history[moved])
    archive = imported(history, certain=certain)

    archive.add(shown)

    assert len(archive.segments) == 1
    assert len(history) <= len(archive.segments[0]) <= len(history) + max(1, abs(to - moved))
    kept = [message for message in archive.segments[0] if message in archive.seen[0][1]]
    assert kept == archive.seen[0][1]
