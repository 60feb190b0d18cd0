"""What the archive holds after imports, whatever the files say twice and in whatever order."""

import json
import random
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup.choices import ImportStatus, Operation, Role
from dedup.models import (
    Alias,
    Conversation,
    DeduplicationLog,
    Import,
    Message,
    Observation,
    Placement,
    Record,
    Revision,
)
from dedup.results import FileResult, by_conversation, totals_of
from dedup.selectors import latest_revisions
from dedup.services import import_path
from dedup.tests.factories import (
    OTHER_SESSION,
    SAMPLES,
    SESSION,
    Row,
    counts_of_tables,
    dialogue,
    import_all,
    kept,
    latest_import,
    prompt,
    reading_order,
    rebuilt_files,
    reply,
    sample_files,
    stored_files,
    transcript,
)
from dedup.verification import integrity_problems

pytestmark = pytest.mark.django_db

MAIN = "b5bbaeb5-5143-4c59-bc45-2446c7a871a5"
REWOUND = "9a804efc-33ae-4fe3-82fd-5edf48a315a4"
ODD = "a96b22c7-999a-4129-95a2-dbd736392bf6"


def counts(result: FileResult) -> tuple[int, int, int, int]:
    """Messages in the file: all, new, duplicates, revisions."""
    found = result.counts
    return (
        found.messages_in_export,
        found.new_messages,
        found.duplicates_filtered,
        found.revisions,
    )


def contents(user_id: Any, key: str) -> list[str]:
    with acting_as(user_id):
        rows = Revision.objects.filter(message__native_key=key).order_by("id")
        return list(rows.values_list("text", flat=True))


# --- One session, exported again and again ------------------------------------------------------


def test_a_file_is_kept_whole(tmp_path: Path) -> None:
    owner = make_user()
    path = transcript(tmp_path, dialogue(4))

    result = import_path(user_id=owner.pk, path=path)

    assert counts(result) == (4, 4, 0, 0)
    assert reading_order(owner.pk) == ["m0", "m1", "m2", "m3"]
    assert rebuilt_files(owner.pk) == {str(path): path.read_bytes()}
    with acting_as(owner.pk):
        assert list(Message.objects.order_by("message_index").values_list("message_index")) == [
            (0,),
            (1,),
            (2,),
            (3,),
        ]
        assert set(Revision.objects.values_list("role", flat=True)) == {"user", "assistant"}
        assert Record.objects.count() == 0


def test_a_longer_export_adds_what_follows(tmp_path: Path) -> None:
    owner = make_user()
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", dialogue(4)))

    result = import_path(user_id=owner.pk, path=transcript(tmp_path / "b", dialogue(7)))

    assert counts(result) == (7, 3, 4, 0)
    assert reading_order(owner.pk) == [f"m{number}" for number in range(7)]


