"""Conversations that are exported again and again: each message once, in order, none lost."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as property_tests
from hypothesis import strategies as st

from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup.models import Conversation, Message, Observation, Placement, Segment
from dedup.results import FileResult
from dedup.selectors import latest_revisions
from dedup.services import import_path
from dedup.tests.exports_json import (
    BREAD,
    as_json,
    as_lines,
    chatgpt_conversation,
    chatgpt_message,
    chatgpt_node,
    chatgpt_said,
    claude_ai_conversation,
    claude_ai_message,
)
from dedup.tests.exports_text import (
    codex_rollout,
    export_text,
    json_lines,
    legacy_message,
    legacy_row,
    legacy_state,
    spoken,
)
from dedup.tests.factories import kept, prompt, reply, transcript
from dedup.tests.test_any_order import assert_sound, placements, reading, zipped

pytestmark = pytest.mark.django_db

Turn = tuple[str, str]
Version = Callable[[Path], Path]


def assert_adds_up(result: FileResult) -> None:
    found = result.counts
    stored = found.new_messages + found.duplicates_filtered + found.revisions
    assert stored == found.messages_in_export


# --- Sources with ids: three exports, each of which says more than the one before ----------------


def bread() -> dict[str, Any]:
    """A conversation that the third export has no more."""
    nodes = [
        chatgpt_node("root", None, None, ["b1"]),
        chatgpt_said("b1", "root", "user", "Bread?", ["b2"]),
        chatgpt_said("b2", "b1", "assistant", "Knead it."),
    ]
    return chatgpt_conversation(nodes, BREAD, "Bread")


def chatgpt_versions() -> list[Version]:
    def said(key: str, parent: str, role: str, text: str, *children: str) -> dict[str, Any]:
        message = chatgpt_message(key, role, text, int(key[1:]))
        return chatgpt_node(key, parent, message, children)

    first = [
        chatgpt_node("root", None, None, ["t1"]),
        said("t1", "root", "user", "How long?", "t2"),
        said("t2", "t1", "assistant", "Twenty."),
    ]
    second = [
        chatgpt_node("root", None, None, ["t1", "t5"]),
        said("t1", "root", "user", "How long?", "t2"),
        said("t2", "t1", "assistant", "Twenty.", "t3"),
        said("t3", "t2", "user", "continue", "t4"),
        said("t4", "t3", "assistant", "Then cool it."),
        said("t5", "root", "user", "How long, at 180?", "t6"),
        said("t6", "t5", "assistant", "Twenty."),
    ]
    third = [
        chatgpt_node("root", None, None, ["t1", "t5"]),
        said("t1", "root", "user", "How long?", "t2"),
        said("t2", "t1", "assistant", "Twenty-five.", "t3", "t7"),
        said("t3", "t2", "user", "continue", "t4"),
        said("t4", "t3", "assistant", "Then cool it."),
        said("t7", "t2", "user", "continue", "t8"),
        said("t8", "t7", "assistant", "Then eat it."),
        said("t5", "root", "user", "How long, at 180?", "t6"),
        said("t6", "t5", "assistant", "Twenty.", "t9"),
        said("t9", "t6", "user", "continue"),
    ]
    tarts = [chatgpt_conversation(nodes) for nodes in (first, second, third)]
    exports = [[tarts[0], bread()], [bread(), tarts[1]], [tarts[2]]]
    return [_zip_of(as_json(conversations)) for conversations in exports]


def claude_ai_versions() -> list[Version]:
    said = claude_ai_message
    first = [
        said("m1", "human", "How long?", "", 1),
        said("m2", "assistant", "Twenty.", "m1", 2),
    ]
    second = [
        *first,
        said("m3", "human", "continue", "m2", 3),
        said("m4", "assistant", "Then cool it.", "m3", 4),
        said("m5", "human", "How long, at 180?", "", 5),
        said("m6", "assistant", "Twenty.", "m5", 6),
    ]
    third = [
        first[0],
        said("m2", "assistant", "Twenty-five.", "m1", 2),
        *second[2:],
        said("m7", "human", "continue", "m2", 7),
        said("m8", "assistant", "Then eat it.", "m7", 8),
        said("m9", "human", "continue", "m6", 9),
    ]
    tarts = [claude_ai_conversation(messages) for messages in (first, second, third)]
    other = claude_ai_conversation([said("b1", "human", "Bread?", "", 0)], BREAD, "Bread")
    exports = [[tarts[0], other], [other, tarts[1]], [tarts[2]]]
    return [_zip_of(as_json(conversations)) for conversations in exports]


def transcript_versions() -> list[Version]:
    first = [prompt("m0", "How long?"), reply("m1", "Twenty", "m0", 1)]
    second = [
        prompt("m0", "How long?"),
        reply("m1", "Twenty-five.", "m0", 1),
        prompt("m2", "continue", "m1", 2),
        reply("m3", "Then cool it.", "m2", 3),
    ]
    third = [*second, prompt("m4", "continue", "m1", 4), reply("m5", "Then eat it.", "m4", 5)]
    return [_transcript_of(rows) for rows in (first, second, third)]


def codex_versions() -> list[Version]:
    first = [spoken("user", "How long?"), spoken("assistant", "Twenty.")]
    second = [*first, spoken("user", "continue"), spoken("assistant", "Then cool it.")]
    third = [first[0], spoken("assistant", "Twenty-five."), *second[2:], spoken("user", "continue")]
    return [_file_of("rollout.jsonl", codex_rollout(items)) for items in (first, second, third)]


def legacy_versions() -> list[Version]:
    first = [legacy_message(0, "user", "Reading."), legacy_message(1, "assistant", "rye.py")]
    second = [*first, legacy_message(2, "user", "Reading."), legacy_message(3, "user", "Done.")]
    third = [first[0], legacy_message(1, "assistant", "mill.py"), *second[2:]]
    return [
        _state_of({"tarts": first, "bread": first}),
        _state_of({"bread": first, "tarts": second}),
        _state_of({"tarts": [*third, legacy_message(7, "user", "continue")]}),
    ]


def _zip_of(data: bytes) -> Version:
    return lambda folder: zipped(folder / "export.zip", {"conversations.json": data})


def _file_of(name: str, data: bytes) -> Version:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def _transcript_of(rows: Sequence[Any]) -> Version:
    return lambda folder: transcript(folder, rows)


def _state_of(conversations: dict[str, Any]) -> Version:
    def write(folder: Path) -> Path:
        state = legacy_state(folder / "state", conversations)
        rows = [
            legacy_row(key, message, message["index"])
            for key, messages in conversations.items()
            for message in messages
        ]
        (state / "conversation_log.jsonl").write_bytes(json_lines(rows))
        return state

    return write


@dataclass(frozen=True)
class History:
    """Three exports of one source; `keys` are its messages in order, `said` the last words."""

    versions: Callable[[], list[Version]]
    conversation: str
    order: list[str]
    messages: int


HISTORIES = {
    "chatgpt": History(
        chatgpt_versions,
        "Tarts",
        [
            "How long?",
            "Twenty-five.",
            "continue",
            "Then cool it.",
            "continue",
            "Then eat it.",
            "How long, at 180?",
            "Twenty.",
            "continue",
        ],
        11,
    ),
    "claude_ai": History(
        claude_ai_versions,
        "Tarts",
        [
            "How long?",
            "Twenty-five.",
            "continue",
            "Then cool it.",
            "continue",
            "Then eat it.",
            "How long, at 180?",
            "Twenty.",
            "continue",
        ],
        10,
    ),
    "transcript": History(
        transcript_versions,
        "How long?",
        ["How long?", "Twenty-five.", "continue", "Then cool it.", "continue", "Then eat it."],
        6,
    ),
    "codex": History(
        codex_versions,
        "How long?",
        ["How long?", "Twenty-five.", "continue", "Then cool it.", "continue"],
        5,
    ),
    "legacy": History(
        legacy_versions,
        "",
        ["Reading.", "mill.py", "Reading.", "Done.", "continue"],
        7,
    ),
}


def order_of(user_id: UUID, title: str) -> list[UUID]:
    with acting_as(user_id):
        placed = Placement.objects.filter(segment__conversation__title=title)
        placed = placed.exclude(segment__conversation__native_key="bread")
        return list(placed.in_reading_order().values_list("message", flat=True))


def words_of(user_id: UUID, title: str) -> list[str]:
    """What the messages of a conversation say in the end, in reading order."""
    order = order_of(user_id, title)
    with acting_as(user_id):
        latest = latest_revisions(order)
        return [latest[message].text for message in order]


def write_all(folder: Path, versions: Sequence[Version]) -> list[Path]:
    paths = []
    for number, write in enumerate(versions):
        (folder / str(number)).mkdir(parents=True)
        paths.append(write(folder / str(number)))
    return paths


@pytest.mark.parametrize("name", HISTORIES)
def test_three_exports_make_one_archive_in_whatever_order(tmp_path: Path, name: str) -> None:
    history = HISTORIES[name]
    paths = write_all(tmp_path, history.versions())
    archives = []

    for order in permutations(paths):
        owner = make_user()
        results = [import_path(user_id=owner.pk, path=path) for path in order]

        for result in results:
            assert_adds_up(result)
        assert sum(result.counts.new_messages for result in results) == history.messages
        assert sum(result.counts.revisions for result in results) == 1
        assert_sound(owner.pk)
        found = reading(owner.pk)
        archives.append((kept(owner.pk), {key: sorted(found[key]) for key in found}))

    assert all(archive == archives[0] for archive in archives)
    assert len(archives[0][0]) == history.messages


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("name", HISTORIES)
def test_three_exports_read_alike_in_whatever_order(
    tmp_path: Path, name: str, order: tuple[int, ...]
) -> None:
    history, owner = HISTORIES[name], make_user()
    paths = write_all(tmp_path, history.versions())

    for number in order:
        import_path(user_id=owner.pk, path=paths[number])

    assert words_of(owner.pk, history.conversation) == history.order


@pytest.mark.parametrize("name", HISTORIES)
def test_an_export_that_shrinks_takes_nothing_away(tmp_path: Path, name: str) -> None:
    history, owner = HISTORIES[name], make_user()
    first, second, third = write_all(tmp_path, history.versions())
    for path in (second, third):
        import_path(user_id=owner.pk, path=path)
    contents, order = dict(kept(owner.pk)), placements(owner.pk)

    result = import_path(user_id=owner.pk, path=first)

    assert_adds_up(result)
    assert result.counts.new_messages == 0
    after = dict(kept(owner.pk))
    assert after.keys() == contents.keys()
    assert all(contents[ids] <= after[ids] for ids in contents)
    assert placements(owner.pk) == order
    assert words_of(owner.pk, history.conversation) == history.order
    assert_sound(owner.pk)


# --- Sources without ids -------------------------------------------------------------------------

KINDS = {"user": "prompt", "assistant": "reply", "tool": "result"}
SHAREGPT = {"user": "human", "assistant": "gpt", "tool": "tool"}
LANGCHAIN = {"user": "human", "assistant": "ai", "tool": "tool"}


def as_export_text(turns: Sequence[Turn]) -> bytes:
    return export_text([(KINDS[role], text) for role, text in turns])


def as_openai(turns: Sequence[Turn]) -> bytes:
    return as_json([{"role": role, "content": text} for role, text in turns])


def as_openai_with_id(turns: Sequence[Turn]) -> bytes:
    messages = [{"role": role, "content": text} for role, text in turns]
    return as_json({"id": "chat-1", "messages": messages})


def as_openai_lines(turns: Sequence[Turn]) -> bytes:
    messages = [{"role": role, "content": text} for role, text in turns]
    return as_lines([{"id": "chat-1", "messages": messages}])


def as_sharegpt(turns: Sequence[Turn]) -> bytes:
    said = [{"from": SHAREGPT[role], "value": text} for role, text in turns]
    return as_json([{"id": "tarts_0", "conversations": said}])


def as_langchain(turns: Sequence[Turn]) -> bytes:
    return as_json([{"type": LANGCHAIN[role], "data": {"content": text}} for role, text in turns])


WRITERS: dict[str, tuple[str, Callable[[Sequence[Turn]], bytes]]] = {
    "text": ("talk.txt", as_export_text),
    "openai": ("talk.json", as_openai),
    "openai with id": ("talk.json", as_openai_with_id),
    "openai lines": ("talk.jsonl", as_openai_lines),
    "sharegpt": ("talk.json", as_sharegpt),
    "langchain": ("talk.json", as_langchain),
}


def talk(length: int, prefix: str = "") -> list[Turn]:
    """Turns of their own, with "continue" and "yes" among them."""
    turns = []
    for number in range(length):
        role = ("user", "assistant")[number % 2]
        repeated = {3: "yes", 4: "continue"}.get(number % 5)
        turns.append((role, repeated or f"{prefix}Words number {number}"))
    return turns


def write(folder: Path, name: str, turns: Sequence[Turn]) -> Path:
    file, writer = WRITERS[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(writer(turns))
    return folder / file


def segments_of(user_id: UUID) -> list[list[str]]:
    """The texts of each segment that has any, in order."""
    with acting_as(user_id):
        segments = Segment.objects.filter(placements__isnull=False).distinct().order_by("pk")
        return [
            [
                latest_revisions([row.message_id])[row.message_id].text
                for row in segment.placements.order_by("position")
            ]
            for segment in segments
        ]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("name", WRITERS)
def test_growing_exports_without_ids_are_one_conversation_in_whatever_order(
    tmp_path: Path, name: str, order: tuple[int, ...]
) -> None:
    owner, turns = make_user(), talk(12)
    paths = [write(tmp_path / str(n), name, turns[:end]) for n, end in enumerate((5, 8, 12))]

    results = [import_path(user_id=owner.pk, path=paths[number]) for number in order]

    for result in results:
        assert_adds_up(result)
    assert sum(result.counts.new_messages for result in results) == 12
    assert sum(result.counts.revisions for result in results) == 0
    assert segments_of(owner.pk) == [[text for _, text in turns]]
    assert_sound(owner.pk)


@pytest.mark.parametrize("name", WRITERS)
def test_an_edit_between_known_messages_is_a_revision(tmp_path: Path, name: str) -> None:
    owner, turns = make_user(), talk(16)
    edited = [*turns[:5], (turns[5][0], "Words number five"), *turns[6:]]
    import_path(user_id=owner.pk, path=write(tmp_path / "a", name, turns[:12]))

    result = import_path(user_id=owner.pk, path=write(tmp_path / "b", name, edited))

    assert_adds_up(result)
    assert (result.counts.new_messages, result.counts.revisions) == (4, 1)
    assert segments_of(owner.pk) == [[text for _, text in edited]]
    assert_sound(owner.pk)


@pytest.mark.parametrize("name", ["text", "openai with id"])
def test_an_older_export_without_times_does_not_bring_back_what_was_said_before(
    tmp_path: Path, name: str
) -> None:
    owner, turns = make_user(), talk(16)
    edited = [*turns[:5], (turns[5][0], "Words number five"), *turns[6:]]
    import_path(user_id=owner.pk, path=write(tmp_path / "b", name, edited))

    import_path(user_id=owner.pk, path=write(tmp_path / "a", name, turns[:12]))

    assert segments_of(owner.pk) == [[text for _, text in edited]]


def test_two_conversations_of_one_file_stay_two_when_they_grow(tmp_path: Path) -> None:
    owner = make_user()
    for length in (4, 9, 6):
        rows = [
            {"messages": [{"role": role, "content": text} for role, text in talk(length, prefix)]}
            for prefix in ("Rye. ", "Wheat. ")
        ]
        path = tmp_path / f"{length}" / "talks.jsonl"
        path.parent.mkdir()
        path.write_bytes(as_lines(rows))
        assert_adds_up(import_path(user_id=owner.pk, path=path))

    assert sorted(segments_of(owner.pk)) == [
        [text for _, text in talk(9, prefix)] for prefix in ("Rye. ", "Wheat. ")
    ]
    assert_sound(owner.pk)


# --- Bridging ------------------------------------------------------------------------------------

BRIDGED = ["text", "openai", "langchain"]


def named(folder: Path, name: str, stem: str, turns: Sequence[Turn]) -> Path:
    path = write(folder, name, turns)
    return path.rename(path.with_stem(stem))


@pytest.mark.parametrize("name", BRIDGED)
def test_an_export_that_shows_two_conversations_to_be_one_merges_them(
    tmp_path: Path, name: str
) -> None:
    owner, turns = make_user(), talk(16)
    import_path(user_id=owner.pk, path=named(tmp_path, name, "monday", turns[:6]))
    import_path(user_id=owner.pk, path=named(tmp_path, name, "tuesday", turns[10:]))
    assert len(segments_of(owner.pk)) == 2

    result = import_path(user_id=owner.pk, path=named(tmp_path, name, "week", turns))

    assert_adds_up(result)
    assert (result.counts.new_messages, result.counts.duplicates_filtered) == (4, 12)
    assert segments_of(owner.pk) == [[text for _, text in turns]]
    with acting_as(owner.pk):
        monday = Conversation.objects.get(native_key="monday")
        tuesday = Conversation.objects.get(native_key="tuesday")
        assert not Conversation.objects.filter(native_key="week").exists()
        assert (tuesday.merged_into_id, monday.merged_into_id) == (monday.pk, None)
        assert (monday.total_messages, tuesday.total_messages) == (16, 0)
        assert (monday.watermark.highest_index, tuesday.watermark.highest_index) == (9, 5)
    assert_sound(owner.pk)


@pytest.mark.parametrize("name", BRIDGED)
def test_what_comes_later_under_the_old_name_goes_to_the_merged_conversation(
    tmp_path: Path, name: str
) -> None:
    owner, turns = make_user(), talk(20)
    for stem, shown in (("monday", turns[:6]), ("tuesday", turns[10:16]), ("week", turns[:16])):
        import_path(user_id=owner.pk, path=named(tmp_path / stem, name, stem, shown))

    grown = import_path(
        user_id=owner.pk, path=named(tmp_path / "grown", name, "tuesday", turns[10:])
    )
    apart = import_path(
        user_id=owner.pk, path=named(tmp_path / "apart", name, "tuesday", talk(6, "Salt. "))
    )

    assert (grown.counts.new_messages, grown.counts.duplicates_filtered) == (4, 6)
    assert apart.counts.new_messages == 6
    with acting_as(owner.pk):
        monday = Conversation.objects.get(native_key="monday")
        assert {c.id for r in (grown, apart) for c in r.conversations} == {monday.pk}
        assert monday.total_messages == 26
        assert Conversation.objects.count() == 2
        assert set(Placement.objects.values_list("segment__conversation", flat=True)) == {monday.pk}
    assert segments_of(owner.pk) == [
        [text for _, text in turns],
        [text for _, text in talk(6, "Salt. ")],
    ]
    assert_sound(owner.pk)


@pytest.mark.parametrize("name", BRIDGED)
def test_a_bridge_over_three_conversations_merges_them_all(tmp_path: Path, name: str) -> None:
    owner, turns = make_user(), talk(30)
    parts = {"one": turns[:6], "three": turns[22:28], "two": turns[11:17]}
    for stem, shown in parts.items():
        import_path(user_id=owner.pk, path=named(tmp_path, name, stem, shown))
    import_path(user_id=owner.pk, path=named(tmp_path, name, "end", turns[8:30]))

    import_path(user_id=owner.pk, path=named(tmp_path, name, "whole", turns))

    assert segments_of(owner.pk) == [[text for _, text in turns]]
    with acting_as(owner.pk):
        (whole,) = Conversation.objects.filter(merged_into=None)
        merged = Conversation.objects.exclude(pk=whole.pk)
        assert set(merged.values_list("merged_into", "total_messages")) == {(whole.pk, 0)}
        assert whole.total_messages == Message.objects.count() == 30
    assert_sound(owner.pk)


# --- Any history ---------------------------------------------------------------------------------

FORMATS = st.sampled_from(["text", "openai", "openai with id"])
MESSAGES = st.one_of(
    st.sampled_from([("user", "continue"), ("user", "yes"), ("tool", "(No content)")]),
    st.tuples(st.sampled_from(list(KINDS)), st.integers(0, 5).map(lambda n: f"Common words {n}")),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Turn]:
    """Turns of their own, and between them such as come again and again."""
    turns: list[Turn] = []
    for number in range(draw(st.integers(8, 20))):
        if draw(st.booleans()):
            turns.append((("user", "assistant")[number % 2], f"Words of message number {number}"))
        else:
            turns.append(draw(MESSAGES))
    return turns


@st.composite
def any_exports(draw: st.DrawFn) -> list[list[Turn]]:
    """Windows onto one history, some of them edited or with messages moved."""
    turns = draw(histories())
    exports = []
    for _ in range(draw(st.integers(2, 5))):
        start = draw(st.integers(0, len(turns) - 2))
        shown = turns[start : draw(st.integers(start + 1, len(turns)))]
        change = draw(st.sampled_from(["none", "none", "edit", "move", "drop"]))
        at = draw(st.integers(0, len(shown) - 1))
        if change == "edit":
            shown = [*shown[:at], (shown[at][0], f"{shown[at][1]}, or so"), *shown[at + 1 :]]
        elif change == "move":
            shown = [*shown[:at], *shown[at + 1 :], shown[at]]
        elif change == "drop" and len(shown) > 1:
            shown = [*shown[:at], *shown[at + 1 :]]
        exports.append(shown)
    return exports


@contextmanager
def written(name: str, exports: Sequence[Sequence[Turn]]) -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory() as folder:
        yield [write(Path(folder, str(n)), name, turns) for n, turns in enumerate(exports)]


def observed(user_id: UUID, path: Path) -> list[Turn]:
    """Who said what in a file, by what was observed there; each of it is placed somewhere."""
    with acting_as(user_id):
        rows = Observation.objects.filter(import_row__name=str(path), revision__isnull=False)
        rows = rows.select_related("revision").order_by("ordinal")
        messages = {row.revision.message_id for row in rows if row.revision}
        placed = Placement.objects.filter(message__in=messages).values_list("message", flat=True)
        assert sorted(placed) == sorted(messages)
        return [(row.revision.role, row.revision.text) for row in rows if row.revision]


@property_tests(max_examples=25)
@given(name=FORMATS, exports=any_exports())
def test_nothing_of_any_history_is_lost_and_the_second_time_changes_nothing(
    name: str, exports: list[list[Turn]]
) -> None:
    owner = make_user()
    with written(name, exports) as paths:
        for path in paths:
            result = import_path(user_id=owner.pk, path=path)
            assert_adds_up(result)
        order = placements(owner.pk)
        for path in paths:
            assert import_path(user_id=owner.pk, path=path).already_imported

        for path, turns in zip(paths, exports, strict=True):
            seen = next(p for p, e in zip(paths, exports, strict=True) if e == turns)
            assert observed(owner.pk, seen) == turns
            assert path == seen or observed(owner.pk, path) == []
    assert placements(owner.pk) == order
    assert_sound(owner.pk)


@st.composite
def certain_exports(draw: st.DrawFn) -> tuple[list[Turn], list[list[Turn]]]:
    """A history and windows onto it of which each overlaps one before it by four messages, all
    with words of their own at both ends; in whatever order, and the whole at last."""
    turns: list[Turn] = []
    for number in range(draw(st.integers(12, 24))):
        own = (("user", "assistant")[number % 2], f"Words of message number {number}")
        turns.append(draw(MESSAGES) if number % 6 == 5 else own)
    first = draw(st.integers(0, len(turns) - 8))
    start, end = first, first + 8
    exports = [turns[start:end]]
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            grown = draw(st.integers(end, len(turns)))
            exports.append(turns[draw(st.integers(start, end - 5)) : grown])
            end = grown
        else:
            grown = draw(st.integers(0, start))
            exports.append(turns[grown : draw(st.integers(start + 5, end))])
            start = grown
    return turns, [*exports, turns]


@property_tests(max_examples=25)
@given(name=FORMATS, drawn=certain_exports())
def test_windows_that_overlap_for_certain_are_the_history_and_nothing_twice(
    name: str, drawn: tuple[list[Turn], list[list[Turn]]]
) -> None:
    owner, (turns, exports) = make_user(), drawn
    with written(name, exports) as paths:
        results = [import_path(user_id=owner.pk, path=path) for path in paths]
        order = placements(owner.pk)
        for path in paths:
            path.write_bytes(path.read_bytes() + b"\n")
            again = import_path(user_id=owner.pk, path=path).counts
            assert (again.new_messages, again.revisions) == (0, 0)

    assert sum(result.counts.new_messages for result in results) == len(turns)
    assert segments_of(owner.pk) == [[text for _, text in turns]]
    assert placements(owner.pk) == order
    assert_sound(owner.pk)


@property_tests(max_examples=8)
@given(name=FORMATS, data=st.data())
def test_ends_and_then_a_bridge_in_any_order_are_the_history(
    name: str, data: st.DataObject
) -> None:
    owner, turns = make_user(), talk(24)
    first, last = data.draw(st.integers(5, 9)), data.draw(st.integers(13, 18))
    ends = data.draw(st.permutations([turns[:first], turns[last:]]))
    with written(name, [*ends, turns]) as paths:
        for path in paths:
            import_path(user_id=owner.pk, path=path)

    assert segments_of(owner.pk) == [[text for _, text in turns]]
    with acting_as(owner.pk):
        assert Message.objects.count() == len(turns)
    assert_sound(owner.pk)


def test_json_that_is_only_written_otherwise_is_the_same(tmp_path: Path) -> None:
    owner, path = make_user(), write(tmp_path, "openai", talk(10))
    import_path(user_id=owner.pk, path=path)
    order = placements(owner.pk)

    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=4))
    result = import_path(user_id=owner.pk, path=path)

    assert (result.counts.new_messages, result.counts.duplicates_filtered) == (0, 10)
    assert placements(owner.pk) == order
    assert_sound(owner.pk)
