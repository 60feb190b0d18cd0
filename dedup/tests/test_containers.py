"""Zips: what is in them comes back exactly, and whatever is wrong with them is one refusal."""

import hashlib
import io
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from dedup import artifacts, containers
from dedup.containers import Manifest, Member, is_zip, members_of, pack_folder, read_manifest
from dedup.errors import FileChangedError, UnreadableFileError, UnsafeArchiveError

ENTRY = b"PK\x01\x02"
LOCAL = b"PK\x03\x04"
# Where a field lies in an entry of the directory, and its format.
FLAGS, METHOD, CRC, PACKED, SIZE, OFFSET = (
    (8, "<H"),
    (10, "<H"),
    (16, "<L"),
    (20, "<L"),
    (24, "<L"),
    (42, "<L"),
)

PARTS = st.text(
    st.characters(codec="utf-8", exclude_characters='/\\:.\0"'), min_size=1, max_size=8
).filter("__MACOSX".__ne__)
NAMES = st.tuples(
    st.lists(PARTS, min_size=1, max_size=3).map("/".join),
    st.sampled_from(containers.READ_SUFFIXES),
).map("".join)

METHODS = st.sampled_from(containers.READ_METHODS)


def named(name: str, *, mode: int = stat.S_IFREG | 0o600) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("name")
    # Its constructor would end the name at a NUL.
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    return info


