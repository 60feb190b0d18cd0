"""Bars and lines for Chart.js, which the admin ships, and what they show in words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

GREY = "#9ca3af"
VIOLET = "var(--color-primary-600)"
PALE = "#c4b5fd"
RED = "#dc2626"
ORANGE = "#f59e0b"
BLUE = "#3b82f6"


@dataclass(frozen=True)
class Bars:
    """Amounts on top of each other; one for each label of the chart."""

    name: str
    colour: str
    amounts: Sequence[int]


@dataclass(frozen=True)
class Line:
    """Shares in per cent, on an axis of their own; nothing where there is none."""

    name: str
    colour: str
    shares: Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    """A drawing with what it shows; `data` and `options` are JSON of Chart.js."""

    title: str
    summary: str
    data: str
    options: str


def stacked(
    title: str,
    labels: Sequence[str],
    bars: Sequence[Bars],
    *,
    what: str,
    line: Line | None = None,
) -> Chart:
    """Bars on top of each other for each label, and a line of shares above them if there is one."""
    datasets = [_drawn_bars(kind) for kind in bars]
    if line:
        datasets.append(_drawn_line(line))
    return Chart(
        title=title,
        summary=_summary(labels, bars, line),
        data=json.dumps({"labels": list(labels), "datasets": datasets}),
        options=json.dumps(_options(what, line)),
    )


def _drawn_bars(bars: Bars) -> dict[str, Any]:
    return {
        "type": "bar",
        "label": bars.name,
        "data": list(bars.amounts),
        "backgroundColor": bars.colour,
        "maxBarThickness": 20,
        "borderRadius": 2,
        "order": 1,
    }


def _drawn_line(line: Line) -> dict[str, Any]:
    # A single point has no line that could be seen.
    lonely = sum(share is not None for share in line.shares) < 2  # noqa: PLR2004 - of a line
    return {
        "type": "line",
        "label": line.name,
        "data": list(line.shares),
        "yAxisID": "share",
        "borderColor": line.colour,
        "backgroundColor": line.colour,
        "borderWidth": 2,
        "pointRadius": 3 if lonely else 0,
        "spanGaps": True,
        "order": 0,
    }


def _options(what: str, line: Line | None) -> dict[str, Any]:
    ticks = {"color": GREY, "maxTicksLimit": 5}
    scales: dict[str, Any] = {
        "x": {
            "stacked": True,
            "grid": {"display": False},
            "ticks": {"color": GREY, "maxRotation": 0, "autoSkipPadding": 16},
        },
        "y": {
            "stacked": True,
            "beginAtZero": True,
            # Of nothing at all the axis would go from -1 to 1.
            "suggestedMax": 4,
            "grid": {},
            "border": {"display": False},
            "ticks": ticks | {"precision": 0},
            "title": {"display": True, "text": what, "color": GREY},
        },
    }
    if line:
        scales["share"] = {
            "position": "right",
            "min": 0,
            "max": 100,
            "grid": {"drawOnChartArea": False},
            "ticks": ticks,
            "title": {"display": True, "text": f"{line.name}, %", "color": GREY},
        }
    legend = {"boxHeight": 6, "boxWidth": 6, "color": GREY, "usePointStyle": True}
    return {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {"legend": {"align": "end", "labels": legend}},
        "scales": scales,
    }


def _summary(labels: Sequence[str], bars: Sequence[Bars], line: Line | None) -> str:
    """The sums, and where most was."""
    sums = [sum(column) for column in zip(*(kind.amounts for kind in bars), strict=True)]
    if not any(sums):
        return "Nothing in this time."
    said = ", ".join(f"{kind.name.lower()} {sum(kind.amounts):,}" for kind in bars)
    most = max(range(len(sums)), key=sums.__getitem__)
    text = f"In all: {said}. Most at {labels[most]}: {sums[most]:,}."
    last = [share for share in line.shares if share is not None] if line else []
    return f"{text} {line.name}: {last[-1]:g} %." if line and last else text
