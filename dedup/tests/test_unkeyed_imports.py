"""Messages without ids, from the file to the conversation."""

import json
import zipfile
from pathlib import Path

import pytest
from django.db import connection

from accounts.models import User
from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup.errors import SeveralConversationsError
from dedup.models import Conversation, Message, Placement
from dedup.services import Wanted, import_path, preview
from dedup.tests.factories import counts_of_tables
from dedup.verification import integrity_problems

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


@pytest.fixture
def owner() -> User:
    return make_user()


def said(*words: str) -> list[dict[str, str]]:
    roles = ["user", "assistant"]
    return [{"role": roles[at % 2], "content": text} for at, text in enumerate(words)]


def written(path: Path, *conversations: list[dict[str, str]]) -> Path:
    """One conversation a line, as programs hand on training data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"messages": messages}) + "\n" for messages in conversations]
    path.write_text("".join(lines))
    return path


def read(owner: User, key: str) -> list[list[str]]:
    """The words of a conversation, segment by segment."""
    with acting_as(owner.pk):
        placed = Placement.objects.filter(segment__conversation__native_key=key)
        rows = placed.in_reading_order().values_list("segment__number", "message__revisions__text")
        numbers = sorted({number for number, _ in rows})
        return [[text for number, text in rows if number == each] for each in numbers]


def keys(owner: User) -> list[str]:
    with acting_as(owner.pk):
        whole = Conversation.objects.filter(merged_into=None)
        return sorted(whole.values_list("native_key", flat=True))


def test_a_list_that_grew_under_another_name_is_the_same_conversation(
    owner: User, tmp_path: Path
) -> None:
    import_path(user_id=owner.pk, path=written(tmp_path / "a.jsonl", said("Pie?", "Apple.")))
    grown = written(tmp_path / "b.jsonl", said("Pie?", "Apple.", "And then?", "Plum."))

    result = import_path(user_id=owner.pk, path=grown)

    assert (result.counts.new_messages, result.counts.duplicates_filtered) == (2, 2)
    assert keys(owner) == ["a"]
    assert read(owner, "a") == [["Pie?", "Apple.", "And then?", "Plum."]]
    assert integrity_problems(owner.pk) == []


def test_two_equal_conversations_of_one_file_are_two(owner: User, tmp_path: Path) -> None:
    twins = [said("Pie?", "Apple."), said("Pie?", "Apple.")]

    first = import_path(user_id=owner.pk, path=written(tmp_path / "a.jsonl", *twins))
    again = import_path(user_id=owner.pk, path=written(tmp_path / "b.jsonl", *twins, said("Plum?")))

    assert first.counts.new_messages == 4
    assert (again.counts.new_messages, again.counts.duplicates_filtered) == (1, 4)
    assert keys(owner) == ["a#1", "a#2", "b#3"]


def test_the_third_of_a_list_made_anew_is_another_conversation(owner: User, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    import_path(
        user_id=owner.pk, path=written(path, said("Pie?", "Apple."), said("Tea?", "Black."))
    )

    import_path(
        user_id=owner.pk, path=written(path, said("Soup?", "Leek."), said("Tea?", "Black."))
    )

    first, second, third = keys(owner)
    assert (first, third) == ("train#1", "train#2")
    assert second.startswith("train#1~")
    assert [read(owner, key) for key in (first, second, third)] == [
        [["Pie?", "Apple."]],
        [["Soup?", "Leek."]],
        [["Tea?", "Black."]],
    ]


def test_what_bridges_two_conversations_makes_them_one(owner: User, tmp_path: Path) -> None:
    words = [f"Words number {n}" for n in range(14)]
    parts = {"head": words[:6], "tail": words[8:], "bridge": words[2:12]}
    for name, part in parts.items():
        import_path(user_id=owner.pk, path=written(tmp_path / f"{name}.json", said(*part)))

    more = written(tmp_path / "tail.json", said(*words[8:], "One more"))
    result = import_path(user_id=owner.pk, path=more)

    assert result.counts.new_messages == 1
    assert keys(owner) == ["head"]
    assert read(owner, "head") == [[*words, "One more"]]
    with acting_as(owner.pk):
        assert Conversation.objects.get(native_key="tail").merged_into is not None
        assert Message.objects.count() == 15
    assert integrity_problems(owner.pk) == []


def test_a_file_is_filed_under_the_conversation_that_was_asked_for(
    owner: User, tmp_path: Path
) -> None:
    wanted = Wanted(conversation="pies")
    path = written(tmp_path / "a.jsonl", said("Pie?", "Apple."))

    first = import_path(user_id=owner.pk, path=path, wanted=wanted)
    again = import_path(user_id=owner.pk, path=path, wanted=wanted)
    elsewhere = import_path(user_id=owner.pk, path=path)

    assert first.counts.new_messages == 2
    assert again.already_imported
    assert not elsewhere.already_imported
    assert elsewhere.counts.new_messages == 0
    assert keys(owner) == ["pies"]


def test_several_conversations_cannot_be_filed_under_one(owner: User, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", said("Pie?", "Apple."), said("Tea?", "Black."))
    before = counts_of_tables()

    with pytest.raises(SeveralConversationsError, match="a#1, a#2 and maybe more"):
        import_path(user_id=owner.pk, path=path, wanted=Wanted(conversation="pies"))

    assert counts_of_tables() == before


def test_two_conversations_of_a_file_that_are_one_are_counted_once(
    owner: User, tmp_path: Path
) -> None:
    pies, soups = said(*(f"Pie {n}" for n in range(6))), said(*(f"Soup {n}" for n in range(6)))
    import_path(user_id=owner.pk, path=written(tmp_path / "x" / "chat.json", pies))
    import_path(user_id=owner.pk, path=written(tmp_path / "y" / "chat.json", soups))

    both = import_path(user_id=owner.pk, path=written(tmp_path / "both.jsonl", pies, soups))

    assert both.counts.messages_in_export == both.counts.duplicates_filtered == 12
    assert read(owner, "chat") == [
        [f"Pie {n}" for n in range(6)],
        [f"Soup {n}" for n in range(6)],
    ]


def test_after_a_bridge_a_file_that_names_both_parts_brings_only_what_is_new(
    owner: User, tmp_path: Path
) -> None:
    def named(file: str, **conversations: list[str]) -> Path:
        rows = [
            json.dumps({"id": key, "messages": said(*words)}) + "\n"
            for key, words in conversations.items()
        ]
        (tmp_path / file).write_text("".join(rows))
        return tmp_path / file

    first, second = [f"Pie {n}" for n in range(6)], [f"Soup {n}" for n in range(6)]
    import_path(user_id=owner.pk, path=named("1.jsonl", pies=first, soups=second))
    import_path(user_id=owner.pk, path=written(tmp_path / "2.json", said(*first, *second)))

    grown = {"pies": [*first, "Pie 6", "Pie 7"], "soups": [*second, "Soup 6", "Soup 7"]}
    result = import_path(user_id=owner.pk, path=named("3.jsonl", **grown))

    assert (result.counts.messages_in_export, result.counts.new_messages) == (16, 4)
    with acting_as(owner.pk):
        assert Message.objects.count() == 16
    assert integrity_problems(owner.pk) == []


def test_a_zip_of_many_files_needs_no_more_locks_than_one_of_few(
    owner: User, tmp_path: Path
) -> None:
    def locks(number: int) -> int:
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for each in range(number):
                talk = {"messages": said(f"Pie {number} {each}?", f"Apple {number} {each}.")}
                archive.writestr(f"{each}.json", json.dumps(talk))
        with preview(user_id=owner.pk) as read_only:
            read_only(user_id=owner.pk, path=path)
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()")
                return int(cursor.fetchone()[0])

    assert locks(30) - locks(3) < 60