def zipped(
    *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members:
            archive.writestr(name, content, compress_type=method)
    return packed.getvalue()


def patched(data: bytes, field: tuple[int, str], value: int, *, entry: int = 0) -> bytes:
    """The zip with another value in the directory's entry of the given number."""
    place = -1
    for _ in range(entry + 1):
        place = data.index(ENTRY, place + 1)
    changed = bytearray(data)
    struct.pack_into(field[1], changed, place + field[0], value)
    return bytes(changed)


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    """The zip with another name of the same length, in the directory and in the header."""
    assert len(old) == len(new)
    assert data.count(old) == 2
    return data.replace(old, new)


def contents(data: bytes) -> dict[str, bytes | None]:
    """What the members hold, in their order."""
    return {
        member.name: member.content.read() if member.content else None
        for member in members_of(io.BytesIO(data), "export.zip")
    }


def assert_refused(data: bytes, words: str, *, after: int = 0) -> None:
    """The sentence has the words, and as many members were given before it."""
    seen: list[str] = []
    with pytest.raises(UnsafeArchiveError) as caught:
        seen.extend(member.name for member in members_of(io.BytesIO(data), "export.zip"))

    assert (caught.value.code, caught.value.status) == ("unsafe_archive", 422)
    assert words in caught.value.detail
    assert caught.value.detail.startswith("export.zip ")
    assert caught.value.detail.endswith(".")
    assert len(seen) == after


# --- What comes back --------------------------------------------------------------------------


def test_a_zip_is_known_by_its_first_bytes() -> None:
    assert is_zip(zipped(("a.json", b"{}")))
    assert is_zip(zipped())
    assert not is_zip(b"")
    assert not is_zip(b"PK")
    assert not is_zip(b'{"PK\x03\x04": 1}')


def test_a_plain_file_is_its_only_member() -> None:
    file = io.BytesIO(b'{"type": "user"}\n')
    file.seek(5)

    (member,) = members_of(file, "session.jsonl")

    assert member == Member("session.jsonl", 17, 0, file)
    assert file.read() == b'{"type": "user"}\n'


def test_an_empty_zip_has_no_members() -> None:
    assert contents(zipped()) == {}


def test_members_come_in_the_order_of_their_names() -> None:
    data = zipped(("b.json", b"2"), ("a/z.jsonl", b"1"), ("a.txt", b"0"))

    assert list(contents(data).items()) == [("a.txt", b"0"), ("a/z.jsonl", b"1"), ("b.json", b"2")]


def test_a_manifest_is_one_canonical_line() -> None:
    data = zipped(("crème\n.json", b"[1, 2]"), ("photo.png", b"\x89PNG"))

    members = members_of(io.BytesIO(data), "export.zip")
    manifests = [member.manifest(read=bool(member.content)) for member in members]

    assert [read_manifest(line) for line in manifests] == [
        Manifest("crème\n.json", 6, read=True),
        Manifest("photo.png", 4, read=False),
    ]
    assert [line.decode() for line in manifests] == [
        '{"crc":"61c9e7ff","name":"crème\\n.json","read":true,"size":6}\n',
        '{"crc":"5bebbea5","name":"photo.png","read":false,"size":4}\n',
    ]


def test_a_crc_that_begins_with_zeros_has_eight_digits() -> None:
    (member,) = members_of(io.BytesIO(zipped(("empty.json", b""))), "export.zip")

    assert b'"crc":"00000000"' in member.manifest(read=True)


@pytest.mark.parametrize(
    "name",
    [
        "photo.png",
        "chat.html",
        "voice.mp3",
        "inner.zip",
        "export.json.gz",
        "conversations",
        "__MACOSX/conversations.json",
        "export/__MACOSX/conversations.json",
        "._conversations.json",
        "folder/.hidden.json",
        "folder\\.hidden.json",
        ".json",
    ],
)
def test_what_is_no_export_is_named_and_not_looked_into(name: str) -> None:
    (member,) = members_of(io.BytesIO(zipped((name, b"[]"))), "export.zip")

    assert (member.name, member.size, member.content) == (name, 2, None)


def test_a_folder_that_is_hidden_may_hold_exports() -> None:
    assert contents(zipped((".claude/projects/a.jsonl", b"{}"))) == {
        ".claude/projects/a.jsonl": b"{}"
    }


def test_a_zip_in_a_zip_is_not_opened() -> None:
    data = zipped(("inner.zip", zipped(("../evil.json", b"1"))), ("a.json", b"2"))

    assert contents(data) == {"a.json": b"2", "inner.zip": None}


def test_folders_are_left_out() -> None:
    folder = named("folder.json/", mode=stat.S_IFDIR | 0o700)

    assert contents(zipped((folder, b""), ("folder.json/a.json", b"1"))) == {
        "folder.json/a.json": b"1"
    }


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_not_read(kind: int) -> None:
    data = zipped((named("link.json", mode=kind | 0o777), b"/etc/passwd"))

    (member,) = members_of(io.BytesIO(data), "export.zip")

    assert member.content is None


def test_a_member_without_a_kind_is_read() -> None:
    assert contents(zipped((named("a.json", mode=0), b"1"))) == {"a.json": b"1"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_large_member_comes_back_from_the_disk(method: int) -> None:
    large = os.urandom(3 << 20)

    assert contents(zipped(("a.json", large), method=method)) == {"a.json": large}


def test_content_can_be_read_twice_and_ends_with_the_next_member() -> None:
    members = members_of(io.BytesIO(zipped(("a.json", b"1"), ("b.json", b"2"))), "export.zip")

    first = next(members).content
    assert first is not None
    assert first.read() == b"1"
    first.seek(0)
    assert first.read() == b"1"
    next(members)

    assert first.closed


def test_an_error_of_the_reader_of_a_member_is_its_own() -> None:
    members = members_of(io.BytesIO(zipped(("a.json", b"1"))), "export.zip")
    next(members)

    with pytest.raises(ValueError, match="mine"):
        members.throw(ValueError("mine"))


def test_names_in_utf_8_that_do_not_say_so_are_read_as_utf_8() -> None:
    data = renamed(zipped(("cr__me.json", b"1")), b"cr__me", "crème".encode())

    assert contents(data) == {"crème.json": b"1"}


def test_names_in_no_unicode_are_those_of_the_first_zips() -> None:
    data = zipped(("cr_me.json", b"1"), ("cr-me.json", b"2"))
    data = renamed(data, b"cr_me", b"cr\x82me")
    data = renamed(data, b"cr-me", b"cr\xffme")

    assert contents(data) == {"cr\N{NO-BREAK SPACE}me.json": b"2", "créme.json": b"1"}


def test_a_zip64_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as small:
        small.setattr(zipfile, "ZIP64_LIMIT", 10)
        small.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
        data = zipped(("a.json", b"1" * 100), ("b.json", b"2" * 100), method=zipfile.ZIP_STORED)
    assert b"PK\x06\x06" in data

    assert contents(data) == {"a.json": b"1" * 100, "b.json": b"2" * 100}


def test_bytes_before_the_zip_do_no_harm() -> None:
    data = zipped(("a.json", b"1"))

    assert contents(LOCAL + b" a stub of a program" + data) == {"a.json": b"1"}


def test_a_zip_that_was_streamed_is_read() -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    packed = Stream()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.json", b"1" * 1000, compress_type=zipfile.ZIP_DEFLATED)
        archive.writestr("b.json", b"")

    assert contents(packed.getvalue()) == {"a.json": b"1" * 1000, "b.json": b""}


@given(st.dictionaries(NAMES, st.binary(max_size=200), max_size=8), METHODS)
def test_safe_members_come_back_exactly_and_sorted(members: dict[str, bytes], method: int) -> None:
    found = contents(zipped(*members.items(), method=method))

    assert list(found.items()) == sorted(members.items())


# --- What is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd.json",
        "\\share\\a.json",
        "\\\\server\\share\\a.json",
        "C:\\a.json",
        "c:a.json",
        "..",
        "../a.json",
        "a/../../b.json",
        "a\\..\\b.json",
        "a/..",
        "../",
        "../photo.png",
        "a.json\0.png",
        "\0",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    data = zipped(("a.json", b"1"), (named(name), b"2"))

    assert_refused(data, f"a member with an unsafe name, {name!r}: pack it again")


@pytest.mark.parametrize(
    "name", ["a..json", "..a.json", "a/...json", "...", "ab:c.json", "~/a.json"]
)
def test_a_name_that_only_looks_odd_is_not_refused(name: str) -> None:
    assert list(contents(zipped((named(name), b"1")))) == [name]


def test_a_member_without_a_name_is_not_looked_into() -> None:
    assert contents(zipped((named(""), b"1"))) == {"": None}


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
@pytest.mark.parametrize("name", ["a.json", "photo.png"])
def test_an_encrypted_member_is_refused(flag: int, name: str) -> None:
    data = patched(zipped((name, b"1")), FLAGS, flag)

    assert_refused(data, f"an encrypted member, {name!r}: pack it again without a password.")


def test_two_members_of_one_name_are_refused() -> None:
    data = renamed(zipped(("a.json", b"1"), ("b.json", b"2")), b"b.json", b"a.json")

    assert_refused(data, "two members of the name 'a.json': pack it again with one of them.")


def test_more_members_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "LARGEST_NUMBER", 3)
    members = [(f"{number}.json", b"1") for number in range(4)]

    assert len(contents(zipped(*members[:3]))) == 3
    assert_refused(zipped(*members), "more than 3 members: split it into several.")


def test_members_are_counted_and_not_believed_before_they_are_in_memory() -> None:
    data = zipped(("a.json", b"1"))
    start, end = data.index(ENTRY), data.index(b"PK\x05\x06")
    directory = data[start:end] * 100_001
    tail = bytearray(data[end:])
    struct.pack_into("<L", tail, 12, len(directory))

    assert_refused(data[:start] + directory + tail, "more than 100000 members: split it")


def test_a_directory_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "LARGEST_DIRECTORY_BYTES", 100)
    data = zipped(("a" * 100 + ".json", b"1"))

    assert_refused(data, "a directory of more than 100 bytes: split it into several.")


