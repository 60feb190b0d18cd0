import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.formats.json_pieces import (
    Entry,
    array_pieces,
    cut_object,
    first_objects,
    is_lines,
    object_in,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from('[]{},"\\'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
SPACE = st.text(" \t\r\n", max_size=3)
CHUNKS = st.integers(1, 40)
NEAR_JSON = st.lists(
    st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b",", b":", b" ", b"\n", b"\xc3", b"1"]),
    max_size=30,
).map(b"".join)


@st.composite
def written(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> str:
    """A value as JSON with any space in it."""
    value = draw(values)
    before, behind = draw(SPACE), draw(SPACE)
    if isinstance(value, list):
        inner = ",".join(draw(written(st.just(item))) for item in value)
        return f"{before}[{inner or draw(SPACE)}]{behind}"
    if isinstance(value, dict):
        names = {name: draw(written(st.just(name))) for name in value}
        inner = ",".join(f"{names[name]}:{draw(written(st.just(value[name])))}" for name in value)
        return f"{before}{{{inner or draw(SPACE)}}}{behind}"
    return f"{before}{json.dumps(value, ensure_ascii=draw(st.booleans()))}{behind}"


ARRAYS = written(st.lists(JSON, max_size=5)).map(lambda text: text.encode("utf-8", "replace"))


def pieces(raw: bytes, chunk_bytes: int = 1 << 20) -> list[bytes]:
    return list(array_pieces(io.BytesIO(raw), chunk_bytes))


# --- Long arrays ---------------------------------------------------------------------------------


def test_each_element_is_followed_by_its_separators() -> None:
    raw = b'\xef\xbb\xbf [\n {"a": [1, "],"]} ,\n "b\\"," ,3\n]\n'

    assert pieces(raw) == [
        b"\xef\xbb\xbf [\n ", b'{"a": [1, "],"]} ,\n ', b'"b\\"," ,', b"3\n]\n"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", [b""]),
        (b" \n", [b"", b" \n"]),
        (b"[]", [b"[]"]),
        (b" [ ] \n", [b" [ ] \n"]),
        (b"[", [b"["]),
        (b"[1,]", [b"[", b"1,]"]),
        (b"[1]", [b"[", b"1]"]),
        (b"[1] [2], ", [b"[", b"1] ", b"[2], "]),
        (b'{"a": [1, 2]}', [b"", b'{"a": [1, 2]}']),
        (b"\xef\xbb\xbf{}", [b"", b"\xef\xbb\xbf{}"]),
        (b"\xef\xbb", [b"", b"\xef\xbb"]),
        (b"plain words", [b"", b"plain words"]),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 2, 1 << 20])
def test_what_is_hardly_an_array_is_cut_too(
    raw: bytes, expected: list[bytes], chunk_bytes: int
) -> None:
    assert pieces(raw, chunk_bytes) == expected


def test_a_damaged_element_does_not_take_the_others_along() -> None:
    assert pieces(b'[{"a": oops {]}, {"b": 2}]') == [b"[", b'{"a": oops {]}, ', b'{"b": 2}]']


def test_a_torn_end_is_the_last_piece() -> None:
    assert pieces(b'[{"a": 1}, {"b": "x, {') == [b"[", b'{"a": 1}, ', b'{"b": "x, {']


def test_an_element_beyond_measure_is_kept_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dedup.formats.json_pieces.LONGEST_PIECE", 8)

    assert pieces(b'["abcdefghijklmn", 2]', 4) == [b"[", b'"abcdefghij', b'klmn", ', b"2]"]


@given(st.binary(max_size=60) | NEAR_JSON | NEAR_JSON.map(lambda raw: b"[" + raw), CHUNKS)
def test_no_byte_is_lost_of_anything(raw: bytes, chunk_bytes: int) -> None:
    assert b"".join(pieces(raw, chunk_bytes)) == raw
    assert pieces(raw, chunk_bytes) == pieces(raw)


@given(ARRAYS, CHUNKS)
def test_the_pieces_are_the_elements(raw: bytes, chunk_bytes: int) -> None:
    opening, *elements = pieces(raw, chunk_bytes)

    assert opening + b"".join(elements) == raw
    assert [json.loads(piece.rstrip(b" \t\r\n")[:-1]) for piece in elements] == json.loads(raw)


def test_memory_holds_one_element() -> None:
    element = b'{"text": "' + b"oven \\n " * 2000 + b'"},'
    file = io.BytesIO(b"[" + element * 2000 + b"1]")
    tracemalloc.start()

    count = sum(1 for _ in array_pieces(file))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 2002
    assert peak < 4 << 20


# --- One object ----------------------------------------------------------------------------------


def test_an_object_is_cut_at_the_messages_of_its_list() -> None:
    raw = b' {"id": "a", "messages": [ {"n": 1} ,\n {"n": 2} ], "title": "T\xc3\xa4rts"} ,\n'

    cut = cut_object(raw, "messages", "[")

    assert cut is not None
    assert cut.members == {"id": "a", "title": "Tärts"}
    assert cut.head == b' {"id": "a", "messages": [ '
    assert cut.entries == [Entry(b'{"n": 1} ,\n ', "", {"n": 1}), Entry(b'{"n": 2} ', "", {"n": 2})]
    assert cut.tail == b'], "title": "T\xc3\xa4rts"} ,\n'
    assert cut.found


