from dedup.aliases import Candidate, resolve_aliases


def candidate(
    key: str,
    earlier: str,
    *,
    api: tuple[str, str] = ("", ""),
    parents: tuple[str, str] = ("", ""),
    same_lineage: bool = False,
) -> Candidate:
    return Candidate(key, parents[0], api[0], earlier, parents[1], api[1], same_lineage)


def test_equal_response_ids_make_an_alias_whatever_the_parents() -> None:
    found = resolve_aliases([candidate("b", "a", api=("msg_1", "msg_1"), parents=("x", "y"))])

    assert found == {"b": "a"}


def test_different_response_ids_never_make_an_alias() -> None:
    found = resolve_aliases(
        [
            candidate("b", "a", api=("msg_1", "msg_2"), parents=("x", "x"), same_lineage=True),
            candidate("c", "a", api=("", "msg_2"), parents=("x", "x"), same_lineage=True),
        ]
    )

    assert found == {}


def test_a_parent_that_comes_after_its_child_decides_all_the_same() -> None:
    found = resolve_aliases(
        [
            candidate("b3", "a3", parents=("b2", "a2")),
            candidate("b2", "a2", parents=("b1", "a1")),
            candidate("b1", "a1", same_lineage=True),
        ]
    )

    assert found == {"b1": "a1", "b2": "a2", "b3": "a3"}


def test_an_alias_of_an_alias_is_named_after_the_message() -> None:
    found = resolve_aliases(
        [
            candidate("c", "b", api=("msg_1", "msg_1")),
            candidate("b", "a", api=("msg_1", "msg_1")),
        ]
    )

    assert found == {"c": "a", "b": "a"}


def test_without_response_ids_the_parents_decide() -> None:
    found = resolve_aliases(
        [
            candidate("b", "a", parents=("x", "x")),
            candidate("c", "a", parents=("y", "x")),
            candidate("d", "a", parents=("", "x")),
        ]
    )

    assert found == {"b": "a"}


def test_a_parents_alias_decides_about_its_children() -> None:
    found = resolve_aliases(
        [
            candidate("new-1", "old-1", api=("msg_1", "msg_1")),
            candidate("new-2", "old-2", parents=("new-1", "old-1")),
            candidate("new-3", "old-3", parents=("new-2", "old-2")),
        ]
    )

    assert found == {"new-1": "old-1", "new-2": "old-2", "new-3": "old-3"}


def test_beginnings_are_the_same_only_within_one_lineage() -> None:
    found = resolve_aliases([candidate("b", "a", same_lineage=True), candidate("c", "a")])

    assert found == {"b": "a"}


def test_the_first_earlier_message_that_agrees_is_taken() -> None:
    found = resolve_aliases(
        [
            candidate("c", "a", parents=("x", "y")),
            candidate("c", "b", parents=("x", "x")),
            candidate("c", "d", parents=("x", "x")),
        ]
    )

    assert found == {"c": "b"}


def test_an_alias_of_an_alias_leads_to_the_message() -> None:
    found = resolve_aliases(
        [
            candidate("b", "a", api=("msg_1", "msg_1")),
            candidate("c", "b", api=("msg_1", "msg_1")),
        ]
    )

    assert found == {"b": "a", "c": "a"}