def test_a_bomb_is_refused_before_anything_is_unpacked() -> None:
    data = zipped(("a.json", b"1"), ("zeros.json", bytes(60_000_000)))
    assert len(data) < 100_000

    assert_refused(data, "more than 200 times its packed size, 'zeros.json': unpack it")


def test_a_bomb_that_is_not_looked_into_does_no_harm() -> None:
    assert contents(zipped(("zeros.png", bytes(60_000_000)))) == {"zeros.png": None}


def test_a_small_member_may_pack_as_well_as_it_likes() -> None:
    assert contents(zipped(("zeros.json", bytes(2_000_000)))) == {"zeros.json": bytes(2_000_000)}


def test_members_that_are_too_much_together_are_refused(settings: Settings) -> None:
    settings.LARGEST_UNPACKED_BYTES = 20
    just = (("a.json", b"1" * 10), ("b.json", b"2" * 10), ("c.png", b"3" * 10))

    assert len(contents(zipped(*just))) == 3
    assert_refused(
        zipped(*just, ("d.txt", b"4")),
        "unpacks to more than 20 bytes (LARGEST_UNPACKED_BYTES): split it into several.",
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("stated", [0, 999, 1001, 40_000_000])
def test_a_size_that_is_a_lie_is_refused(method: int, stated: int) -> None:
    data = patched(zipped(("a.json", b"1" * 1000), method=method), SIZE, stated)

    assert_refused(data, "'a.json' is not of the size that is stated")


def test_a_bomb_that_states_a_small_size_is_stopped_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[int] = []

    class Counted(tempfile.SpooledTemporaryFile[bytes]):
        def write(self, data: bytes) -> int:  # type: ignore[override]  # of bytes only
            written.append(len(data))
            return super().write(data)

    monkeypatch.setattr("dedup.containers.tempfile.SpooledTemporaryFile", Counted)
    bomb = patched(zipped(("zeros.json", bytes(60_000_000))), SIZE, 1000)

    assert_refused(bomb, "'zeros.json' is not of the size that is stated")
    assert sum(written) == 0


def test_a_bomb_with_the_crc_of_the_few_bytes_that_it_states_is_refused() -> None:
    bomb = patched(zipped(("zeros.json", bytes(60_000_000))), SIZE, 1000)
    bomb = patched(bomb, CRC, zlib.crc32(bytes(1000)))

    assert_refused(bomb, "'zeros.json' is not of the size that is stated")


def test_a_bomb_that_states_a_large_packed_size_is_refused() -> None:
    data = zipped(("zeros.json", bytes(60_000_000)))

    assert_refused(patched(data, PACKED, 1_000_000), "'zeros.json' reaches into what follows it")


def test_members_that_share_their_bytes_are_refused() -> None:
    data = zipped(("a.json", b"1"), ("b.json", b"2"))

    assert_refused(patched(data, OFFSET, 0, entry=1), "reaches into what follows it")


def test_a_member_before_the_beginning_is_refused() -> None:
    data = zipped(("a.json", b"1"), ("b.json", b"2"))
    end = data.index(b"PK\x05\x06")
    shifted = bytearray(data)
    # All places are counted from where the directory would begin.
    struct.pack_into("<L", shifted, end + 16, data.index(ENTRY) + 10)

    assert_refused(bytes(shifted), "reaches into what follows it")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packing_that_cannot_be_unpacked_in_parts_is_refused(method: int) -> None:
    data = zipped(("a.json", b"1"), method=method)

    assert_refused(
        data, f"a member packed by method {method}, 'a.json': pack it again with deflate"
    )


def test_an_unknown_packing_is_refused() -> None:
    data = patched(zipped(("a.json", b"1")), METHOD, 99)

    assert_refused(data, "a member packed by method 99, 'a.json': pack it again with deflate")


def test_a_zip_of_a_later_version_is_refused() -> None:
    data = patched(zipped(("a.json", b"1")), (6, "<H"), 99)

    assert_refused(data, "cannot be read as a zip (zip file version 9.9): export or pack it again.")


def test_a_patch_is_refused() -> None:
    data = patched(zipped(("a.json", b"1")), FLAGS, 0x20)

    assert_refused(data, "compressed patched data")


def test_a_wrong_crc_is_refused_in_its_turn() -> None:
    data = patched(zipped(("a.json", b"1"), ("b.json", b"2")), CRC, 7, entry=1)

    assert_refused(data, "Bad CRC-32 for file 'b.json'", after=1)


def test_damaged_packed_bytes_are_refused() -> None:
    data = bytearray(zipped(("a.json", b"1" * 1000)))
    data[36] = 0xFF

    assert_refused(bytes(data), "invalid block type")


def test_another_name_in_the_header_is_refused() -> None:
    data = zipped(("a.json", b"1")).replace(b"a.json", b"b.json", 1)

    assert_refused(data, "File name in directory 'a.json' and header b'b.json' differ.")


def test_a_name_that_says_utf_8_and_is_not_is_refused() -> None:
    data = renamed(zipped(("é.json", b"1")), "é".encode(), b"\xff\xff")

    assert_refused(data, "'utf-8' codec can't decode")


def test_a_long_name_is_cut_in_the_sentence() -> None:
    data = zipped(("../" + "a" * 60_000, b"1"))

    with pytest.raises(UnsafeArchiveError) as caught:
        contents(data)

    assert len(caught.value.detail) < 400
    assert "aaa…'" in caught.value.detail


def test_a_zip_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    """From a real file: places before its beginning are an error there, not in memory."""
    data = zipped(("a.json", b"1" * 100), ("b.json", b"2"))
    path = tmp_path / "export.zip"

    for end in range(4, len(data)):
        path.write_bytes(data[:end])
        with path.open("rb") as file, pytest.raises(UnsafeArchiveError, match="cannot be read"):
            list(members_of(file, "export.zip"))


def test_a_header_that_leads_past_the_end_is_refused() -> None:
    data = bytearray(zipped(("a.json", b"1" * 100)))
    struct.pack_into("<H", data, 28, 0xFFFF)

    assert_refused(bytes(data), "(it ends too early): export or pack it again.")


def test_a_large_zip_that_is_too_short_to_be_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(LOCAL + struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1) + zipped())

    with path.open("rb") as file, pytest.raises(UnsafeArchiveError, match="cannot be read"):
        list(members_of(file, "export.zip"))


