"""Where a conversation branches, and which of its branches was gone on with.

Claude Code writes parallel tool results and what the program adds as children of one message:
only a second prompt of the person at the same place is a branch there. ChatGPT and Claude.ai
keep trees, in which any sibling is one: an answer that was given again stands beside the first.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from dedup.choices import Role, Source
from dedup.models import Alias, Conversation, Placement, Revision

# In their exports every sibling is a branch.
TREES = (Source.CHATGPT, Source.CLAUDE_AI)
NEVER = datetime.min.replace(tzinfo=UTC)

# Whether it is the named leaf, when it was sent, and its position: the greatest is the latest.
Latest = tuple[bool, datetime, int]


@dataclass(frozen=True, slots=True)
class Node:
    """A message in its conversation: its own id first among the keys, then its other ids.

    An aside has the person's role but was added by the program.
    """

    id: UUID
    keys: Sequence[str]
    parent_key: str
    role: str
    sent_at: datetime | None
    position: int
    is_aside: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One branch by its first message."""

    message: UUID
    messages_below: int
    active: bool


@dataclass(frozen=True, slots=True)
class BranchPoint:
    """Several messages that answer the same one; `parent` is None where that is not here."""

    parent: UUID | None
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Branches:
    """The branch points in reading order, and every message of the branches that were left."""

    points: tuple[BranchPoint, ...] = ()
    abandoned: frozenset[UUID] = frozenset()


def branches_in(conversation: Conversation) -> Branches:
    """Those of a stored conversation, as the acting person."""
    leaf = named_leaf(conversation.source, conversation.native_key, conversation.metadata)
    return branches_of(_nodes(conversation), any_sibling=conversation.source in TREES, leaf=leaf)


def named_leaf(source: str, native_key: str, metadata: Any) -> str:
    """The id of the message at which the source says that the conversation stands, if it does."""
    name = {Source.CHATGPT: "current_node", Source.CLAUDE_AI: "current_leaf_message_uuid"}
    leaf = metadata.get(name.get(Source(source), ""))
    if not isinstance(leaf, str) or not leaf:
        return ""
    return f"{native_key}/{leaf}" if source == Source.CHATGPT else leaf


def branches_of(nodes: Iterable[Node], *, any_sibling: bool, leaf: str = "") -> Branches:
    """At each branch point the branch is active that leads to the leaf, or to the latest message.

    What nothing leads to from the active branch, because its parent is missing, counts as active
    too: only what lies below a sibling that was not chosen is abandoned. A circle of parents is
    cut above its earliest message.
    """
    tree = _Tree(sorted(nodes, key=lambda node: node.position), leaf)
    points = sorted(tree.points(any_sibling=any_sibling), key=lambda point: point.options[0])
    left = {option for point in points for option in point.options if option != point.chosen}
    abandoned: set[int] = set()
    for number in tree.parents_first:
        if number in left or tree.parents[number] in abandoned:
            abandoned.add(number)
    return Branches(
        tuple(
            BranchPoint(
                parent=None if point.parent is None else tree.nodes[point.parent].id,
                options=tuple(
                    Option(
                        message=tree.nodes[option].id,
                        messages_below=tree.size[option] - 1,
                        active=option not in abandoned,
                    )
                    for option in point.options
                ),
            )
            for point in points
        ),
        frozenset(tree.nodes[number].id for number in abandoned),
    )


@dataclass(frozen=True, slots=True)
class _Point:
    """A branch point by the numbers of its messages."""

    parent: int | None
    options: Sequence[int]
    chosen: int


class _Tree:
    """Messages by their number in reading order, with what hangs below each of them."""

    def __init__(self, nodes: Sequence[Node], leaf: str) -> None:
        self.nodes = nodes
        self.parents, cut = _parents(nodes)
        self.children: dict[int, list[int]] = defaultdict(list)
        # Those without a parent here are siblings if they name the same one.
        self.orphans: dict[str, list[int]] = defaultdict(list)
        for number, parent in enumerate(self.parents):
            if parent is not None:
                self.children[parent].append(number)
            elif number not in cut:
                self.orphans[nodes[number].parent_key].append(number)
        self.parents_first = [
            number for number, parent in enumerate(self.parents) if parent is None
        ]
        for number in self.parents_first:
            self.parents_first += self.children.get(number, ())
        self.size = [1] * len(nodes)
        self.latest: list[Latest] = [
            (leaf in node.keys, node.sent_at or NEVER, node.position) for node in nodes
        ]
        for number in reversed(self.parents_first):
            parent = self.parents[number]
            if parent is not None:
                self.size[parent] += self.size[number]
                self.latest[parent] = max(self.latest[parent], self.latest[number])

    def points(self, *, any_sibling: bool) -> Iterator[_Point]:
        groups: list[tuple[int | None, Sequence[int]]] = [*self.children.items()]
        groups += [(None, orphans) for key, orphans in self.orphans.items() if key]
        if any_sibling and self._begins_more_than_once():
            groups.append((None, self.orphans[""]))
        for parent, siblings in groups:
            options = [
                number
                for number in siblings
                if _is_option(self.nodes[number], any_sibling=any_sibling)
            ]
            if len(options) > 1:
                yield _Point(parent, options, max(options, key=self.latest.__getitem__))

    def _begins_more_than_once(self) -> bool:
        """Messages without parents are branches only if each of them can begin a conversation:
        some exports name no parents at all."""
        named = any(parent is not None for parent in self.parents)
        return named and all(self.nodes[root].role == Role.USER for root in self.orphans[""])


def _is_option(node: Node, *, any_sibling: bool) -> bool:
    if any_sibling:
        return node.role != Role.TOOL
    return node.role == Role.USER and not node.is_aside


def _parents(nodes: Sequence[Node]) -> tuple[list[int | None], set[int]]:
    """The number of each message's parent, None where it is not here or a circle was cut; and
    the messages above which one was cut."""
    numbers: dict[str, int] = {}
    for own in (True, False):
        for number, node in enumerate(nodes):
            for key in node.keys[:1] if own else node.keys[1:]:
                numbers.setdefault(key, number)
    parents = [numbers.get(node.parent_key) if node.parent_key else None for node in nodes]
    cut = set(_first_of_circles(parents))
    return [None if number in cut else parent for number, parent in enumerate(parents)], cut


def _first_of_circles(parents: Sequence[int | None]) -> Iterator[int]:
    done: set[int] = set()
    for start in range(len(parents)):
        lineage: dict[int, None] = {}
        number: int | None = start
        while number is not None and number not in done and number not in lineage:
            lineage[number] = None
            number = parents[number]
        if number is not None and number in lineage:
            numbers = list(lineage)
            yield min(numbers[numbers.index(number) :])
        done.update(lineage)


def _nodes(conversation: Conversation) -> list[Node]:
    inside = {"message__placements__segment__conversation": conversation}
    others: dict[UUID, list[str]] = defaultdict(list)
    for message, key in Alias.objects.filter(**inside).values_list("message_id", "native_key"):
        others[message].append(key)
    said = {
        message: (role, bool(meta or summary))
        for message, role, meta, summary in Revision.objects.filter(**inside)
        .order_by("id")
        .values_list("message_id", "role", "metadata__is_meta", "metadata__is_compact_summary")
    }
    placed = (
        Placement.objects.filter(segment__conversation=conversation)
        .in_reading_order()
        .values_list("message_id", "message__native_key", "message__parent_key", "message__sent_at")
    )
    return [
        Node(id_, [key, *others[id_]], parent_key, said[id_][0], sent_at, position, said[id_][1])
        for position, (id_, key, parent_key, sent_at) in enumerate(placed)
    ]
