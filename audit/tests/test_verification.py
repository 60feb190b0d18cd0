"""Whatever is done to the files of the stream afterwards is found, and where it was done."""

import json
import resource
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import pytest
from django.core.management import call_command
from hypothesis import given
from hypothesis import settings as property_tests
from hypothesis import strategies as st

from audit.batches import FOLDER
from audit.lines import BEGINNING, canonical, chained, hash_of
from audit.models import ExportBatch
from audit.tests.streams import add_events, export_everything, lines_in, make_stream, name_of
from audit.verification import Problem, verify_stream
from common.storage import place
from common.tenancy import as_operator
from common.tests.connections import connect_as_superuser

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

Files = list[Path]
# Lines 1 to 5, 6 to 9, and 10 to 12.
COUNTS = (5, 4, 3)
NOT_THE_FILE = "it is not the file that was written"
NO_LINE = "it is no line of the stream"
CHANGED = "it was changed"


@pytest.fixture
def stream() -> Files:
    return make_stream(*COUNTS)


def lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def write(file: Path, *texts: bytes) -> None:
    file.write_bytes(b"".join(texts))


def edited(text: bytes, **values: Any) -> bytes:
    """The line with other values, and with the hash that it had."""
    return canonical({**json.loads(text), **values}) + b"\n"


def rehashed(text: bytes, **values: Any) -> bytes:
    line = {**json.loads(text), **values}
    return canonical({**line, "hash": hash_of(line).hex()}) + b"\n"


def rechained(texts: list[bytes], previous: str) -> list[bytes]:
    """Each line following the one before it."""
    chain = []
    for text in texts:
        chain.append(rehashed(text, previous=previous))
        previous = json.loads(chain[-1])["hash"]
    return chain


def follows(number: int) -> str:
    return f"it does not follow line {number}: one of the two was written anew"


def astray(number: int) -> str:
    return f"line {number} of the stream does not belong here"


def edit_in_place(files: Files) -> None:
    texts = lines(files[1])
    write(files[1], *texts[:1], edited(texts[1], role="operator"), *texts[2:])


def edit_and_rehash(files: Files) -> None:
    texts = lines(files[1])
    write(files[1], *texts[:1], rehashed(texts[1], role="operator"), *texts[2:])


def edit_the_last_and_rehash(files: Files) -> None:
    texts = lines(files[1])
    write(files[1], *texts[:-1], rehashed(texts[-1], role="operator"))


def rewrite_to_the_end_of_the_file(files: Files) -> None:
    texts = lines(files[1])
    changed = [texts[0], edited(texts[1], role="operator"), *texts[2:]]
    write(files[1], *rechained(changed, json.loads(texts[0])["previous"]))


def rewrite_to_the_end_of_the_stream(files: Files) -> None:
    texts = [text for file in files for text in lines(file)]
    texts[6] = edited(texts[6], role="operator")
    chain = rechained(texts, BEGINNING.hex())
    for file, begin, end in zip(files, (0, 5, 9), (5, 9, 12), strict=True):
        write(file, *chain[begin:end])


def remove(file: int, *places: int) -> Callable[[Files], None]:
    def tamper(files: Files) -> None:
        texts = lines(files[file])
        write(files[file], *(text for at, text in enumerate(texts, 1) if at not in places))

    return tamper


def swap_two_lines(files: Files) -> None:
    first, second, *rest = lines(files[1])
    write(files[1], second, first, *rest)


def duplicate_a_line(files: Files) -> None:
    first, second, *rest = lines(files[1])
    write(files[1], first, second, second, *rest)


def move_a_line_to_another_file(files: Files) -> None:
    texts = lines(files[2])
    write(files[2], texts[0], texts[2])
    write(files[0], *lines(files[0])[:2], texts[1], *lines(files[0])[2:])


def remove_a_file(files: Files) -> None:
    files[1].unlink()


def cut_within_a_line(files: Files) -> None:
    files[1].write_bytes(b"".join(lines(files[1])[:2]) + lines(files[1])[2][:50])


