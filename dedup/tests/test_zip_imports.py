"""Bad files as whole imports: a refusal that changes nothing, or the bad part kept raw."""

import io
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from accounts.models import User
from accounts.tests.factories import client_of, make_user
from common.errors import DomainError
from common.tests.broker import empty_queue
from dedup.importing import run_import
from dedup.results import FileResult
from dedup.services import import_path, keep_upload
from dedup.tests.exports_json import (
    BREAD,
    as_json,
    as_lines,
    chatgpt_conversation,
    chatgpt_export,
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
    spoken,
)
from dedup.tests.factories import (
    counts_of_tables,
    latest_import,
    lines,
    prompt,
    rebuilt_files,
    stored_files,
)
from dedup.tests.test_any_order import assert_sound, reading, zipped

pytestmark = pytest.mark.django_db
# Rows that others count must be committed.
committed = pytest.mark.django_db(transaction=True)

ENTRY = b"PK\x01\x02"


@pytest.fixture(autouse=True)
def _a_quiet_queue() -> Iterator[None]:
    yield
    empty_queue()


# --- Zips that are refused -----------------------------------------------------------------------


def packed(*members: tuple[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


def patched(data: bytes, field: int, form: str, value: int, entry: int) -> bytes:
    """The zip with another value in the directory's entry of that number."""
    place = -1
    for _ in range(entry + 1):
        place = data.index(ENTRY, place + 1)
    changed = bytearray(data)
    struct.pack_into(form, changed, place + field, value)
    return bytes(changed)


def of_three() -> bytes:
    """Three members that can all be read."""
    names = ("conversations-000.json", "conversations-001.json", "conversations-002.json")
    return packed(*((name, chatgpt_export()) for name in names))


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "bomb": (
        lambda: packed(("conversations.json", chatgpt_export() + b" " * 60_000_000)),
        "unsafe_archive",
    ),
    "path traversal": (
        lambda: packed(("../../conversations.json", chatgpt_export())),
        "unsafe_archive",
    ),
    "absolute path": (
        lambda: packed(("a.json", chatgpt_export()), ("C:\\x.json", b"{}")),
        "unsafe_archive",
    ),
    "encrypted": (lambda: patched(of_three(), 8, "<H", 1, entry=2), "unsafe_archive"),
    "cut off": (lambda: of_three()[:-30], "unsafe_archive"),
    "nested zips only": (lambda: packed(("a.zip", of_three())), "unknown_format"),
    "no export": (
        lambda: packed(("readme.txt", b"Hello."), ("users.json", b'[{"id": 1}]'), ("a.png", b"P")),
        "unknown_format",
    ),
    "empty": (packed, "unknown_format"),
}
# The first members can be read: what is wrong is found while they are imported.
DAMAGED_LATER: dict[str, Callable[[], bytes]] = {
    "crc": lambda: patched(of_three(), 16, "<L", 7, entry=1),
    "size": lambda: patched(of_three(), 24, "<L", 7, entry=1),
    "last member": lambda: patched(of_three(), 16, "<L", 7, entry=2),
}


@committed
@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_zip_is_refused_and_nothing_is_kept(tmp_path: Path, name: str) -> None:
    make, code = REFUSED[name]
    owner, path = make_user(), tmp_path / "export.zip"
    path.write_bytes(make())
    before, files = counts_of_tables(), stored_files()

    with pytest.raises(DomainError) as caught:
        import_path(user_id=owner.pk, path=path)
    with path.open("rb") as upload, pytest.raises(DomainError) as uploaded:
        keep_upload(user_id=owner.pk, upload=upload, name="export.zip")

    assert (caught.value.code, uploaded.value.code) == (code, code)
    assert caught.value.detail.endswith(".")
    assert (counts_of_tables(), stored_files()) == (before, files)


@committed
@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_zip_is_refused_by_the_api_and_nothing_is_kept(name: str) -> None:
    make, code = REFUSED[name]
    ada, upload = make_user(), io.BytesIO(make())
    upload.name = "export.zip"
    client = client_of(ada)
    before, files = counts_of_tables(), stored_files()

    answer = client.post("/api/v1/imports/", {"file": upload}, format="multipart")

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (counts_of_tables(), stored_files()) == (before, files)


@committed
@pytest.mark.parametrize("name", DAMAGED_LATER)
def test_a_member_that_is_damaged_undoes_those_before_it(tmp_path: Path, name: str) -> None:
    owner, path = make_user(), tmp_path / "export.zip"
    path.write_bytes(DAMAGED_LATER[name]())
    before = counts_of_tables()

    with pytest.raises(DomainError) as caught:
        import_path(user_id=owner.pk, path=path)

    assert caught.value.code == "unsafe_archive"
    assert counts_of_tables() == before


def test_a_member_that_is_damaged_leaves_no_file_in_the_storage(tmp_path: Path) -> None:
    owner, path = make_user(), tmp_path / "export.zip"
    path.write_bytes(DAMAGED_LATER["crc"]())
    files = stored_files()

    with pytest.raises(DomainError):
        import_path(user_id=owner.pk, path=path)

    assert stored_files() == files


@committed
@pytest.mark.parametrize("name", DAMAGED_LATER)
def test_an_upload_with_a_damaged_member_is_refused_at_the_door(name: str) -> None:
    owner = make_user()
    before, files = counts_of_tables(), stored_files()

    with pytest.raises(DomainError, match="export or pack it again") as caught:
        keep_upload(user_id=owner.pk, upload=io.BytesIO(DAMAGED_LATER[name]()), name="export.zip")

    assert caught.value.code == "unsafe_archive"
    assert (counts_of_tables(), stored_files()) == (before, files)


@committed
def test_a_zip_whose_sizes_are_over_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, path = make_user(), tmp_path / "export.zip"
    path.write_bytes(of_three())
    monkeypatch.setattr(settings, "LARGEST_UNPACKED_BYTES", 1000)
    before, files = counts_of_tables(), stored_files()

    with pytest.raises(DomainError, match="unpacks to more than 1000 bytes") as caught:
        import_path(user_id=owner.pk, path=path)

    assert caught.value.code == "unsafe_archive"
    assert (counts_of_tables(), stored_files()) == (before, files)


def test_what_is_no_export_in_a_zip_is_named_beside_what_is(tmp_path: Path) -> None:
    owner = make_user()
    members = {
        "a/notes.zip": of_three(),
        "b.json": b'{"not": "an export"}',
        "conversations.json": chatgpt_export(),
        "é/photo.png": b"P" * 100,
    }
    path = zipped(tmp_path / "export.zip", members)

    result = import_path(user_id=owner.pk, path=path)

    assert (result.source, result.counts.new_messages) == ("chatgpt", 10)
    assert result.counts.unreadable_records == 0
    whole = rebuilt_files(owner.pk)[str(path)]
    assert chatgpt_export() in whole
    assert of_three() not in whole
    assert_sound(owner.pk)


# --- Bad records in every format -----------------------------------------------------------------

GOOD = ["Words before", "Words behind"]
BETWEEN = "@@"


def of_chatgpt(texts: Sequence[str]) -> bytes:
    conversations = []
    for key, said in (("tarts", texts), ("bread", GOOD)):
        nodes = [
            chatgpt_said(f"n{n}", f"n{n - 1}" if n else None, "user", text, [f"n{n + 1}"])
            for n, text in enumerate(said)
        ]
        conversations.append(chatgpt_conversation(nodes, key, key))
    return as_json(conversations)


def of_claude_ai(texts: Sequence[str]) -> bytes:
    return as_json(
        [
            claude_ai_conversation(
                [claude_ai_message(f"{key}{n}", "human", text) for n, text in enumerate(said)], key
            )
            for key, said in (("tarts", texts), ("bread", GOOD))
        ]
    )


def of_openai(texts: Sequence[str]) -> bytes:
    return as_json(
        [
            {"id": key, "messages": [{"role": "user", "content": text} for text in said]}
            for key, said in (("tarts", texts), ("bread", GOOD))
        ]
    )


def of_sharegpt(texts: Sequence[str]) -> bytes:
    return as_lines(
        [
            {"id": key, "conversations": [{"from": "human", "value": text} for text in said]}
            for key, said in (("tarts", texts), ("bread", GOOD))
        ]
    )


def of_langchain(texts: Sequence[str]) -> bytes:
    return as_json([{"type": "human", "data": {"content": text}} for text in texts])


def of_transcript(texts: Sequence[str]) -> bytes:
    return lines([prompt(f"m{n}", text, second=n) for n, text in enumerate(texts)])


def of_codex(texts: Sequence[str]) -> bytes:
    # The last line is the next's own event, which says nothing.
    rows = codex_rollout([spoken("user", text) for text in texts]).splitlines(keepends=True)
    return b"".join(row for row in rows if b"event_msg" not in row)


def of_legacy(texts: Sequence[str]) -> bytes:
    rows = [legacy_row("tarts", legacy_message(n, "user", text)) for n, text in enumerate(texts)]
    return json_lines(rows)


def of_text(texts: Sequence[str]) -> bytes:
    return export_text([("reply", text) for text in texts], width=20_000_000)


@dataclass(frozen=True)
class Form:
    """A format's writer, the file's name, and what a damaged message takes along with it."""

    write: Callable[[Sequence[str]], bytes]
    name: str
    alone: bool = True  # the other messages of the conversation are read


FORMS = {
    "chatgpt": Form(of_chatgpt, "conversations.json", alone=False),
    "claude.ai": Form(of_claude_ai, "conversations.json", alone=False),
    "openai": Form(of_openai, "openai.json", alone=False),
    "sharegpt": Form(of_sharegpt, "sharegpt.jsonl", alone=False),
    "langchain": Form(of_langchain, "langchain.json"),
    "transcript": Form(of_transcript, "talk.jsonl"),
    "codex": Form(of_codex, "rollout.jsonl"),
    "legacy": Form(of_legacy, "log.jsonl"),
    "text": Form(of_text, "talk.txt"),
}
JSON_FORMS = [name for name in FORMS if name != "text"]


def imported(folder: Path, form: Form, data: bytes, *, zipped_too: bool = False) -> FileResult:
    """The file as an import of an empty archive, with all that always holds."""
    owner = make_user()
    path = folder / form.name
    path.write_bytes(data)
    if zipped_too:
        path = zipped(folder / "export.zip", {form.name: data})

    result = import_path(user_id=owner.pk, path=path)

    counts = result.counts
    assert counts.messages_in_export == counts.new_messages + counts.duplicates_filtered
    assert rebuilt_files(owner.pk)[str(path)].endswith(data)
    assert_sound(owner.pk)
    words = [text for texts in reading(owner.pk).values() for text in texts]
    for text in GOOD:
        assert text in words
    return result


def bad_record(form: Form, old: bytes, new: bytes) -> bytes:
    data = form.write([GOOD[0], BETWEEN, GOOD[1]])
    assert old in data
    return data.replace(old, new)


@pytest.mark.parametrize("name", JSON_FORMS)
@pytest.mark.parametrize("bad", [b"\xff\xfe", b"a\x00b", b'",,,"'], ids=["utf-8", "NUL", "syntax"])
def test_a_message_that_is_no_json_is_kept_raw_and_the_rest_is_read(
    tmp_path: Path, name: str, bad: bytes
) -> None:
    form = FORMS[name]
    good = len(GOOD) if form.alone else 0

    result = imported(tmp_path, form, bad_record(form, BETWEEN.encode(), bad))

    assert result.counts.unreadable_records == 1
    assert result.counts.new_messages == (good or len(GOOD))


@pytest.mark.parametrize("name", JSON_FORMS)
def test_a_message_of_three_hundred_lists_is_kept_raw_and_the_rest_is_read(
    tmp_path: Path, name: str
) -> None:
    form = FORMS[name]
    deep = b"[" * 300 + b"]" * 300

    result = imported(tmp_path, form, bad_record(form, b'"@@"', deep), zipped_too=True)

    assert result.counts.unreadable_records == 1
    assert result.counts.new_messages == (2 if form.alone else 4)


@pytest.mark.parametrize("name", JSON_FORMS)
def test_a_message_of_a_hundred_thousand_lists_is_kept_raw(tmp_path: Path, name: str) -> None:
    form = FORMS[name]
    deep = b"[" * 100_000 + b"]" * 100_000

    result = imported(tmp_path, form, bad_record(form, b'"@@"', deep))

    assert result.counts.unreadable_records == 1
    assert result.counts.new_messages == 2


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("bad", ["a\\u0000b", "\\ud83e", "\\ud83e\\u0000\\udfff"], ids=ascii)
def test_nul_and_lone_surrogates_are_read_by_substitutes(
    tmp_path: Path, name: str, bad: str
) -> None:
    form = FORMS[name]
    raw = bad.encode()
    if name == "text":
        raw = bad.encode().decode("unicode_escape").encode("utf-8", "surrogatepass")

    result = imported(tmp_path, form, bad_record(form, BETWEEN.encode(), raw))

    assert result.counts.unreadable_records == 0
    assert result.counts.new_messages == (3 if form.alone else 5)


@pytest.mark.parametrize("name", ["chatgpt", "openai", "codex", "text"])
def test_a_message_of_ten_megabytes_is_read(tmp_path: Path, name: str) -> None:
    form = FORMS[name]

    result = imported(tmp_path, form, bad_record(form, BETWEEN.encode(), b"rye, " * 2_000_000))

    assert result.counts.unreadable_records == 0
    assert result.counts.new_messages == (3 if form.alone else 5)


NAMES_TWICE = {
    "chatgpt": (b'"author": {"role"', b'"author": null, "author": {"role"'),
    "claude.ai": (b'"sender":', b'"sender": [], "sender":'),
    "openai": (b'"role":', b'"role": 7, "role":'),
    "sharegpt": (b'"from":', b'"from": "nobody", "from":'),
    "langchain": (b'"data":', b'"data": 7, "data":'),
    "transcript": (b'"uuid":', b'"uuid": 7, "uuid":'),
    "codex": (b'"payload":', b'"payload": 7, "payload":'),
    "legacy": (b'"message":', b'"message": 7, "message":'),
}


@pytest.mark.parametrize("name", JSON_FORMS)
def test_of_a_name_that_stands_twice_the_last_one_counts(tmp_path: Path, name: str) -> None:
    form = FORMS[name]

    result = imported(tmp_path, form, bad_record(form, *NAMES_TWICE[name]))

    assert result.counts.unreadable_records == 0
    assert result.counts.new_messages == (3 if form.alone else 5)


def test_of_a_node_that_stands_twice_both_contents_are_kept(tmp_path: Path) -> None:
    owner, path = make_user(), tmp_path / "tarts.json"
    nodes = [
        chatgpt_node("root", None, None, ["t1"]),
        chatgpt_said("t1", "root", "user", "Apple", ["t2"]),
        chatgpt_said("t2", "t1", "assistant", "Pear"),
    ]
    path.write_bytes(as_json(chatgpt_conversation(nodes)).replace(b'"t2": {', b'"t1": {'))

    result = import_path(user_id=owner.pk, path=path)

    assert (result.counts.new_messages, result.counts.revisions) == (1, 1)
    assert rebuilt_files(owner.pk)[str(path)] == path.read_bytes()
    assert_sound(owner.pk)


@pytest.mark.parametrize("name", JSON_FORMS)
@pytest.mark.parametrize("zip_it", [False, True], ids=["plain", "zip"])
def test_an_export_that_was_cut_off_is_read_as_far_as_it_goes(
    tmp_path: Path,
    name: str,
    zip_it: bool,  # noqa: FBT001  # drawn by the parameters
) -> None:
    form, owner = FORMS[name], make_user()
    data = form.write([*GOOD, "The last words of all"])
    if not form.alone:
        data = (
            data.replace(b"bread", b"\x00").replace(b"tarts", b"bread").replace(b"\x00", b"tarts")
        )
    data = data[: data.rindex(b"ords")]
    path = tmp_path / form.name
    path.write_bytes(data)
    if zip_it:
        path = zipped(tmp_path / "export.zip", {form.name: data})

    result = import_path(user_id=owner.pk, path=path)

    assert result.counts.unreadable_records == 1
    assert result.counts.new_messages >= 2
    assert rebuilt_files(owner.pk)[str(path)].endswith(data)
    assert_sound(owner.pk)


@committed
@pytest.mark.parametrize("length", [0, 1, 30])
def test_a_chatgpt_export_that_is_cut_off_before_its_first_message_is_refused(
    tmp_path: Path, length: int
) -> None:
    owner, path = make_user(), tmp_path / "conversations.json"
    path.write_bytes(chatgpt_export()[:length])
    before = counts_of_tables()

    with pytest.raises(DomainError) as caught:
        import_path(user_id=owner.pk, path=path)

    assert caught.value.code == "unknown_format"
    assert counts_of_tables() == before


def test_a_first_conversation_that_is_cut_off_is_kept_raw(tmp_path: Path) -> None:
    owner, path = make_user(), tmp_path / "conversations.json"
    path.write_bytes(chatgpt_export()[:900])

    result = import_path(user_id=owner.pk, path=path)

    assert (result.counts.unreadable_records, result.counts.messages_in_export) == (1, 0)
    assert rebuilt_files(owner.pk)[str(path)] == path.read_bytes()
    assert_sound(owner.pk)


def test_a_bad_conversation_in_a_zip_is_counted_and_the_other_members_are_read(
    tmp_path: Path,
) -> None:
    owner = make_user()
    members = {
        "conversations-000.json": chatgpt_export(),
        "conversations-001.json": chatgpt_export().replace(BREAD.encode(), b"\xff\xff"),
        "rollout.jsonl": of_codex(GOOD) + b"{torn\n",
        "talk.txt": of_text(GOOD),
    }
    path = zipped(tmp_path / "export.zip", members)

    result = import_path(user_id=owner.pk, path=path)

    assert result.counts.unreadable_records == 2
    assert result.counts.new_messages == 10 + 2 + 2
    assert latest_import(owner.pk).unreadable_records == 2
    assert_sound(owner.pk)


def test_a_bad_record_is_counted_in_what_the_api_says() -> None:
    ada: User = make_user()
    upload = io.BytesIO(of_transcript(GOOD) + b"{torn\n")
    upload.name = "talk.jsonl"

    answer: Any = client_of(ada).post("/api/v1/imports/", {"file": upload}, format="multipart")
    run_import(answer.json()["id"], ada.pk)

    found = client_of(ada).get(f"/api/v1/imports/{answer.json()['id']}/").json()
    assert (found["status"], found["unreadable_records"]) == ("completed", 1)
    assert (found["records"], found["new_messages"]) == (3, 2)
