from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.test.client import Client
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from accounts.tests.factories import client_of, make_user
from dedup.branches import Branches, Node, branches_of, named_leaf
from dedup.choices import Role, Source
from dedup.services import import_path
from dedup.tests.exports_json import as_json, chatgpt_conversations, claude_ai_conversations
from dedup.tests.factories import prompt, reply, transcript

ROLES = [Role.USER, Role.USER, Role.ASSISTANT, Role.TOOL]


def node(
    number: int, parent: str = "", role: Role = Role.USER, keys: Sequence[str] = (), **other: Any
) -> Node:
    """A message with its number as its id, key and position."""
    return Node(
        id=UUID(int=number),
        keys=[str(number), *keys],
        parent_key=parent,
        role=role,
        sent_at=None,
        position=number,
        **other,
    )


def shape(branches: Branches) -> list[tuple[int | None, list[tuple[int, int, bool]]]]:
    return [
        (
            None if point.parent is None else point.parent.int,
            [
                (option.message.int, option.messages_below, option.active)
                for option in point.options
            ],
        )
        for point in branches.points
    ]


def numbers(branches: Branches) -> list[int]:
    return sorted(message.int for message in branches.abandoned)


def test_of_two_prompts_at_one_place_the_one_with_the_latest_message_is_active() -> None:
    found = branches_of(
        [
            node(0),
            node(1, "0", Role.ASSISTANT),
            node(2, "1"),
            node(3, "2", Role.ASSISTANT),
            node(4, "1"),
            node(5, "4", Role.ASSISTANT),
        ],
        any_sibling=False,
    )

    assert shape(found) == [(1, [(2, 1, False), (4, 1, True)])]
    assert numbers(found) == [2, 3]


def test_tool_results_answers_and_asides_are_no_branches_of_a_session() -> None:
    found = branches_of(
        [
            node(0),
            node(1, "0", Role.ASSISTANT),
            node(2, "0", Role.ASSISTANT),
            node(3, "1", Role.TOOL),
            node(4, "1", Role.TOOL),
            node(5, "1"),
            node(6, "1", is_aside=True),
        ],
        any_sibling=False,
    )

    assert found == Branches()


def test_an_answer_that_was_given_again_is_a_branch_of_a_tree() -> None:
    nodes = [node(0), node(1, "0", Role.ASSISTANT), node(2, "0", Role.ASSISTANT)]

    assert shape(branches_of(nodes, any_sibling=True)) == [(0, [(1, 0, False), (2, 0, True)])]
    assert numbers(branches_of(nodes, any_sibling=True, leaf="1")) == [2]


def test_a_branch_point_in_an_abandoned_branch_has_no_active_option() -> None:
    found = branches_of(
        [node(0), node(1, "0"), node(2, "1"), node(3, "1"), node(4, "0")], any_sibling=True
    )

    assert shape(found) == [
        (0, [(1, 2, False), (4, 0, True)]),
        (1, [(2, 0, False), (3, 0, False)]),
    ]
    assert numbers(found) == [1, 2, 3]


def test_beginnings_are_branches_of_a_tree_but_not_of_a_list() -> None:
    tree = [node(0), node(1, "0", Role.ASSISTANT), node(2)]
    bare_list = [node(0), node(1, role=Role.ASSISTANT), node(2), node(3, role=Role.ASSISTANT)]

    assert shape(branches_of(tree, any_sibling=True)) == [(None, [(0, 1, False), (2, 0, True)])]
    assert branches_of(bare_list, any_sibling=True) == Branches()
    assert branches_of(tree, any_sibling=False) == Branches()


def test_those_who_name_the_same_missing_parent_are_siblings() -> None:
    found = branches_of([node(0, "gone"), node(1, "gone"), node(2, "lost")], any_sibling=False)

    assert shape(found) == [(None, [(0, 0, False), (1, 0, True)])]


def test_a_parent_is_found_by_any_of_its_ids() -> None:
    found = branches_of([node(0, keys=["old"]), node(1, "0"), node(2, "old")], any_sibling=False)

    assert shape(found) == [(0, [(1, 0, False), (2, 0, True)])]


def test_a_circle_is_cut_above_its_earliest_message() -> None:
    found = branches_of(
        [node(0, "2"), node(1, "0"), node(2, "1"), node(3, "1"), node(4, "4")], any_sibling=False
    )

    assert shape(found) == [(1, [(2, 0, False), (3, 0, True)])]


@st.composite
def forests(draw: st.DrawFn) -> list[Node]:
    """Up to twelve messages that name any of each other, themselves, or what is not here."""
    count = draw(st.integers(0, 12))
    keys = st.sampled_from(["", "gone", *map(str, range(count)), *(f"a{n}" for n in range(count))])
    return [
        node(number, draw(keys), draw(st.sampled_from(ROLES)), keys=[f"a{number}"])
        for number in range(count)
    ]


@given(
    nodes=forests(),
    any_sibling=st.booleans(),
    leaf=st.sampled_from(["", "0", "3", "a5", "gone"]),
)
def test_whatever_messages_name_one_branch_of_each_point_is_gone_on_with(
    *, nodes: list[Node], any_sibling: bool, leaf: str
) -> None:
    found = branches_of(nodes, any_sibling=any_sibling, leaf=leaf)

    options = [option for point in found.points for option in point.options]
    assert len({option.message for option in options}) == len(options)
    for point in found.points:
        assert len(point.options) > 1
        is_left = point.parent in found.abandoned
        actives = sum(option.active for option in point.options)
        # Of messages without a parent here nothing above can have been left.
        assert actives == (0 if is_left else 1)
    for option in options:
        assert option.active == (option.message not in found.abandoned)
        assert 0 <= option.messages_below < len(nodes)


