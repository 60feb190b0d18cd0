import ipaddress
import json
import logging
import sys
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import context
from common.ids import uuid7
from common.logs import MASK, JsonLogFormatter, mask, pseudonym_of

PERSON = UUID("019a0000-0000-7000-8000-000000000001")

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
WORDS = st.text(LETTERS, min_size=12, max_size=20)
TOKENS = st.text(LETTERS + "_-", min_size=43, max_size=43).map("cp_{}".format)
EMAILS = st.builds("{}.o'{}@{}.example.org".format, WORDS, WORDS, WORDS)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).filter(lambda address: address.packed[:2] != b"\0\0").map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.integers(1, 0xFFFF).map(lambda tail: str(ipaddress.IPv6Address(tail))),
)
# What must not appear, and the text that brings it.
SECRETS = st.one_of(
    TOKENS.map(lambda token: (token, token)),
    TOKENS.map(lambda token: (token, f"Bearer {token}")),
    TOKENS.map(lambda token: (token[3:], f"cpr_{token[3:]}")),
    TOKENS.map(lambda token: (token[3:], f"eyJ0.{token[3:]}.{token[3:]}")),
    WORDS.map(lambda word: (word, f"X-Session-Token: {word}")),
    WORDS.map(lambda word: (word, f"Authorization: Basic {word}==")),
    WORDS.map(lambda word: (word, f"Authorization: Token {word}")),
    WORDS.map(lambda word: (word, f"{{'Authorization': 'Digest {word}'}}")),
    WORDS.map(lambda word: (word, f"postgresql://app:{word}@database/commonplace")),
    WORDS.map(lambda word: (word, f"redis://:a@{word}@cache:6379/0")),
    WORDS.map(lambda word: (word, f"https://{word}@example.org/feed")),
    EMAILS.map(lambda email: (email, email)),
    EMAILS.map(lambda email: (email.partition("@")[0], f"<{email}>")),
    ADDRESSES.map(lambda address: (address, address)),
    ADDRESSES.map(lambda address: (address, f"({address})")),
)
BEFORE = st.sampled_from(
    ["", "from ", "tried\n", "tab\t", '"', "'", "é ", "value=", "\\ ", "(", "日本 "]
)
AFTER = st.sampled_from(["", " failed", "\nnext", '"', "', 'x'", ", then", ".", ": refused", " é"])


def line_of(message: object, *arguments: object, **extra: object) -> dict[str, Any]:
    """The line that the formatter makes of a record, read as JSON."""
    record = logging.LogRecord("house", logging.INFO, "file", 1, message, arguments, None)
    record.__dict__.update(extra)
    written = JsonLogFormatter("web").format(record)
    line: dict[str, Any] = json.loads(written)
    assert "\n" not in written
    return line


def test_a_line_is_one_json_object_with_its_process() -> None:
    line = line_of("%s rows", 3, milliseconds=1.5)

    assert line.pop("at")
    assert line == {
        "level": "INFO",
        "logger": "house",
        "message": "3 rows",
        "process": "web",
        "milliseconds": 1.5,
    }


def test_a_line_carries_the_request_and_the_person() -> None:
    with context.request_context("019a0000-0000-7000-8000-00000000beef"):
        context.person_id.set(PERSON)
        line = line_of("hello")

    assert line["request_id"] == "019a0000-0000-7000-8000-00000000beef"
    assert line["person"] == pseudonym_of(PERSON)
    assert str(PERSON) not in json.dumps(line)
    assert PERSON.hex not in json.dumps(line)
    assert "request_id" not in line_of("hello")
    assert "person" not in line_of("hello")


def test_a_person_has_one_pseudonym_that_follows_from_the_key(settings: object) -> None:
    first = pseudonym_of(PERSON)
    assert len(first) == 16
    assert pseudonym_of(uuid7()) != first

    pseudonym_of.cache_clear()
    assert pseudonym_of(PERSON) == first
    pseudonym_of.cache_clear()
    settings.ENCRYPTION_ROOT_KEY = b"x" * 64  # type: ignore[attr-defined]
    assert pseudonym_of(PERSON) != first
    pseudonym_of.cache_clear()


@given(secret=SECRETS, before=BEFORE, after=AFTER)
def test_a_secret_never_appears_in_a_message(
    secret: tuple[str, str], before: str, after: str
) -> None:
    hidden, text = secret

    written = line_of(before + text + after)["message"]

    assert hidden not in written
    assert MASK in written


@given(secret=SECRETS, before=BEFORE, after=AFTER)
def test_a_secret_never_appears_in_arguments_extras_or_tracebacks(
    secret: tuple[str, str], before: str, after: str
) -> None:
    hidden, text = secret
    text = before + text + after
    try:
        int(text + " is no number")
    except ValueError as error:
        line = line_of(
            "%s", text, exc_info=sys.exc_info(), details={"deep": [text], text: 1}, cause=error
        )

    assert hidden not in json.dumps(line, ensure_ascii=False)
    assert "Traceback" in line["exc_info"]


@given(text=st.text())
def test_a_line_of_any_text_is_json(text: str) -> None:
    assert "message" in line_of(text.replace("%", "%%"), extra=text)


@pytest.mark.parametrize("name", ["Authorization", "HTTP_COOKIE", "password", "client_secret"])
def test_what_has_a_sensitive_name_is_masked_whole(name: str) -> None:
    assert line_of("request", headers={name: "plain words"})["headers"] == {name: MASK}


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/v1/imports/{pk}/ 200",
        "2026-01-02 03:04:05,678",
        "common.queue.enqueue took 12.5 ms",
        "dedup::parse of tests/test_logs.py::test",
        "019a0000-0000-7000-8000-000000000001",
        "tcp_keepalives_idle",
        "version 5.2.19",
        "https://example.org/a?b=c",
        "10 % of 3 @ 4",
    ],
)
def test_what_is_not_secret_is_left_alone(text: str) -> None:
    assert mask(text) == text


def test_masking_a_long_text_stays_quick() -> None:
    text = "a" * 50_000 + ":" * 50_000 + "1." * 50_000 + "cp_" * 10_000

    assert len(mask(text)) > 0