def cut_the_last_line_feed(files: Files) -> None:
    files[1].write_bytes(files[1].read_bytes()[:-1])


def empty_a_file(files: Files) -> None:
    files[1].write_bytes(b"")


def append_to_a_file(files: Files) -> None:
    files[1].write_bytes(files[1].read_bytes() + b"one more\n")


def append_a_chained_line(files: Files) -> None:
    last = json.loads(lines(files[2])[-1])
    added = rehashed(canonical(last), n=13, previous=last["hash"])
    files[2].write_bytes(files[2].read_bytes() + added)


def swap_two_files(files: Files) -> None:
    first, second = files[0].read_bytes(), files[1].read_bytes()
    files[0].write_bytes(second)
    files[1].write_bytes(first)


def add_a_file(files: Files) -> None:
    (files[2].parent / "000000000004.jsonl").write_bytes(b"")


def add_a_file_of_the_same_number(files: Files) -> None:
    folder = files[0].parents[3] / "year=2001" / "month=01" / "day=01"
    folder.mkdir(parents=True)
    (folder / files[1].name).write_bytes(files[1].read_bytes())


def put(text: bytes) -> Callable[[Files], None]:
    """In the place of the second line of the second file."""

    def tamper(files: Files) -> None:
        texts = lines(files[1])
        write(files[1], texts[0], text, *texts[2:])

    return tamper


def add_blanks(files: Files) -> None:
    texts = lines(files[1])
    write(files[1], texts[0], texts[1].replace(b'":', b'": ', 1), *texts[2:])


def relative(value: Any) -> Callable[[Files], None]:
    """The second line of the second file with another number."""

    def tamper(files: Files) -> None:
        texts = lines(files[1])
        write(files[1], texts[0], edited(texts[1], n=value), *texts[2:])

    return tamper


def hash_changed(files: Files) -> None:
    texts = lines(files[1])
    write(files[1], texts[0], edited(texts[1], hash="0" * 64), *texts[2:])