@given(nodes=forests(), any_sibling=st.booleans(), data=st.data())
def test_the_named_leaf_or_else_the_latest_message_is_never_abandoned(
    *, nodes: list[Node], any_sibling: bool, data: st.DataObject
) -> None:
    if not nodes:
        return
    leaf = data.draw(st.sampled_from(nodes))

    named = branches_of(nodes, any_sibling=any_sibling, leaf=leaf.keys[1])
    latest = branches_of(nodes, any_sibling=any_sibling)

    assert leaf.id not in named.abandoned
    assert nodes[-1].id not in latest.abandoned
    assert len(named.points) == len(latest.points)


@given(nodes=forests(), any_sibling=st.booleans(), random=st.randoms(use_true_random=False))
def test_the_order_in_which_messages_are_given_does_not_matter(
    *, nodes: list[Node], any_sibling: bool, random: Any
) -> None:
    shuffled = random.sample(nodes, len(nodes))

    assert branches_of(shuffled, any_sibling=any_sibling) == branches_of(
        nodes, any_sibling=any_sibling
    )


def test_a_long_session_is_no_deeper_than_python() -> None:
    nodes = [node(number, str(number - 1) if number else "") for number in range(5000)]

    assert branches_of(nodes, any_sibling=True) == Branches()


@pytest.mark.parametrize(
    ("source", "metadata", "leaf"),
    [
        (Source.CHATGPT, {"current_node": "n1"}, "c1/n1"),
        (Source.CHATGPT, {"current_node": 7}, ""),
        (Source.CLAUDE_AI, {"current_leaf_message_uuid": "m1"}, "m1"),
        (Source.CLAUDE_CODE, {"current_node": "n1"}, ""),
        (Source.CHATGPT, {}, ""),
    ],
)
def test_the_leaf_is_what_the_source_names(
    source: Source, metadata: dict[str, Any], leaf: str
) -> None:
    assert named_leaf(source, "c1", metadata) == leaf


# --- The API -------------------------------------------------------------------------------------


def imported(folder: Path, content: bytes, name: str) -> tuple[User, Client, str]:
    """A person with an archive of one file, their client, and its one conversation's address."""
    ada = make_user()
    path = folder / name
    path.write_bytes(content)
    import_path(user_id=ada.pk, path=path)
    client = client_of(ada)
    (conversation,) = client.get("/api/v1/conversations/").json()["results"]
    return ada, client, f"/api/v1/conversations/{conversation['id']}/"


def texts(client: Client, url: str) -> list[str]:
    return [place["message"]["text"] for place in client.get(url).json()["results"]]


@pytest.mark.django_db
def test_an_edited_prompt_of_a_session_is_listed_and_can_be_left_out(tmp_path: Path) -> None:
    rows = [
        prompt("p1", "Bake", second=0),
        reply("r1", "What?", "p1", 1),
        prompt("p2", "Bread", "r1", 2),
        reply("r2", "Knead it.", "p2", 3),
        prompt("p3", "Tarts", "r1", 4),
        reply("r3", "Roll it.", "p3", 5),
    ]
    path = transcript(tmp_path, rows)
    _, client, url = imported(tmp_path, path.read_bytes(), path.name)

    (point,) = client.get(f"{url}branches/").json()
    answers = client.get(f"{url}messages/").json()["results"]
    active = texts(client, f"{url}messages/?branch=active")

    assert point["parent"] == answers[1]["message"]["id"]
    assert [
        (option["preview"], option["messages_below"], option["active"])
        for option in point["options"]
    ] == [("Bread", 1, False), ("Tarts", 1, True)]
    assert active == ["Bake", "What?", "Tarts", "Roll it."]
    assert len(texts(client, f"{url}messages/?branch=all")) == 6


@pytest.mark.django_db
def test_the_active_branch_of_chatgpt_is_the_one_it_names(tmp_path: Path) -> None:
    tarts = chatgpt_conversations()[0] | {"current_node": "t4"}
    _, client, url = imported(tmp_path, as_json([tarts]), "conversations.json")

    (point,) = client.get(f"{url}branches/").json()

    assert [option["active"] for option in point["options"]] == [True, False]
    assert texts(client, f"{url}messages/?branch=active") == [
        "",
        "How long do tarts bake?",
        "Twenty-five minutes.",
    ]


@pytest.mark.django_db
def test_the_first_prompt_of_claude_ai_may_be_edited(tmp_path: Path) -> None:
    tarts = claude_ai_conversations()[0]
    _, client, url = imported(tmp_path, as_json([tarts]), "conversations.json")

    (point,) = client.get(f"{url}branches/").json()

    assert point["parent"] is None
    assert [option["active"] for option in point["options"]] == [False, True]
    assert texts(client, f"{url}messages/?branch=active") == ["How hot?", "180 degrees."]


@pytest.mark.django_db
def test_branches_cost_the_same_queries_however_many(
    tmp_path: Path, django_assert_num_queries: Any
) -> None:
    rows = [prompt("p0", "Bake")]
    rows += [prompt(f"p{number}", f"Try {number}", "p0", number) for number in range(1, 6)]
    path = transcript(tmp_path, rows)
    _, client, url = imported(tmp_path, path.read_bytes(), path.name)
    client.get(f"{url}branches/")

    # The token, a savepoint, reading and setting the actor, the conversation, aliases, roles,
    # places, the first messages, and back.
    with django_assert_num_queries(11):
        (point,) = client.get(f"{url}branches/").json()

    assert len(point["options"]) == 5
