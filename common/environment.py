"""Readers for settings that come from the environment: each value is right or the start fails."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}


def read_optional(name: str) -> str | None:
    """The value of `name`, or the content of the file that `name`_FILE points at, or None.

    An empty value counts as unset, so that a line `NAME=` in an environment file is harmless.
    """
    value = os.environ.get(name, "").strip()
    path = os.environ.get(f"{name}_FILE", "").strip()
    if value and path:
        raise ImproperlyConfigured(f"Set either {name} or {name}_FILE, not both.")
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE names {path}, which cannot be read: {error.strerror}."
            ) from error
        except UnicodeDecodeError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE names {path}, which cannot be read: it is not UTF-8."
            ) from error
        if not value:
            raise ImproperlyConfigured(f"{name}_FILE names {path}, which is empty.")
    return value or None


def read_text(name: str, default: str | None = None) -> str:
    value = read_optional(name)
    if value is not None:
        return value
    if default is None:
        raise ImproperlyConfigured(f"Set {name} in the environment (or {name}_FILE).")
    return default


def read_boolean(name: str, *, default: bool) -> bool:
    return _convert(name, default, _boolean, "true or false")


def read_choice(name: str, choices: Sequence[str], *, default: str) -> str:
    value = read_text(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


def read_integer(name: str, default: int, *, minimum: int = 0, maximum: int | None = None) -> int:
    value = _convert(name, default, int, "a whole number")
    if value < minimum:
        raise ImproperlyConfigured(f"{name} must be at least {minimum}, not {value}.")
    if maximum is not None and value > maximum:
        raise ImproperlyConfigured(f"{name} must be at most {maximum}, not {value}.")
    return value


def read_list(name: str, default: list[str]) -> list[str]:
    value = read_optional(name)
    if value is None:
        return default
    return [item.strip() for item in value.split(",") if item.strip()]


def read_pairs(name: str, convert: Callable[[str], T], expected: str) -> dict[str, T]:
    """What is written as `name:value,name:value`; each name once, the last colon divides."""
    pairs: dict[str, T] = {}
    for item in read_list(name, []):
        key, colon, value = item.rpartition(":")
        refusal = ImproperlyConfigured(f"{name} must be {expected}, each once, not {item!r}.")
        if not colon or key.strip() in pairs:
            raise refusal
        try:
            pairs[key.strip()] = convert(value.strip())
        except ValueError as error:
            raise refusal from error
    return pairs


def read_url(name: str, *, schemes: set[str], default: str | None = None) -> str:
    value = read_text(name, default)
    beginnings = tuple(f"{scheme}://" for scheme in sorted(schemes))
    if not value.startswith(beginnings):
        # The value may hold a password: it is not repeated.
        raise ImproperlyConfigured(f"{name} must begin with {' or '.join(beginnings)}.")
    return value


def _boolean(value: str) -> bool:
    if value.lower() in TRUE | FALSE:
        return value.lower() in TRUE
    raise ValueError(value)


def _convert(name: str, default: T, convert: Callable[[str], T], expected: str) -> T:
    value = read_optional(name)
    if value is None:
        return default
    try:
        return convert(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be {expected}, not {value!r}.") from error
