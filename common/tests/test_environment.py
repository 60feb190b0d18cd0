from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from common.environment import (
    read_boolean,
    read_choice,
    read_integer,
    read_list,
    read_optional,
    read_text,
    read_url,
)

NAME = "A_SETTING_OF_THE_TESTS"


def test_an_unset_name_is_none_and_an_empty_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_optional(NAME) is None

    monkeypatch.setenv(NAME, "  ")

    assert read_optional(NAME) is None


def test_a_value_loses_the_space_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, " a value ")

    assert read_optional(NAME) == "a value"


def test_a_value_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the house\n", encoding="utf-8")
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "secret"))

    assert read_text(NAME) == "of the house"
    assert read_optional(NAME) == "of the house"


def test_a_value_and_a_file_are_one_too_many(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("one", encoding="utf-8")
    monkeypatch.setenv(NAME, "two")
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "secret"))

    with pytest.raises(ImproperlyConfigured) as caught:
        read_optional(NAME)

    assert str(caught.value) == f"Set either {NAME} or {NAME}_FILE, not both."


def test_an_empty_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_text("\n", encoding="utf-8")
    monkeypatch.setenv(f"{NAME}_FILE", str(path))

    with pytest.raises(ImproperlyConfigured) as caught:
        read_optional(NAME)

    assert str(caught.value) == f"{NAME}_FILE names {path}, which is empty."


def test_a_missing_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "missing"
    monkeypatch.setenv(f"{NAME}_FILE", str(path))

    with pytest.raises(ImproperlyConfigured) as caught:
        read_optional(NAME)

    assert str(caught.value) == (
        f"{NAME}_FILE names {path}, which cannot be read: No such file or directory."
    )


def test_a_file_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv(f"{NAME}_FILE", str(path))

    with pytest.raises(ImproperlyConfigured) as caught:
        read_optional(NAME)

    assert str(caught.value) == (
        f"{NAME}_FILE names {path}, which cannot be read: it is not UTF-8."
    )


def test_a_text_without_default_must_be_set() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read_text(NAME)

    assert str(caught.value) == f"Set {NAME} in the environment (or {NAME}_FILE)."


def test_a_text_takes_its_default_even_an_empty_one() -> None:
    assert read_text(NAME, "") == ""
    assert read_text(NAME, "usual") == "usual"


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        ("On", True),
        ("0", False),
        ("False", False),
        ("no", False),
        ("off", False),
    ],
)
def test_a_boolean_is_read(monkeypatch: pytest.MonkeyPatch, value: str, *, meaning: bool) -> None:
    monkeypatch.setenv(NAME, value)

    assert read_boolean(NAME, default=not meaning) is meaning


def test_a_boolean_takes_its_default_when_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "")

    assert read_boolean(NAME, default=True) is True
    assert read_boolean(NAME, default=False) is False


@pytest.mark.parametrize("value", ["maybe", "2", "tru"])
def test_another_word_is_no_boolean(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(NAME, value)

    with pytest.raises(ImproperlyConfigured) as caught:
        read_boolean(NAME, default=False)

    assert str(caught.value) == f"{NAME} must be true or false, not {value!r}."


def test_an_integer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_integer(NAME, 7) == 7

    monkeypatch.setenv(NAME, "42")

    assert read_integer(NAME, 7) == 42


@pytest.mark.parametrize("value", ["3.5", "many", "0x10"])
def test_another_text_is_no_integer(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(NAME, value)

    with pytest.raises(ImproperlyConfigured) as caught:
        read_integer(NAME, 7)

    assert str(caught.value) == f"{NAME} must be a whole number, not {value!r}."


def test_an_integer_below_its_minimum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "-1")

    with pytest.raises(ImproperlyConfigured) as caught:
        read_integer(NAME, 7)

    assert str(caught.value) == f"{NAME} must be at least 0, not -1."


def test_an_integer_above_its_maximum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "9")
    assert read_integer(NAME, 7, maximum=9) == 9

    monkeypatch.setenv(NAME, "10")
    with pytest.raises(ImproperlyConfigured) as caught:
        read_integer(NAME, 7, maximum=9)

    assert str(caught.value) == f"{NAME} must be at most 9, not 10."


def test_a_choice_is_one_of_those_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_choice(NAME, ["ONE", "TWO"], default="TWO") == "TWO"

    monkeypatch.setenv(NAME, "ONE")

    assert read_choice(NAME, ["ONE", "TWO"], default="TWO") == "ONE"


@pytest.mark.parametrize("value", ["one", "THREE", "ONE TWO"])
def test_another_choice_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(NAME, value)

    with pytest.raises(ImproperlyConfigured) as caught:
        read_choice(NAME, ["ONE", "TWO"], default="TWO")

    assert str(caught.value) == f"{NAME} must be one of ONE, TWO, not {value!r}."


def test_a_list_is_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_list(NAME, ["usual"]) == ["usual"]

    monkeypatch.setenv(NAME, "one, two,,three ,")

    assert read_list(NAME, ["usual"]) == ["one", "two", "three"]


def test_an_address_of_a_known_scheme_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "redis://:pass@cache:6379/0")

    assert read_url(NAME, schemes={"redis"}) == "redis://:pass@cache:6379/0"


@pytest.mark.parametrize(
    "value", ["https://:hunter2@cache:6379/0", "redis:hunter2", "hunter2", "://:hunter2]@[x"]
)
def test_another_address_is_refused_without_repeating_its_password(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(NAME, value)

    with pytest.raises(ImproperlyConfigured) as caught:
        read_url(NAME, schemes={"redis", "rediss"})

    assert str(caught.value) == f"{NAME} must begin with redis:// or rediss://."
    assert caught.value.__cause__ is None