def read_or_refuse(data: bytes) -> None:
    """From a real file and from memory, which differ in what a bad place is."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        kinds: list[IO[bytes]] = [file, io.BytesIO(data)]
        for kind in kinds:
            with suppress(UnsafeArchiveError):
                for member in members_of(kind, "export.zip"):
                    assert not member.content or len(member.content.read()) == member.size


@given(st.sampled_from(containers.FIRST_BYTES), st.binary(max_size=300))
def test_any_bytes_after_the_first_are_at_most_refused(first: bytes, rest: bytes) -> None:
    read_or_refuse(first + rest)


@given(
    st.lists(st.tuples(st.integers(4, 10_000), st.binary(min_size=1, max_size=8)), min_size=1),
    METHODS,
)
def test_any_change_to_a_zip_is_at_most_refused(
    changes: list[tuple[int, bytes]], method: int
) -> None:
    data = zipped(("a.json", b"12" * 50), ("é/b.txt", b"3"), ("c.png", b"4"), method=method)
    for place, new in changes:
        at = 4 + place % (len(data) - 4)
        data = data[:at] + new + data[at + len(new) :]

    read_or_refuse(data)


def test_any_field_of_an_entry_may_be_at_its_ends() -> None:
    data = zipped(("a.json", b"12" * 50), ("b.json", b"3"))
    first = data.index(ENTRY)
    for place in range(first, len(data)):
        for new in (b"\0", b"\xff", b"\0" * 4, b"\xff" * 4, b"\x01\0", b"\xff" * 8):
            read_or_refuse(data[:place] + new + data[place + len(new) :])


# --- Folders that are packed here -------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "state.json").write_bytes(b'{"a": 1}')
    (tmp_path / "log.jsonl").write_bytes(b"{}\n" * 100)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "notes.txt").write_bytes(b"notes")
    (tmp_path / "other.json").write_bytes(b"not asked for")
    return tmp_path


ASKED = ["state.json", "log.jsonl", "deep/notes.txt", "absent.json"]


def packed_bytes(folder: Path, names: list[str]) -> bytes:
    with pack_folder(folder, names) as snapshot:
        return snapshot.file.read()


def test_a_packed_folder_holds_the_named_files_that_exist(folder: Path) -> None:
    assert list(contents(packed_bytes(folder, ASKED)).items()) == [
        ("deep/notes.txt", b"notes"),
        ("log.jsonl", b"{}\n" * 100),
        ("state.json", b'{"a": 1}'),
    ]


def test_a_packed_folder_is_a_snapshot(folder: Path) -> None:
    with pack_folder(folder, ASKED) as snapshot:
        data = snapshot.file.read()

    assert is_zip(data)
    assert snapshot.size == len(data)
    assert snapshot.sha256 == hashlib.sha256(data).digest()
    assert snapshot.file.closed


def test_the_same_contents_are_packed_the_same(folder: Path) -> None:
    first = packed_bytes(folder, ASKED)

    for path in folder.rglob("*.*"):
        os.utime(path, (1, 1))
        path.chmod(0o644)
    (folder / "absent.txt").touch()

    assert packed_bytes(folder, [*reversed(ASKED), "log.jsonl"]) == first


def test_a_file_of_any_size_can_be_packed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as small:
        small.setattr(zipfile, "ZIP64_LIMIT", 10)
        data = packed_bytes(folder, ["log.jsonl"])

    assert contents(data) == {"log.jsonl": b"{}\n" * 100}


def test_how_a_folder_is_packed_stays_the_same(tmp_path: Path) -> None:
    """Another way to pack would make another file of every folder that was imported already."""
    (tmp_path / "é.json").write_bytes(b"{}")
    (tmp_path / "a.json").write_bytes(b"")

    data = packed_bytes(tmp_path, ["é.json", "a.json"])

    assert hashlib.sha256(data).hexdigest() == (
        "1de19b6039a96c33f54b25093547ca67e2fbde158b11d6ff92f9fde112a3a3b2"
    )


def test_other_contents_are_packed_otherwise(folder: Path) -> None:
    first = packed_bytes(folder, ASKED)
    (folder / "state.json").write_bytes(b'{"a": 2}')

    assert packed_bytes(folder, ASKED) != first


def test_a_folder_without_any_of_the_files_is_refused(folder: Path) -> None:
    with (
        pytest.raises(UnreadableFileError, match=r"holds none of absent\.json, gone\.json\."),
        pack_folder(folder, ["absent.json", "gone.json"]),
    ):
        pytest.fail("nothing to pack")


def test_a_name_that_is_no_file_is_refused(folder: Path) -> None:
    with (
        pytest.raises(UnreadableFileError, match=r"deep is not a file\."),
        pack_folder(folder, ["deep", "state.json"]),
    ):
        pytest.fail("nothing to pack")


def test_a_folder_that_may_not_be_looked_into_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)

    with (
        pytest.raises(UnreadableFileError, match=r"cannot be read: Permission denied\."),
        pack_folder(folder, ASKED),
    ):
        pytest.fail("nothing to pack")


def test_a_file_that_changes_while_it_is_packed_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_stream = artifacts.snapshot_of_stream

    def shrinking(
        source: IO[bytes], limit: int | None = None
    ) -> AbstractContextManager[artifacts.Snapshot]:
        Path(source.name).write_bytes(b"")
        return of_stream(source, limit)

    monkeypatch.setattr(artifacts, "snapshot_of_stream", shrinking)

    with (
        pytest.raises(FileChangedError, match="changed while it was read"),
        pack_folder(folder, ASKED),
    ):
        pytest.fail("a torn file was packed")
