import hashlib
import json
import re
import unicodedata
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from dedup.choices import Role
from dedup.formats.contract import Block
from dedup.hashing import LONGEST_TEXT, content_hash, storable, text_of

STRINGS = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["\x00", "\ud83e", "a\r\nb", "crème", "cre\u0300me"]
)
# Two forms of one key in one object would be one key afterwards.
KEYS = st.text(st.characters(codec="ascii", exclude_characters="\r"), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
BLOCKS = st.lists(st.dictionaries(KEYS | st.just("type"), VALUES, max_size=4), max_size=3)


def text(words: str) -> list[Block]:
    return [{"type": "text", "text": words}]


def sha(canonical: str) -> bytes:
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).digest()


@pytest.mark.parametrize(
    ("role", "content", "canonical"),
    [
        (Role.USER, [], '{"content":[],"role":"user"}'),
        (
            Role.USER,
            text("Crème brûlée 🥧"),
            '{"content":[{"text":"Crème brûlée 🥧","type":"text"}],"role":"user"}',
        ),
        (
            Role.ASSISTANT,
            [{"type": "tool_use", "name": "Bash", "input": {"z": 1, "a": [True, None, 1.5]}}],
            (
                '{"content":[{"input":{"a":[true,null,1.5],"z":1},"name":"Bash","type":"tool_use"}]'
                ',"role":"assistant"}'
            ),
        ),
        (
            Role.TOOL,
            text('a\r\nb\rc "quoted" \\ \x00'),
            (
                '{"content":[{"text":"a\\nb\\nc \\"quoted\\" \\\\ \\u0000","type":"text"}]'
                ',"role":"tool"}'
            ),
        ),
        (
            Role.SYSTEM,
            text("half \ud83e"),
            '{"content":[{"text":"half \ud83e","type":"text"}],"role":"system"}',
        ),
    ],
)
def test_the_hash_is_of_the_canonical_form(
    role: Role, content: list[Block], canonical: str
) -> None:
    assert content_hash(role, content) == sha(canonical)


def test_stored_hashes_never_change_their_meaning() -> None:
    assert content_hash(Role.USER, []).hex() == (
        "fb296c5e1d944682ffae5842637030ce9c66c55e58cd2f9a06cd6e4cb17ba01b"
    )
    assert content_hash(Role.TOOL, text("cre\u0300me\r\nbrûlée")).hex() == (
        "652f662aebbacb12a6b62de643cd1c8ff6b1bfece2669ec074ea0a5a549a2d0c"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("crème", "cre\u0300me"),
        ("a\nb", "a\r\nb"),
        ("a\nb", "a\rb"),
        ("é\n", "e\u0301\r\n"),
    ],
)
def test_forms_of_the_same_words_are_equal(one: str, other: str) -> None:
    assert content_hash(Role.USER, text(one)) == content_hash(Role.USER, text(other))


@pytest.mark.parametrize(
    "other", [text("Yes"), text("yes "), text("yes\n"), [*text("yes"), *text("")], ["yes"], []]
)
def test_other_words_differ(other: list[Any]) -> None:
    assert content_hash(Role.USER, text("yes")) != content_hash(Role.USER, other)


def test_the_role_is_part_of_the_hash() -> None:
    assert len({content_hash(role, text("yes")) for role in Role}) == 4


@given(BLOCKS)
def test_the_order_of_keys_and_the_form_of_words_do_not_count(content: list[Block]) -> None:
    turned = [dict(reversed(block.items())) for block in content]

    assert content_hash(Role.USER, turned) == content_hash(Role.USER, content)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_both_unicode_forms_hash_alike(words: str) -> None:
    decomposed = unicodedata.normalize("NFD", words)

    assert content_hash(Role.USER, text(words)) == content_hash(Role.USER, text(decomposed))


@given(VALUES)
def test_what_is_storable_has_nothing_that_the_database_refuses(value: Any) -> None:
    stored = json.dumps(storable(value), allow_nan=False, ensure_ascii=False)

    assert not re.search("[\x00\ud800-\udfff]", stored)
    assert "\\u0000" not in stored.replace("\\\\", "")
    assert json.loads(stored) == storable(value)


def test_what_cannot_be_stored_has_visible_substitutes() -> None:
    value = {"a\x00": ["b\ud83e", float("nan"), float("-inf"), 1.5, 1e23]}

    assert storable(value) == {"a\u2400": ["b\ufffd", "nan", "-inf", 1.5, int(1e23)]}


@given(BLOCKS)
def test_the_text_is_always_storable_and_bounded(content: list[Block]) -> None:
    words = text_of(content)

    assert not re.search("[\x00\ud800-\udfff]", words)
    assert len(words) <= LONGEST_TEXT


def test_the_text_is_what_a_person_reads() -> None:
    content: list[Block] = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Look:"},
        {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls", "n": 3}},
        {"type": "tool_result", "tool_use_id": "t1", "content": text("flour")},
        {"type": "image", "source": {"data": "iVBORw0KGgo="}},
        {"type": "unknown", "value": "bare"},
    ]

    found = text_of(content).split("\n")

    assert [words for words in found if words not in ("t1", "c2ln")] == [
        "Hm.",
        "Look:",
        "Bash",
        "ls",
        "flour",
        "bare",
    ]


def test_a_long_text_is_cut() -> None:
    assert text_of([*text("x" * LONGEST_TEXT), *text("y")]) == "x" * LONGEST_TEXT
    assert len(text_of(text("x y " * 400_000))) == LONGEST_TEXT


def letters(first: int, count: int) -> list[str]:
    return [chr(code) for code in range(first, first + count) if not 0xD800 <= code <= 0xDFFF]


def words_of(size: int, joint: str, first: int) -> str:
    """Words of so many letters each, none of which comes twice."""
    found = letters(first, 130_000)
    return " ".join(joint.join(found[at : at + size]) for at in range(0, len(found), size))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "words",
    [
        "".join(letters(0x20000, 200_000)),
        " ".join(letters(0x20000, 100_000)),
        words_of(2, "", 0x20000),
        words_of(2, "-", 0x20000),
        words_of(3, "-", 0x20000),
        words_of(2, "-", 0x4E00),
        " ".join(f"{number:x}.example.org/{number:x}" for number in range(100_000)),
        " ".join(f"{number:x}-{number + 1:x}-{number + 2:x}" for number in range(100_000)),
        " ".join(f"{number}@a-{number:x}.org" for number in range(100_000)),
        "x" * 1_200_000,
        "a/b/" * 300_000,
        "-" * 1_200_000,
    ],
    ids=lambda words: ascii(words[:3]),
)
def test_the_text_of_the_longest_message_can_be_indexed(words: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT length(to_tsvector('english', %s)) >= 0", [text_of(text(words))])

        assert cursor.fetchone() == (True,)