# What is done to the files, and for each fault its file, its line in it, and what is said.
Fault = tuple[int, int | None, str]
TAMPERINGS: dict[str, tuple[Callable[[Files], None], list[Fault]]] = {
    "a value": (edit_in_place, [(1, 2, CHANGED)]),
    "a value and the line's hash": (edit_and_rehash, [(1, 3, follows(7))]),
    "a value of the last and its hash": (edit_the_last_and_rehash, [(1, None, NOT_THE_FILE)]),
    "a value and all hashes of the file": (
        rewrite_to_the_end_of_the_file,
        [(1, None, NOT_THE_FILE)],
    ),
    "a value and all hashes": (
        rewrite_to_the_end_of_the_stream,
        [(1, None, NOT_THE_FILE), (2, 1, follows(9))],
    ),
    "a hash": (hash_changed, [(1, 2, CHANGED)]),
    "the first line removed": (
        remove(1, 1),
        [(1, 1, "line 6 of the stream is missing before it")],
    ),
    "lines in the middle removed": (
        remove(1, 2, 3),
        [(1, 2, "lines 7 to 8 of the stream are missing before it")],
    ),
    "the last line removed": (remove(1, 4), [(1, None, "line 9 of the stream is missing")]),
    "the last lines removed": (
        remove(0, 4, 5),
        [(0, None, "lines 4 to 5 of the stream are missing")],
    ),
    "two lines swapped": (
        swap_two_lines,
        [(1, 1, "line 6 of the stream is missing before it"), (1, 2, astray(6))],
    ),
    "a line twice": (duplicate_a_line, [(1, 3, astray(7))]),
    "a line in another file": (
        move_a_line_to_another_file,
        [(0, 3, astray(11)), (2, 2, "line 11 of the stream is missing before it")],
    ),
    "a file removed": (remove_a_file, [(1, None, "the file is missing")]),
    "cut within a line": (
        cut_within_a_line,
        [(1, 3, NO_LINE), (1, None, "line 9 of the stream is missing")],
    ),
    "cut before the last line feed": (cut_the_last_line_feed, [(1, None, NOT_THE_FILE)]),
    "emptied": (empty_a_file, [(1, None, "lines 6 to 9 of the stream are missing")]),
    "appended to": (append_to_a_file, [(1, 5, NO_LINE)]),
    "appended to in the right way": (append_a_chained_line, [(2, 4, astray(13))]),
    "two files swapped": (
        swap_two_files,
        [
            *((0, at, astray(5 + at)) for at in range(1, 5)),
            (0, None, "lines 1 to 5 of the stream are missing"),
            *((1, at, astray(at)) for at in range(1, 6)),
            (1, None, "lines 6 to 9 of the stream are missing"),
        ],
    ),
    "blanks": (add_blanks, [(1, None, NOT_THE_FILE)]),
    "no JSON": (put(b"somebody was here\n"), [(1, 2, NO_LINE)]),
    "no UTF-8": (put(b"\xff\xfe{}\n"), [(1, 2, NO_LINE)]),
    "an empty line": (put(b"\n"), [(1, 2, NO_LINE)]),
    "no object": (put(b"[]\n"), [(1, 2, NO_LINE)]),
    "an object of something else": (put(b'{"n": 7}\n'), [(1, 2, NO_LINE)]),
    "what nests without end": (put(b"[" * 200_000 + b"\n"), [(1, 2, NO_LINE)]),
    "a number without end": (
        put(b'{"hash":"","previous":"","xid":1,"n":' + b"9" * 9000 + b"}\n"),
        [(1, 2, NO_LINE)],
    ),
    "no text": (
        put(b'{"hash":"","previous":"","xid":1,"n":7,"a":"\\ud800"}\n'),
        [(1, 2, CHANGED)],
    ),
    "an infinite number": (
        put(b'{"hash":"","previous":"","xid":1,"n":Infinity}\n'),
        [(1, 2, NO_LINE)],
    ),
    "a number in quotes": (relative("7"), [(1, 2, NO_LINE)]),
    "a great number": (relative(700), [(1, 2, CHANGED)]),
    "a small number": (relative(-1), [(1, 2, CHANGED)]),
    "another number": (relative(8), [(1, 2, CHANGED)]),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_was_done_to_the_files_is_told_with_its_place(stream: Files, what: str) -> None:
    tamper, faults = TAMPERINGS[what]
    assert verify_stream().problems == []
    names = [name_of(file) for file in stream]

    tamper(stream)

    assert verify_stream().problems == [
        Problem(names[file], line, said) for file, line, said in faults
    ]


@pytest.mark.parametrize("tamper", [add_a_file, add_a_file_of_the_same_number])
def test_a_file_that_nobody_wrote_is_found(stream: Files, tamper: Callable[[Files], None]) -> None:
    tamper(stream)

    added = set(stream[0].parents[3].rglob("*.jsonl")) - set(stream)
    assert verify_stream().problems == [
        Problem(name_of(file), None, "nothing was written under this name") for file in added
    ]


def test_each_changed_byte_is_found(stream: Files) -> None:
    contents = [file.read_bytes() for file in stream]
    places = [(file, at) for file in range(3) for at in range(len(contents[file]))]

    @property_tests(max_examples=150)
    @given(st.sampled_from(places), st.integers(min_value=1, max_value=255))
    def is_found(place: tuple[int, int], difference: int) -> None:
        file, at = place
        changed = bytearray(contents[file])
        changed[at] ^= difference
        stream[file].write_bytes(changed)
        try:
            problems = verify_stream().problems
        finally:
            stream[file].write_bytes(contents[file])

        assert problems
        assert problems[0].file == name_of(stream[file])

    is_found()


def test_a_stream_that_is_whole_says_what_it_ends_with(stream: Files) -> None:
    report = verify_stream()

    last = lines_in(stream[-1])[-1]
    assert (report.files, report.lines, report.head) == (3, 12, last["hash"])
    assert report.problems == []
    for line in (lines_in(stream[0])[0], lines_in(stream[1])[2], last):
        assert verify_stream(known_head=(line["n"], line["hash"])).problems == []


def test_a_stream_without_a_file_is_whole_too() -> None:
    report = verify_stream(known_head=(0, BEGINNING.hex()))

    assert (report.files, report.lines, report.head) == (0, 0, BEGINNING.hex())
    assert report.problems == []


def rewrite_with_rows(files: Files, *, edit: int) -> None:
    """As somebody may who is a superuser of the database and has the files."""
    texts = [text for file in files for text in lines(file)]
    texts[edit] = edited(texts[edit], role="operator")
    chain = rechained(texts, BEGINNING.hex())
    sequel = [BEGINNING.hex(), *(json.loads(text)["hash"] for text in chain)]
    with connect_as_superuser() as superuser:
        superuser.execute(b"SET session_replication_role = replica")
        for number, (file, begin, end) in enumerate(
            zip(files, (0, 5, 9), (5, 9, 12), strict=True), 1
        ):
            write(file, *chain[begin:end])
            superuser.execute(
                "UPDATE audit_export_batch SET previous_head = %s, head = %s, sha256 = sha256(%s)"
                " WHERE sequence = %s",
                [
                    bytes.fromhex(sequel[begin]),
                    bytes.fromhex(sequel[end]),
                    file.read_bytes(),
                    number,
                ],
            )


def test_a_stream_written_anew_with_its_rows_is_found_by_a_noted_head_only(stream: Files) -> None:
    report = verify_stream()
    noted = (report.lines, report.head)
    early = lines_in(stream[0])[1]

    rewrite_with_rows(stream, edit=6)

    assert verify_stream().problems == []
    assert verify_stream(known_head=noted).problems == [
        Problem(FOLDER, None, "line 12 has not the noted hash")
    ]
    # What was noted before the place says nothing of it.
    assert verify_stream(known_head=(early["n"], early["hash"])).problems == []


def change_rows(query: str) -> None:
    with connect_as_superuser() as superuser:
        superuser.execute(b"SET session_replication_role = replica")
        superuser.execute(query.encode())


def test_a_row_that_is_missing_is_found(stream: Files) -> None:
    change_rows("DELETE FROM audit_export_batch WHERE sequence = 2")

    assert verify_stream().problems == [
        Problem(name_of(stream[1]), None, "nothing was written under this name"),
        Problem(name_of(stream[2]), None, "the row of file 2 is missing"),
    ]


def test_a_file_that_is_taken_out_with_its_row_is_found(stream: Files) -> None:
    """The last one is rewritten to follow the first, but for the numbers of its lines."""
    first, last = lines_in(stream[0])[-1], lines(stream[2])
    write(stream[2], *rechained(last, first["hash"]))
    stream[1].unlink()
    name = name_of(stream[2])
    change_rows("DELETE FROM audit_export_batch WHERE sequence = 2")
    head = lines_in(stream[2])[-1]["hash"]
    change_rows(
        f"UPDATE audit_export_batch SET sequence = 2, previous_head = '\\x{first['hash']}',"
        f" head = '\\x{head}', sha256 = sha256('\\x{stream[2].read_bytes().hex()}')"
        " WHERE sequence = 3"
    )

    assert verify_stream().problems == [
        Problem(name, None, "its row does not follow the row before")
    ]


def test_the_command_ends_with_0_when_all_is_well(
    stream: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    head = lines_in(stream[-1])[-1]["hash"]

    call_command("audit_verify", head=(12, head))

    printed = capsys.readouterr()
    assert printed.out == f"12 events in 3 files, chained.\nHead: 12:{head}\n"
    assert printed.err == ""


def test_the_command_ends_with_1_and_names_the_place(
    stream: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_in_place(stream)

    with pytest.raises(SystemExit) as ended:
        call_command("audit_verify")

    assert ended.value.code == 1
    assert capsys.readouterr().err == f"{name_of(stream[1])}, line 2: it was changed\n"


def test_the_command_prints_one_object(stream: Files, capsys: pytest.CaptureFixture[str]) -> None:
    remove_a_file(stream)

    with pytest.raises(SystemExit):
        call_command("audit_verify", "--json")

    told = json.loads(capsys.readouterr().out)
    assert told["problems"] == [
        {"file": name_of(stream[1]), "line": None, "what": "the file is missing"}
    ]
    assert (told["files"], told["lines"]) == (3, 12)
    assert told["lag_seconds"] == 0


def test_of_a_stream_that_cannot_go_on_the_command_tells_that_and_every_other_problem(
    stream: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    remove_a_file(stream)
    change_rows("UPDATE audit_export_batch SET upto = '9000000000:9000000000:' WHERE sequence = 3")

    with pytest.raises(SystemExit) as ended:
        call_command("audit_verify", "--json")

    assert ended.value.code == 1
    told = json.loads(capsys.readouterr().out)
    assert told["lag_seconds"] is None
    missing, ahead = told["problems"]
    assert missing == {"file": name_of(stream[1]), "line": None, "what": "the file is missing"}
    assert "claims transactions that have not begun" in ahead["what"]


def test_a_file_that_is_in_the_way_of_the_next_one_is_found(
    stream: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_events(2)
    with monkeypatch.context() as patched:
        patched.setattr("audit.exporting.place", placed_and_killed)
        with pytest.raises(OSError, match="killed"):
            export_everything()
    assert verify_stream().problems == []
    planned = stream[0].with_name("000000000004.jsonl")
    planned.write_bytes(stream[2].read_bytes())

    assert verify_stream().problems == [
        Problem(name_of(planned), None, "it is in the way: other lines are to be written there")
    ]

    planned.unlink()
    assert verify_stream().problems == []
    export_everything()
    assert verify_stream().problems == []


def placed_and_killed(name: str, file: IO[bytes]) -> bool:
    """The row is not told."""
    place(name, file)
    raise OSError("killed")


def test_the_command_refuses_a_head_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="NUMBER:HASH"):
        call_command("audit_verify", "--head=12")


def test_the_command_tells_what_is_in_no_file(
    stream: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    add_events(1)
    time.sleep(0.6)

    call_command("audit_verify")

    assert "The oldest event that is in no file is 1 s old." in capsys.readouterr().out
    export_everything()


def make_long_stream(files: Files, count: int) -> None:
    """The last file anew with so many lines, and its row accordingly."""
    sample = {
        key: value
        for key, value in lines_in(files[2])[0].items()
        if key not in ("n", "previous", "hash")
    }
    previous = bytes.fromhex(lines_in(files[1])[-1]["hash"])
    head = previous
    with files[2].open("wb") as file:
        repeated = (sample for _ in range(count))
        for text, digest in chained(repeated, first_line=10, previous=previous):
            file.write(text)
            head = digest
    with connect_as_superuser() as superuser:
        superuser.execute(b"SET session_replication_role = replica")
        superuser.execute(
            "UPDATE audit_export_batch SET lines = %s, head = %s, sha256 = sha256(%s)"
            " WHERE sequence = 3",
            [count, head, files[2].read_bytes()],
        )


def test_a_long_stream_is_read_in_a_straight_line_and_in_little_memory(stream: Files) -> None:
    durations = []
    for count in (25_000, 100_000):
        make_long_stream(stream, count)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()

        report = verify_stream()

        durations.append(time.process_time() - began)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert (report.lines, report.problems) == (count + 9, [])
        # Kilobytes: the file alone has sixty megabytes.
        assert grown < 20_000

    assert all(longer < shorter * 8 for shorter, longer in pairwise(durations))
    assert durations[-1] < 30
    with as_operator("test"):
        assert ExportBatch.objects.count() == 3