def test_an_object_is_cut_at_the_members_of_a_value() -> None:
    cut = cut_object(b'{"mapping": {"a" : {"n": 1}, "b": null}}', "mapping", "{")

    assert cut is not None
    assert cut.head == b'{"mapping": {'
    assert cut.entries == [
        Entry(b'"a" : {"n": 1}, ', "a", {"n": 1}),
        Entry(b'"b": null', "b", None),
    ]
    assert cut.tail == b"}}"


@pytest.mark.parametrize(
    ("raw", "found"),
    [(b'{"messages": []}', True), (b'{"messages": "none"}', False), (b"{}", False)],
)
def test_without_entries_all_is_head(raw: bytes, *, found: bool) -> None:
    cut = cut_object(raw, "messages", "[")

    assert cut is not None
    assert (cut.head, cut.entries, cut.tail, cut.found) == (raw, [], b"", found)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"messages": [1,]}',
        b'{"messages": [1',
        b'{"messages": [1]} {}',
        b'{"messages": ["\xff"]}',
        b'{1: 2, "messages": []}',
        b'{"messages": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
        b'{"messages": [' + b"9" * 5000 + b"]}",
    ],
)
def test_a_damaged_object_is_not_cut(raw: bytes) -> None:
    assert cut_object(raw, "messages", "[") is None


def test_of_a_name_that_stands_twice_every_entry_is_found() -> None:
    raw = b'{"messages": [1, 2], "id": "a", "messages": [3]}'

    cut = cut_object(raw, "messages", "[")

    assert cut is not None
    assert [entry.value for entry in cut.entries] == [1, 2, 3]
    assert cut.head + b"".join(entry.raw for entry in cut.entries) + cut.tail == raw


@given(written(st.dictionaries(st.text(max_size=3) | st.just("k"), JSON, max_size=4)))
def test_a_cut_object_joined_is_the_object(text: str) -> None:
    raw = text.encode("utf-8", "replace")
    whole = json.loads(raw)

    for bracket, kind in (("[", list), ("{", dict)):
        cut = cut_object(raw, "k", bracket)

        assert cut is not None
        assert cut.head + b"".join(entry.raw for entry in cut.entries) + cut.tail == raw
        if cut.found:
            assert isinstance(whole.pop("k"), kind)
        assert cut.members == whole
        whole = json.loads(raw)
        values = [entry.value for entry in cut.entries]
        if cut.found and bracket == "[":
            assert values == whole["k"]
        elif cut.found:
            assert (
                dict(zip((entry.key for entry in cut.entries), values, strict=True)) == whole["k"]
            )


@given(st.binary(max_size=60) | NEAR_JSON)
def test_an_object_may_be_anything(raw: bytes) -> None:
    cut = cut_object(raw, "", "[")

    assert cut is None or cut.head + b"".join(e.raw for e in cut.entries) + cut.tail == raw


def test_a_piece_holds_one_object_and_separators() -> None:
    assert object_in(b'\xef\xbb\xbf {"a": 1} ,\n ]\n') == {"a": 1}
    assert object_in(b'{"a": 1} {"b": 2}') is None
    assert object_in(b"[1]") is None
    assert object_in(b'{"a": ') is None


# --- Beginnings ----------------------------------------------------------------------------------


def beginnings(head: bytes) -> tuple[bool, list[Any]]:
    in_array, objects = first_objects(head)
    return in_array, list(objects)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b'[{"a": 1}, 2, {"b": {"c": [1, {"d": "cut', (True, [{"a": 1}, {"b": {"c": [1, {}]}}])),
        (b'[{"a": oops}, {"b": 2}]', (True, [{"b": 2}])),
        (b'{"a": {"b": 1, "c": 2', (False, [{"a": {"b": 1}}])),
        (b'{\n "a": 1,\n "b": [\n', (False, [{"a": 1, "b": []}])),
        (b'{"a": 1}\n{torn\n\n{"b": 2}\n{"c": 3, "d": tr', (False, [{"a": 1}, {"b": 2}, {"c": 3}])),
        (b'\xef\xbb\xbf{"a": 1}', (False, [{"a": 1}])),
        ('{"a": 1, "b": "crème'.encode()[:-2], (False, [{"a": 1}])),
        (b'{"a": ]]]}', (False, [])),
        (b"# words {", (False, [])),
        (b"", (False, [])),
    ],
)
def test_the_first_objects_are_seen_as_far_as_they_go(
    head: bytes, expected: tuple[bool, list[Any]]
) -> None:
    assert beginnings(head) == expected


@given(ARRAYS | NEAR_JSON | NEAR_JSON.map(lambda raw: b"{" + raw), st.integers(0, 80))
def test_a_beginning_may_end_anywhere(raw: bytes, end: int) -> None:
    _, objects = beginnings(raw[:end])

    assert all(isinstance(row, dict) for row in objects)


def test_lines_are_told_from_pretty_printing() -> None:
    assert is_lines(io.BytesIO(b'\n{torn\n{"a": 1}\n'))
    assert not is_lines(io.BytesIO(b'{\n  "a": {\n    "b": 1\n  }\n}\n'))
