"""How the pages show events: people and rows as links, values before and after side by side."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html

from audit.choices import Operation
from audit.models import ChangeEvent

NOTHING = "-"
COLOURS = {
    Operation.INSERT: "success",
    Operation.UPDATE: "info",
    Operation.DELETE: "danger",
    Operation.TRUNCATE: "danger",
}


@dataclass(frozen=True)
class Column:
    """What an event says of one column: what it held before and after, and whether it differs."""

    name: str
    before: str
    after: str
    changed: bool


def second_of(moment: datetime | None) -> str:
    if moment is None:
        return NOTHING
    return format_html(
        '<time class="whitespace-nowrap" datetime="{}">{}</time>',
        moment.isoformat(),
        f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
    )


def label_of(text: str, variant: str = "") -> str:
    return render_to_string("unfold/helpers/label.html", {"text": text, "variant": variant})


def operation_label(operation: str) -> str:
    known = Operation(operation)
    return label_of(known.label, COLOURS[known])


def two_lines(first: str, second: str) -> str:
    return format_html('<div>{}</div><div class="text-subtle text-xs">{}</div>', first, second)


def names_of(people: Iterable[UUID | None]) -> dict[UUID, str]:
    """The usernames of those who still have an account, in one question."""
    wanted = {person for person in people if person is not None}
    users = get_user_model().objects.filter(pk__in=wanted)
    return {user.pk: user.get_username() for user in users}


def person_html(person: UUID | None, names: Mapping[UUID, str]) -> str:
    """A link to the person's account, or the id alone of one who has none any more."""
    if person is None:
        return NOTHING
    if person not in names:
        return format_html('<span class="text-xs">{}</span>', person)
    opts = admin.site.get_model_admin(get_user_model()).opts
    address = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[person])
    return format_html('<a class="text-link" href="{}">{}</a>', address, names[person])


def row_html(table: str, row: UUID | None) -> str:
    """The row's key, with a link if the admin has a page for such rows."""
    if row is None:
        return NOTHING
    name = _pages().get(table)
    if name is None:
        return format_html('<span class="text-xs">{}</span>', row)
    return format_html(
        '<a class="text-link text-xs" href="{}">{}</a>', reverse(name, args=[row]), row
    )


@cache
def _pages() -> dict[str, str]:
    """For each table that has a form in the admin, the form's name."""
    shown = [
        admin.site.get_model_admin(model).opts
        for model in apps.get_models()
        if admin.site.is_registered(model)
    ]
    return {opts.db_table: f"admin:{opts.app_label}_{opts.model_name}_change" for opts in shown}


def columns_of(event: ChangeEvent) -> list[Column]:
    """Every column that the event speaks of, those that changed first."""
    old, new, changed = event.old or {}, event.new or {}, set(event.changed or ())
    names = sorted({*old, *new, *changed}, key=lambda name: (name not in changed, name))
    return [
        Column(name, _value(name, event.old), _value(name, event.new), name in changed)
        for name in names
    ]


def _value(name: str, values: Mapping[str, Any] | None) -> str:
    if values is None:
        return ""
    if name not in values:
        return "(not kept)"
    return _readable(values[name])


def readable_details(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, _readable(value)) for name, value in sorted(details.items())]


def _readable(value: Any) -> str:
    if value is None:
        return "(nothing)"
    if isinstance(value, str):
        return value or "(empty)"
    return json.dumps(value, ensure_ascii=False)