def test_a_shorter_export_takes_nothing_away(tmp_path: Path) -> None:
    owner = make_user()
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", dialogue(7)))

    result = import_path(user_id=owner.pk, path=transcript(tmp_path / "b", dialogue(4)))

    assert counts(result) == (4, 0, 4, 0)
    assert reading_order(owner.pk) == [f"m{number}" for number in range(7)]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_parts_and_the_whole_read_in_order_whichever_came_first(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    owner, rows = make_user(), dialogue(6)
    parts = [rows[:2], rows[4:], rows[2:4], rows]

    for number in order:
        path = transcript(tmp_path / str(number), parts[number])
        import_path(user_id=owner.pk, path=path)

    assert reading_order(owner.pk) == [f"m{number}" for number in range(6)]


def test_equal_notes_on_two_sub_agents_title_both(tmp_path: Path) -> None:
    owner = make_user()
    note = b'{"agentType":"general-purpose","description":"Look up densities"}'
    for session in (SESSION, OTHER_SESSION):
        path = tmp_path / session / "subagents" / "agent-a1.meta.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(note)
        import_path(user_id=owner.pk, path=path)

    with acting_as(owner.pk):
        titles = dict(Conversation.objects.values_list("native_key", "title"))
    assert titles == {
        f"{SESSION}/agent-a1": "Look up densities",
        f"{OTHER_SESSION}/agent-a1": "Look up densities",
    }


def test_an_older_backup_does_not_bring_back_what_was_said_before(tmp_path: Path) -> None:
    owner = make_user()
    partial = [prompt("m0", "Bread?"), reply("m1", "Ye", "m0", 1)]
    whole = [prompt("m0", "Bread?"), reply("m1", "Yes, rye.", "m0", 1), prompt("m2", "Ta", "m1", 2)]
    import_path(user_id=owner.pk, path=transcript(tmp_path / "whole", whole))
    import_path(user_id=owner.pk, path=transcript(tmp_path / "backup", partial))

    with acting_as(owner.pk):
        message = Message.objects.get(native_key="m1")
        assert message.revisions.count() == 2
        assert latest_revisions([message.pk])[message.pk].text == "Yes, rye."


def test_a_crowd_of_equal_rows_is_kept_and_not_compared_each_with_each(tmp_path: Path) -> None:
    owner = make_user()
    crowd = [prompt(f"m{number}", "Again", second=7) for number in range(3000)]

    result = import_path(user_id=owner.pk, path=transcript(tmp_path, crowd))

    assert counts(result) == (3000, 3000, 0, 0)


def test_a_reordered_export_moves_nothing(tmp_path: Path) -> None:
    owner = make_user()
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", dialogue(5)))
    turned = transcript(tmp_path / "b", reversed(dialogue(5)))

    result = import_path(user_id=owner.pk, path=turned)

    assert counts(result) == (5, 0, 5, 0)
    assert reading_order(owner.pk) == [f"m{number}" for number in range(5)]
    assert rebuilt_files(owner.pk)[str(turned)] == turned.read_bytes()


@pytest.mark.parametrize(
    "parts",
    [
        [(4, 8), (0, 8)],
        [(4, 8), (0, 4)],
        [(0, 3), (5, 8), (2, 6)],
        [(6, 8), (3, 5), (0, 2), (0, 8)],
        [(2, 4), (0, 8)],
    ],
)
def test_whichever_part_comes_first_the_whole_reads_in_order(
    tmp_path: Path, parts: list[tuple[int, int]]
) -> None:
    owner = make_user()
    rows = dialogue(8)

    for start, end in parts:
        path = transcript(tmp_path / f"{start}-{end}", rows[start:end])
        import_path(user_id=owner.pk, path=path)

    assert reading_order(owner.pk) == [f"m{number}" for number in range(8)]
    assert integrity_problems(owner.pk) == []
    with acting_as(owner.pk):
        positions = Placement.objects.order_by("position").values_list("position", flat=True)
        assert list(positions) == list(range(8))


def test_message_indexes_say_when_a_message_came_and_never_change(tmp_path: Path) -> None:
    owner = make_user()
    rows = dialogue(6)
    import_path(user_id=owner.pk, path=transcript(tmp_path / "tail", rows[4:]))
    import_path(user_id=owner.pk, path=transcript(tmp_path / "whole", rows))

    with acting_as(owner.pk):
        indexes = dict(Message.objects.values_list("native_key", "message_index"))
        watermark = Conversation.objects.get().watermark.highest_index

    assert indexes == {"m4": 0, "m5": 1, "m0": 2, "m1": 3, "m2": 4, "m3": 5}
    assert watermark == 5


def test_the_first_file_places_what_the_second_adds_between(tmp_path: Path) -> None:
    owner = make_user()
    rows = dialogue(6)
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", [rows[0], rows[5]]))

    result = import_path(user_id=owner.pk, path=transcript(tmp_path / "b", rows))

    assert counts(result) == (6, 4, 2, 0)
    assert reading_order(owner.pk) == [f"m{number}" for number in range(6)]


# --- What is said twice -------------------------------------------------------------------------


def test_repeated_short_messages_are_all_kept(tmp_path: Path) -> None:
    owner = make_user()
    rows = [prompt(f"m{number}", "continue", f"m{number - 1}", number) for number in range(1, 6)]

    result = import_path(user_id=owner.pk, path=transcript(tmp_path, rows))

    assert counts(result) == (5, 5, 0, 0)
    assert result.counts.content_collisions == 4
    assert len(reading_order(owner.pk)) == 5


def test_a_message_said_again_in_a_later_export_is_new_and_counted_as_a_collision(
    tmp_path: Path,
) -> None:
    owner = make_user()
    rows = [prompt("m0", "yes"), prompt("m1", "no", "m0", 1)]
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", rows))
    more = [*rows, prompt("m2", "yes", "m1", 2), prompt("m3", "maybe", "m2", 3)]

    result = import_path(user_id=owner.pk, path=transcript(tmp_path / "b", more))

    assert counts(result) == (4, 2, 2, 0)
    assert result.counts.content_collisions == 1


def test_changed_content_is_a_revision_and_the_old_one_stays(tmp_path: Path) -> None:
    owner = make_user()
    before, after = prompt("m0", "Apple pie"), prompt("m0", "Pear pie")
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", [before]))

    result = import_path(user_id=owner.pk, path=transcript(tmp_path / "b", [after]))

    assert counts(result) == (1, 0, 0, 1)
    assert contents(owner.pk, "m0") == ["Apple pie", "Pear pie"]
    assert len(rebuilt_files(owner.pk)) == 2


def test_content_that_changes_back_adds_nothing(tmp_path: Path) -> None:
    owner = make_user()
    texts = ["Apple pie", "Pear pie", "Apple pie"]
    paths = [
        transcript(tmp_path / str(number), [prompt("m0", words, n=number)])
        for number, words in enumerate(texts)
    ]

    results = [import_path(user_id=owner.pk, path=path) for path in paths]

    assert [counts(result) for result in results] == [(1, 1, 0, 0), (1, 0, 0, 1), (1, 0, 1, 0)]
    assert contents(owner.pk, "m0") == ["Apple pie", "Pear pie"]


def test_one_id_with_several_contents_in_one_file(tmp_path: Path) -> None:
    owner = make_user()
    rows = [prompt("m0", words) for words in ("Apple", "Pear", "Apple", "Plum")]
    path = transcript(tmp_path, rows)

    result = import_path(user_id=owner.pk, path=path)

    assert counts(result) == (4, 1, 1, 2)
    assert contents(owner.pk, "m0") == ["Apple", "Pear", "Plum"]
    assert rebuilt_files(owner.pk) == {str(path): path.read_bytes()}


def test_changed_metadata_is_a_duplicate_whose_bytes_are_kept(tmp_path: Path) -> None:
    owner = make_user()
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", [prompt("m0", "Pie")]))
    again = transcript(tmp_path / "b", [prompt("m0", "Pie", gitBranch="tarts")])

    result = import_path(user_id=owner.pk, path=again)

    assert counts(result) == (1, 0, 1, 0)
    assert rebuilt_files(owner.pk)[str(again)] == again.read_bytes()
    with acting_as(owner.pk):
        (record,) = Record.objects.all()
        assert bytes(record.raw) == again.read_bytes()
        observation = Observation.objects.get(import_row__name=str(again))
        assert (observation.record_id, observation.unreadable) == (record.pk, False)
        assert observation.revision_id == Revision.objects.get().pk


def test_other_forms_of_the_same_words_are_duplicates(tmp_path: Path) -> None:
    owner = make_user()
    rows = [prompt("m0", words) for words in ("crème\nx", "cre\u0300me\nx", "crème\r\nx")]
    path = transcript(tmp_path, [*rows, b"\n", prompt("m1", "yes")])

    result = import_path(user_id=owner.pk, path=path)

    assert counts(result) == (4, 2, 2, 0)
    assert contents(owner.pk, "m0") == ["crème\nx"]
    assert rebuilt_files(owner.pk) == {str(path): path.read_bytes()}


def test_what_the_database_cannot_hold_is_shown_by_substitutes_and_kept_in_the_bytes(
    tmp_path: Path,
) -> None:
    owner = make_user()
    raw = b'{"type":"user","uuid":"m0","sessionId":"s","message":{"content":"a\\u0000b\\ud83e"}}\n'
    path = transcript(tmp_path, [raw])

    import_path(user_id=owner.pk, path=path)

    assert contents(owner.pk, "m0") == ["a\u2400b\ufffd"]
    assert rebuilt_files(owner.pk) == {str(path): raw}


# --- Copies under other ids ---------------------------------------------------------------------


def renamed(rows: list[Row], **changes: Any) -> list[Row]:
    """The rows as a newer program writes them again: under new ids."""
    return [
        row
        | {"uuid": f"new-{row['uuid']}"}
        | {"parentUuid": row["parentUuid"] and f"new-{row['parentUuid']}"}
        | changes
        for row in rows
    ]


def test_a_copy_under_new_ids_brings_other_names_and_no_messages(tmp_path: Path) -> None:
    owner = make_user()
    rows = dialogue(6)
    import_path(user_id=owner.pk, path=transcript(tmp_path, rows))
    copy = transcript(tmp_path, renamed(rows, sessionId=OTHER_SESSION), OTHER_SESSION)

    result = import_path(user_id=owner.pk, path=copy)

    assert counts(result) == (6, 0, 6, 0)
    assert reading_order(owner.pk) == reading_order(owner.pk, OTHER_SESSION)
    assert rebuilt_files(owner.pk)[str(copy)] == copy.read_bytes()
    assert integrity_problems(owner.pk) == []
    with acting_as(owner.pk):
        names = dict(Alias.objects.values_list("native_key", "message__native_key"))
    assert names == {f"new-m{number}": f"m{number}" for number in range(6)}


def test_a_session_written_twice_into_one_file_is_kept_once(tmp_path: Path) -> None:
    owner = make_user()
    rows = dialogue(6)
    more = [prompt("m6", "And pears?", "new-m5", 6)]
    path = transcript(tmp_path, [*rows, *renamed(rows), *more])

    result = import_path(user_id=owner.pk, path=path)

    assert counts(result) == (13, 7, 6, 0)
    assert reading_order(owner.pk) == [f"m{number}" for number in range(7)]
    assert rebuilt_files(owner.pk) == {str(path): path.read_bytes()}


def test_other_names_are_known_when_they_come_again(tmp_path: Path) -> None:
    owner = make_user()
    rows = dialogue(4)
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", rows))
    import_path(user_id=owner.pk, path=transcript(tmp_path / "b", renamed(rows)))
    grown = [*renamed(rows), prompt("m4", "Go on", "new-m3", 4)]
    third = [row | {"uuid": f"third-{row['uuid']}"} for row in renamed(rows)]

    result = import_path(user_id=owner.pk, path=transcript(tmp_path / "c", grown))
    again = import_path(user_id=owner.pk, path=transcript(tmp_path / "d", third[1:2]))

    assert counts(result) == (5, 1, 4, 0)
    assert counts(again) == (1, 0, 1, 0)


def test_two_sessions_that_begin_alike_at_the_same_moment_are_two(tmp_path: Path) -> None:
    owner = make_user()
    one = [prompt("a0", "Warm up"), reply("a1", "Ready.", "a0", 1)]
    two = [prompt("b0", "Warm up"), reply("b1", "Ready.", "b0", 2)]
    import_path(user_id=owner.pk, path=transcript(tmp_path, one))

    result = import_path(user_id=owner.pk, path=transcript(tmp_path, two, OTHER_SESSION))

    assert counts(result) == (2, 2, 0, 0)
    with acting_as(owner.pk):
        assert not Alias.objects.exists()


def test_messages_that_all_have_one_time_are_told_apart(tmp_path: Path) -> None:
    owner = make_user()
    rows = [prompt(f"m{number}", f"Words {number}") for number in range(300)]
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", rows[:200]))

    result = import_path(user_id=owner.pk, path=transcript(tmp_path / "b", rows))

    assert counts(result) == (300, 100, 200, 0)
    assert reading_order(owner.pk) == [f"m{number}" for number in range(300)]


def test_an_old_style_copy_shares_its_messages(tmp_path: Path) -> None:
    owner = make_user()
    rows = dialogue(4)
    import_path(user_id=owner.pk, path=transcript(tmp_path, rows))
    copy = [row | {"sessionId": OTHER_SESSION} for row in rows]
    more = [*copy, prompt("x4", "Elsewhere", "m3", 9)]

    result = import_path(user_id=owner.pk, path=transcript(tmp_path, more, OTHER_SESSION))

    assert counts(result) == (5, 1, 4, 0)
    assert reading_order(owner.pk, OTHER_SESSION) == ["m0", "m1", "m2", "m3", "x4"]
    (conversation,) = result.conversations
    assert (conversation.watermark, conversation.total_unique_messages) == (0, 5)
    assert integrity_problems(owner.pk) == []


def test_strangers_with_the_same_file_share_nothing(tmp_path: Path) -> None:
    owner, stranger = make_user(), make_user()
    path = transcript(tmp_path, dialogue(3))
    import_path(user_id=owner.pk, path=path)

    result = import_path(user_id=stranger.pk, path=path)

    assert counts(result) == (3, 3, 0, 0)
    assert not result.already_imported
    assert kept(owner.pk) == kept(stranger.pk)


# --- What an import leaves in the books ---------------------------------------------------------


@pytest.mark.django_db(transaction=True, databases=["default", "operator"])
def test_importing_again_adds_one_import_and_nothing_else() -> None:
    owner = make_user()
    import_all(owner.pk, sample_files())
    before = counts_of_tables()
    stored = stored_files()

    results = [import_path(user_id=owner.pk, path=path) for path in sample_files()]

    after = counts_of_tables()
    assert after == before | {"dedup_import": before["dedup_import"] + len(results)}
    assert stored_files() == stored
    assert {result.already_imported for result in results} == {True}
    for result in results:
        total, new, duplicates, revisions = counts(result)
        assert (new, revisions, duplicates) == (0, 0, total)


def test_the_books_tell_what_an_import_did(tmp_path: Path) -> None:
    owner = make_user()
    import_path(user_id=owner.pk, path=transcript(tmp_path / "a", dialogue(4)))
    rows: list[Row | bytes] = [*dialogue(6), prompt("m0", "Other words"), b"{torn\n", b"\n"]
    path = transcript(tmp_path / "b", [*rows, {"type": "summary", "summary": "Pies"}])

    result = import_path(user_id=owner.pk, path=path)

    with acting_as(owner.pk):
        row = Import.objects.get(name=str(path))
        log = DeduplicationLog.objects.get(import_row=row)
        conversation = Conversation.objects.select_related("watermark").get()
    assert (row.status, row.source, row.parser_version, row.attempts, row.original_id) == (
        ImportStatus.COMPLETED,
        "claude_code",
        1,
        1,
        None,
    )
    assert (row.records, row.messages_in_export, row.unreadable_records) == (10, 7, 1)
    assert (row.new_messages, row.duplicates_filtered, row.revisions) == (2, 4, 1)
    assert row.savings_pct == result.as_json()["savings_pct"] == 57.14
    assert row.finished_at is not None
    assert (log.operation, log.conversation_id) == (Operation.PROCESS_EXPORT, conversation.pk)
    assert (log.messages_processed, log.new_messages, log.duplicates_filtered) == (7, 2, 4)
    assert (log.revisions, log.content_collisions) == (1, 0)
    assert (float(log.storage_savings_pct), conversation.total_messages) == (57.14, 6)
    assert conversation.watermark.highest_index == 5
    assert conversation.title == "Words 0"


def test_the_result_as_json_names_every_figure(tmp_path: Path) -> None:
    owner = make_user()
    path = transcript(tmp_path, dialogue(3))

    result = import_path(user_id=owner.pk, path=path)

    (conversation,) = result.conversations
    counted = {
        "messages_in_export": 3,
        "new_messages": 3,
        "duplicates_filtered": 0,
        "content_collisions": 0,
        "revisions": 0,
        "unreadable_records": 0,
        "processing_time_ms": result.counts.processing_time_ms,
        "savings_pct": 0.0,
    }
    assert json.loads(json.dumps(result.as_json())) == {
        "path": str(path),
        "source": "claude_code",
        "sha256": latest_import(owner.pk).artifact.sha256.hex(),
        "already_imported": False,
        "conversations": [str(conversation.id)],
        "report": {},
        **counted,
    }
    assert conversation.as_json() == {
        "id": str(conversation.id),
        "source": "claude_code",
        "native_key": SESSION,
        "title": "Words 0",
        "watermark": 2,
        "total_unique_messages": 3,
        **counted,
    }


def test_totals_count_shared_messages_once(tmp_path: Path) -> None:
    owner = make_user()
    copy = [row | {"sessionId": OTHER_SESSION} for row in dialogue(4)]
    paths = [
        transcript(tmp_path / "a", dialogue(4)),
        transcript(tmp_path / "b", dialogue(6)),
        transcript(tmp_path, copy, OTHER_SESSION),
    ]

    results = [import_path(user_id=owner.pk, path=path) for path in paths]

    totals = totals_of(results)
    assert (totals["messages_in_export"], totals["new_messages"]) == (14, 6)
    assert (totals["duplicates_filtered"], totals["savings_pct"]) == (8, 57.14)
    assert totals["total_unique_messages"] == 6
    first, second = by_conversation(results)
    assert (first.total_unique_messages, first.counts.messages_in_export) == (6, 10)
    assert (second.total_unique_messages, second.counts.new_messages) == (4, 0)
    assert totals_of([])["savings_pct"] == 0.0


def test_a_file_without_messages_makes_no_conversation(tmp_path: Path) -> None:
    owner = make_user()
    path = transcript(tmp_path, [{"type": "summary", "summary": "Pies", "leafUuid": "m9"}, b"\n"])

    result = import_path(user_id=owner.pk, path=path)

    assert (result.conversations, counts(result)) == ([], (0, 0, 0, 0))
    assert rebuilt_files(owner.pk) == {str(path): path.read_bytes()}
    with acting_as(owner.pk):
        assert not Conversation.objects.exists()


def test_a_title_comes_from_a_persons_own_words(tmp_path: Path) -> None:
    owner = make_user()
    rows = [
        reply("m0", "Welcome."),
        prompt("m1", "<hint>Be kind.</hint>", "m0", 1),
        prompt("m2", "Not mine", "m1", 2, isMeta=True),
        prompt("m3", "<hint>Be brief.</hint> Bake\n a  pie" + "!" * 200, "m2", 3),
    ]

    import_path(user_id=owner.pk, path=transcript(tmp_path, rows))

    with acting_as(owner.pk):
        assert Conversation.objects.get().title == "Bake a pie" + "!" * 110


@pytest.mark.parametrize("folder", ["", "subagents"])
def test_a_note_is_found_to_its_session_from_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    owner = make_user()
    note = tmp_path / SESSION / "subagents" / "agent-a1.meta.json"
    note.parent.mkdir(parents=True)
    note.write_text('{"agentType": "Explore", "description": "Look up densities"}')
    monkeypatch.chdir(note.parent.parent / folder)

    import_path(user_id=owner.pk, path=Path("subagents" if not folder else "") / note.name)

    with acting_as(owner.pk):
        row = Conversation.objects.get()
    assert (row.native_key, row.parent_key) == (f"{SESSION}/agent-a1", SESSION)
    assert row.title == "Look up densities"


# --- The samples, which hold every trap ---------------------------------------------------------


def test_the_samples_hold_what_they_are_said_to_hold() -> None:
    owner = make_user()

    results = [import_path(user_id=owner.pk, path=path) for path in sample_files()]

    totals = totals_of(results)
    with acting_as(owner.pk):
        messages, revisions = Message.objects.count(), Revision.objects.count()
        roles = set(Revision.objects.values_list("role", flat=True))
        agents = Conversation.objects.exclude(parent_key="")
        titles = set(agents.values_list("title", flat=True))
        assert Alias.objects.count() > 20
        assert Record.objects.count() > 20
    assert totals["new_messages"] == totals["total_unique_messages"] == messages
    assert totals["revisions"] == revisions - messages == 1
    assert totals["unreadable_records"] == 4
    assert totals["content_collisions"] == 3
    assert roles == set(Role.values)
    assert titles == {
        "Look up densities",
        "Read parse.py and name amounts that it cannot read.",
    }
    assert integrity_problems(owner.pk) == []


def test_both_ways_of_a_rewound_session_are_kept() -> None:
    owner = make_user()
    (path,) = SAMPLES.rglob(f"{REWOUND}.jsonl")

    import_path(user_id=owner.pk, path=path)

    with acting_as(owner.pk):
        prompts = Message.objects.filter(revisions__text__startswith="To ")
        parents = set(prompts.values_list("parent_key", flat=True))
        assert (prompts.count(), len(parents)) == (2, 1)


def test_the_samples_give_the_same_archive_in_every_order() -> None:
    archives, shuffler = [], random.Random(20260302)

    for _ in range(6):
        owner, paths = make_user(), sample_files()
        shuffler.shuffle(paths)
        import_all(owner.pk, paths)
        archives.append(kept(owner.pk))
        assert rebuilt_files(owner.pk) == {str(path): path.read_bytes() for path in paths}
        assert integrity_problems(owner.pk) == []

    assert all(archive == archives[0] for archive in archives)


def test_the_growing_sample_reads_in_order_whichever_copy_came_first() -> None:
    copies = sorted(SAMPLES.rglob(f"{MAIN}.jsonl"))
    assert len(copies) == 3
    orders = []

    for paths in (copies, copies[::-1]):
        owner = make_user()
        import_all(owner.pk, paths)
        with acting_as(owner.pk):
            placed = Placement.objects.in_reading_order()
            orders.append(list(placed.values_list("message__revisions__text", flat=True)))

    assert orders[0] == orders[1]
    assert len(orders[0]) == 22
