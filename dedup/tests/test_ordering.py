from hypothesis import given
from hypothesis import strategies as st

from dedup.ordering import merged_order

KEYS = st.integers(0, 30)
ORDERS = st.lists(KEYS, unique=True, max_size=20)


def test_what_follows_is_put_at_the_end() -> None:
    assert merged_order("abc", "abcde") == list("abcde")


def test_what_was_missing_is_put_between_its_neighbours() -> None:
    assert merged_order("ade", "abcd") == list("abcde")


def test_what_comes_before_the_first_common_one_is_put_before_it() -> None:
    assert merged_order("ade", "bcd") == list("abcde")


def test_what_has_nothing_in_common_follows() -> None:
    assert merged_order("ab", "cd") == list("abcd")
    assert merged_order("", "ab") == list("ab")


def test_a_reordered_file_moves_nothing_that_is_placed() -> None:
    assert merged_order("abcd", "dcba") == list("abcd")
    assert merged_order("abcd", "dxcba") == list("abcdx")


def test_two_continuations_of_one_message_are_both_kept() -> None:
    assert merged_order("abx", "aby") == list("abyx")


@given(ORDERS, ORDERS)
def test_the_result_holds_every_key_once(placed: list[int], shown: list[int]) -> None:
    order = merged_order(placed, shown)

    assert len(order) == len(set(order))
    assert set(order) == {*placed, *shown}


@given(ORDERS, ORDERS)
def test_placed_keys_keep_their_order(placed: list[int], shown: list[int]) -> None:
    order = merged_order(placed, shown)

    assert [key for key in order if key in set(placed)] == placed


@given(ORDERS, ORDERS)
def test_merging_again_changes_nothing(placed: list[int], shown: list[int]) -> None:
    order = merged_order(placed, shown)

    assert merged_order(order, shown) == order
    assert merged_order(order, placed) == order


@given(ORDERS, st.sets(KEYS), st.sets(KEYS))
def test_two_parts_of_one_order_both_keep_theirs(
    whole: list[int], left: set[int], right: set[int]
) -> None:
    placed = [key for key in whole if key in left]
    shown = [key for key in whole if key in right]

    order = merged_order(placed, shown)

    assert [key for key in order if key in right] == shown or not left & right & set(whole)


@given(ORDERS, st.integers(0, 20))
def test_the_whole_after_its_tail_is_the_whole(whole: list[int], start: int) -> None:
    assert merged_order(whole[start:], whole) == whole
