"""Documents as a person or a script gets them from the command."""

import json
import re
import stat
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from accounts.tests.factories import make_operator, make_user
from common.tenancy import acting_as
from common.tests.connections import connect_as_superuser
from dedup.management.commands import export_conversations
from dedup.models import Conversation
from dedup.rendering import Form, file_name, render_conversation
from dedup.tests.factories import (
    SESSION,
    counts_of_tables,
    dialogue,
    import_all,
    prompt,
    transcript,
)
from dedup.tests.planted_secrets import PLANTED
from dedup.tests.processes import manage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

REASON = "ticket 4711 of the person"
LATER = "f3c0a9d4-52b7-4b0e-8a41-6d1c9e22b870"
EARLIER = "0d0c2c38-56b5-4be7-9d3c-5b9f7c1e8a01"


@pytest.fixture
def ada(tmp_path: Path) -> User:
    """With three conversations, of which the last one to come is the first one in time."""
    ada = make_operator("ada")
    later = [prompt("l0", "Later", sessionId=LATER, timestamp="2026-03-03T10:00:00Z")]
    earlier = [prompt("e0", "Earlier", sessionId=EARLIER, timestamp="2026-03-01T10:00:00Z")]
    rows = {SESSION: dialogue(2), LATER: later, EARLIER: earlier}
    import_all(ada.pk, [transcript(tmp_path / "in", found, key) for key, found in rows.items()])
    return ada


