"""How the pages show rows: labels, bars, links, tables and charts, with secrets masked.

What a person typed or a program wrote goes through `masked`, whatever it was when it was
imported: the detector learns, and the stored bytes are whole.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any
from uuid import UUID

from django.contrib.admin.views.main import ChangeList
from django.db.models import Model
from django.db.models.functions import Left
from django.template.defaultfilters import date as date_filter
from django.template.defaultfilters import truncatechars
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html

from dedup.choices import Role
from dedup.models import (
    Conversation,
    Import,
    Revision,
)
from dedup.savings import DAYS, DaySavings, cumulative, savings_by_day
from dedup.secrets import masked, masked_value
from dedup.selectors import latest_revisions

# A secret is masked before the words are cut, since half of one would not be recognised.
LOOKED_AT = 2_000
EXCERPT = 120
LONGEST_JSON = 100_000

ROLE_COLOURS = {Role.USER: "primary", Role.ASSISTANT: "success", Role.TOOL: "info"}

# Of Chart.js: bars on each other, and shares in per cent on an axis of their own.
GREY = "#9ca3af"
CHART_OPTIONS = {
    "animation": False,
    "responsive": True,
    "maintainAspectRatio": False,
    "interaction": {"mode": "index", "intersect": False},
    "plugins": {
        "legend": {
            "align": "end",
            "labels": {"boxHeight": 6, "boxWidth": 6, "color": GREY, "usePointStyle": True},
        }
    },
    "scales": {
        "x": {
            "stacked": True,
            "grid": {"display": False},
            "ticks": {"color": GREY, "maxRotation": 0, "autoSkipPadding": 16},
        },
        "y": {
            "stacked": True,
            "beginAtZero": True,
            "grid": {},
            "border": {"display": False},
            "ticks": {"color": GREY, "precision": 0, "maxTicksLimit": 6},
            "title": {"display": True, "text": "Messages", "color": GREY},
        },
        "share": {
            "position": "right",
            "min": 0,
            "max": 100,
            "grid": {"drawOnChartArea": False},
            "ticks": {"color": GREY, "maxTicksLimit": 6},
            "title": {"display": True, "text": "Saved, %", "color": GREY},
        },
    },
}


@dataclass(frozen=True)
class Table:
    """Rows below a form; not shown where there are none."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    words: str = ""


@dataclass(frozen=True)
class Excerpt:
    """The first words of what a message says."""

    role: str
    words: str
    has_secrets: bool


def minute_of(moment: datetime | None) -> str:
    shown = date_filter(moment, "Y-m-d H:i") if moment else "-"
    return format_html('<span class="whitespace-nowrap">{}</span>', shown)


def label_html(text: str, variant: str = "") -> str:
    return render_to_string("unfold/helpers/label.html", {"text": text, "variant": variant})


def secrets_html(has_secrets: bool) -> str:  # noqa: FBT001 - as the row says
    return label_html("secrets", "danger") if has_secrets else "-"


def role_html(role: str) -> str:
    return label_html(Role(role).label, ROLE_COLOURS.get(Role(role), "")) if role else ""


def bar_html(percent: float, title: str = "") -> str:
    return render_to_string("admin/dedup/bar.html", {"percent": percent, "title": title})


def link_to(row: Model, text: str) -> str:
    name = f"admin:dedup_{type(row).__name__.lower()}_change"
    return format_html(
        '<a class="text-link break-words" href="{}">{}</a>', reverse(name, args=[row.pk]), text
    )


def file_name_of(row: Import) -> str:
    return masked("/".join(PurePath(row.name).parts[-2:]))


def title_of(conversation: Conversation) -> str:
    return truncatechars(masked(str(conversation)), 80)


def readable_json(value: Any) -> str:
    """Readable JSON without secrets, cut where it would be too long for a page."""
    text = json.dumps(masked_value(value), indent=2, ensure_ascii=False)
    return text if len(text) <= LONGEST_JSON else f"{text[:LONGEST_JSON]}\n…"


def chart_of(
    labels: Sequence[str], new: Sequence[int], equal: Sequence[int], share: Sequence[float]
) -> dict[str, str]:
    bar = {"type": "bar", "maxBarThickness": 28, "borderRadius": 3, "order": 1}
    data = {
        "labels": labels,
        "datasets": [
            {**bar, "label": "New", "data": new, "backgroundColor": "var(--color-primary-600)"},
            {**bar, "label": "Duplicates", "data": equal, "backgroundColor": "#c4b5fd"},
            {
                "type": "line",
                "label": "Saved in all, %",
                "data": share,
                "yAxisID": "share",
                "borderColor": "#f59e0b",
                "backgroundColor": "#f59e0b",
                "borderWidth": 2,
                "pointRadius": 0 if len(share) > 1 else 3,
                "order": 0,
            },
        ],
    }
    return {"data": json.dumps(data), "options": json.dumps(CHART_OPTIONS)}


def _chart_of_days(days: Sequence[DaySavings]) -> dict[str, str]:
    return chart_of(
        [f"{row.day:%d %b}" for row in days],
        [row.new_messages for row in days],
        [row.duplicates_filtered for row in days],
        [row.savings_pct for row in cumulative(days)],
    )


def savings_above(changelist: ChangeList) -> dict[str, Any]:
    """For the chart above a list: of all the rows that its filters leave."""
    days = savings_by_day(changelist.queryset)
    return {
        "savings_days": DAYS,
        "savings_totals": cumulative(days)[-1] if days else None,
        "savings_chart": _chart_of_days(days),
    }


def excerpts_of(message_ids: Sequence[UUID]) -> dict[UUID, Excerpt]:
    """Of each message the revision that counts; long contents stay in the database."""
    rows = (
        Revision.objects.filter(message__in=message_ids)
        .order_by("id")
        .values_list("pk", "message_id", "role", Left("text", LOOKED_AT), "secrets")
    )
    candidates: dict[UUID, dict[UUID, Excerpt]] = {}
    for pk, message, role, words, found in rows:
        shown = truncatechars(" ".join(masked(words).split()), EXCERPT)
        candidates.setdefault(message, {})[pk] = Excerpt(role, shown, bool(found))
    revised = latest_revisions(pk for pk, found in candidates.items() if len(found) > 1)
    return {
        message: found[revised[message].pk] if message in revised else next(iter(found.values()))
        for message, found in candidates.items()
    }