def export(owner: User, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and complaints, with `folder` as the output."""
    out, error, code = StringIO(), StringIO(), 0
    given = ["--owner", owner.username, "--output", str(folder), *arguments]
    try:
        call_command("export_conversations", *given, stdout=out, stderr=error)
    except SystemExit as end:
        code = int(str(end.code))
    return code, out.getvalue(), error.getvalue()


def refusal(owner: User, folder: Path, *arguments: str) -> str:
    with pytest.raises(CommandError) as refused:
        export(owner, folder, *arguments)
    return str(refused.value)


def names(owner: User, form: Form) -> dict[str, str]:
    """The name of the file of each conversation, by its key."""
    with acting_as(owner.pk):
        rows = Conversation.objects.visible_to(owner.pk)
        return {row.native_key: file_name(row, form) for row in rows}


def document(owner: User, key: str, form: Form, **options: Any) -> str:
    with acting_as(owner.pk):
        row = Conversation.objects.visible_to(owner.pk).get(native_key=key)
        return "".join(render_conversation(row, form, **options))


@pytest.mark.parametrize("form", Form)
def test_each_conversation_has_its_file(ada: User, tmp_path: Path, form: Form) -> None:
    out = tmp_path / "a" / "b"
    before = counts_of_tables()

    code, said, complaints = export(ada, out, "--form", form)

    expected = names(ada, form)
    assert (code, complaints) == (0, "")
    assert said.splitlines() == [
        *(f"{out / expected[key]}" for key in (EARLIER, SESSION, LATER)),
        "3 conversations written.",
    ]
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        name: document(ada, key, form) for key, name in expected.items()
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert counts_of_tables() == before


def test_exporting_again_writes_the_same_files_whatever_the_title_is(
    ada: User, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(ada, out)
    before = {path.name for path in out.iterdir()}
    with acting_as(ada.pk):
        Conversation.objects.update(title="All have this title")

    export(ada, out)

    assert {path.name for path in out.iterdir()} == before
    assert all("# All have this title\n" in path.read_text() for path in out.iterdir())


def test_people_may_write_to_one_folder(ada: User, tmp_path: Path) -> None:
    bob = make_user("bob")
    import_all(bob.pk, [transcript(tmp_path / "bob", [prompt("m0", "Words of Bob")])])
    out = tmp_path / "out"

    export(ada, out)
    export(bob, out, "--reason", REASON)

    files = [path.read_text() for path in out.iterdir()]
    assert len(files) == 4
    assert sum("Words of Bob" in text for text in files) == 1


def test_conversations_are_chosen_by_key_and_by_id(ada: User, tmp_path: Path) -> None:
    with acting_as(ada.pk):
        pk = Conversation.objects.get(native_key=LATER).pk

    _, said, _ = export(ada, tmp_path / "out", "--conversation", EARLIER, str(pk), EARLIER)

    expected = names(ada, Form.MARKDOWN)
    assert said.splitlines()[-1] == "2 conversations written."
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        expected[EARLIER],
        expected[LATER],
    }


def test_conversations_are_chosen_by_source(ada: User, tmp_path: Path) -> None:
    _, none, _ = export(ada, tmp_path / "out", "--source", "chatgpt")
    _, all_of_them, _ = export(ada, tmp_path / "out", "--source", "claude_code")

    assert none == "0 conversations written.\n"
    assert all_of_them.splitlines()[-1] == "3 conversations written."


def test_a_merged_conversation_is_left_out_and_leads_to_the_whole_one(
    ada: User, tmp_path: Path
) -> None:
    with acting_as(ada.pk):
        whole = Conversation.objects.get(native_key=SESSION)
        Conversation.objects.filter(native_key=LATER).update(merged_into=whole)

    export(ada, tmp_path / "all")
    export(ada, tmp_path / "one", "--conversation", LATER)

    expected = names(ada, Form.MARKDOWN)
    found = {path.name for path in (tmp_path / "all").iterdir()}
    assert found == {expected[SESSION], expected[EARLIER]}
    assert [path.name for path in (tmp_path / "one").iterdir()] == [expected[SESSION]]


def test_a_strangers_conversation_is_not_there(ada: User, tmp_path: Path) -> None:
    bob = make_user("bob")

    message = refusal(bob, tmp_path / "out", "--conversation", SESSION, "--reason", REASON)

    assert message == f"There is no conversation {SESSION}."
    assert not (tmp_path / "out").exists()


def test_an_unknown_conversation_ends_it_before_anything_is_written(
    ada: User, tmp_path: Path
) -> None:
    message = refusal(ada, tmp_path / "out", "--conversation", SESSION, "nothing")

    assert message == "There is no conversation nothing."
    assert not (tmp_path / "out").exists()


def test_all_stand_in_one_file_in_order_of_time(ada: User, tmp_path: Path) -> None:
    out = tmp_path / "out"

    _, said, _ = export(ada, out, "--merge")
    export(ada, out, "--merge", "--form", "json")

    assert said == f"{out}/conversations.md\n3 conversations written.\n"
    assert sorted(path.name for path in out.iterdir()) == ["conversations.json", "conversations.md"]
    text = (out / "conversations.md").read_text()
    assert re.findall("^# .*", text, re.MULTILINE) == ["# Earlier", "# Words 0", "# Later"]
    read = json.loads((out / "conversations.json").read_text())
    assert [found["conversation"]["title"] for found in read["conversations"]] == [
        "Earlier",
        "Words 0",
        "Later",
    ]


def test_no_page_is_made_of_several(ada: User, tmp_path: Path) -> None:
    message = refusal(ada, tmp_path / "out", "--merge", "--form", "html")

    assert message == "--merge makes Markdown or JSON: choose one of them with --form."
    assert not (tmp_path / "out").exists()


def test_one_document_goes_to_standard_output(ada: User) -> None:
    _, one, _ = export(ada, Path("-"), "--form", "json", "--conversation", SESSION)
    _, merged, _ = export(ada, Path("-"), "--form", "json", "--merge")

    assert one == document(ada, SESSION, Form.JSON)
    assert len(json.loads(merged)["conversations"]) == 3
    assert refusal(ada, Path("-")) == (
        "3 conversations are chosen, and standard output takes one document:"
        " name one with --conversation, or add --merge."
    )


def test_secrets_are_masked_unless_they_are_asked_for(ada: User, tmp_path: Path) -> None:
    planted = PLANTED[3]
    import_all(ada.pk, [transcript(tmp_path / "in", [prompt("s0", planted.text)], "secret")])
    chosen = ["--conversation", SESSION]

    export(ada, tmp_path / "masked", *chosen)
    export(ada, tmp_path / "revealed", *chosen, "--reveal-secrets")

    (masked,) = (tmp_path / "masked").iterdir()
    (revealed,) = (tmp_path / "revealed").iterdir()
    assert planted.secret not in masked.read_text()
    assert "GITHUB_TOKEN=[github_pat]" in masked.read_text()
    assert f"GITHUB_TOKEN={planted.secret}" in revealed.read_text()


def test_a_branch_that_was_left_is_left_out_where_that_is_asked_for(
    ada: User, tmp_path: Path
) -> None:
    rows = [*dialogue(2), prompt("left", "Left", "m1", 3), prompt("chosen", "Chosen", "m1", 4)]
    import_all(ada.pk, [transcript(tmp_path / "more", rows)])

    export(ada, tmp_path / "out", "--branch", "active", "--conversation", SESSION)

    (path,) = (tmp_path / "out").iterdir()
    assert path.read_text() == document(ada, SESSION, Form.MARKDOWN, branch="active")
    assert "\nLeft\n" not in path.read_text()


@pytest.mark.parametrize("merge", [[], ["--merge"]])
def test_an_interrupted_export_leaves_whole_files_only(
    ada: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge: list[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    merged = out / "conversations.md"
    merged.write_text("of yesterday")

    def interrupt(rows: Any, form: Form, **options: Any) -> Any:
        yield "begun"
        if merge or rows.native_key == SESSION:
            raise KeyboardInterrupt
        yield " and ended"

    monkeypatch.setattr(export_conversations, "render_conversation", interrupt)
    monkeypatch.setattr(export_conversations, "render_conversations", interrupt)

    code, _, complaints = export(ada, out, *merge)

    assert code == 130
    assert complaints == "Interrupted: the files that are listed are whole, no other was made.\n"
    earlier = {} if merge else {names(ada, Form.MARKDOWN)[EARLIER]: "begun and ended"}
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "conversations.md": "of yesterday"
    } | earlier


def test_imports_wait_while_a_document_is_written(
    ada: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
    got: list[Any] = []

    def ask(*given: Any, **options: Any) -> Any:
        with connect_as_superuser() as other:
            got.append(other.execute(lock.encode(), [f"archive:{ada.pk}"]).fetchone())
        yield "words"

    monkeypatch.setattr(export_conversations, "render_conversation", ask)
    export(ada, tmp_path / "out", "--conversation", SESSION)
    list(ask())

    assert got == [(False,), (True,)]


def test_what_cannot_be_written_is_said(ada: User, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    assert refusal(ada, tmp_path / "file") == "It cannot be written: File exists."
    assert (tmp_path / "file").read_text() == "in the way"


def test_exit_codes_of_the_process(ada: User, tmp_path: Path) -> None:
    given = ["export_conversations", "--owner", ada.username, "--output", str(tmp_path / "out")]

    good, bad = manage(*given), manage(*given, "--conversation", "nothing")

    assert (good.returncode, good.stderr) == (0, "")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == "CommandError: There is no conversation nothing.\n"
