import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.management.reports import said_plainly, size_in_words
from operations.inspection import CHECKS, Finding, Scope, Severity, inspect, worst

# Without a terminal nobody would see what is cut off.
WIDTH_OF_FILES = 240
STYLES = {Severity.OK: "green", Severity.NOTICE: "yellow", Severity.WARNING: "bold red"}


class Command(BaseCommand):
    help = (
        "Say what the server's statistics tell of the database: what is slow, blocked, large,"
        " bloated, unused or missing. Words in queries are masked."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "checks",
            nargs="*",
            metavar="CHECK",
            help=f"which checks, all unless said otherwise: {', '.join(CHECKS)}",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--limit", type=_positive, default=20, help="lines of each check (20)", metavar="N"
        )
        parser.add_argument(
            "--longer-than",
            type=float,
            default=1.0,
            metavar="SECONDS",
            help="which queries are long (1)",
        )
        parser.add_argument(
            "--fail-on",
            choices=[Severity.NOTICE.value, Severity.WARNING.value],
            help="end with 1 if anything is as bad as that",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = _inspected(options)
        if options["json"]:
            report = {name: [asdict(one) for one in findings] for name, findings in found.items()}
            text = json.dumps(
                {"severity": worst(found), "checks": report}, indent=2, default=_as_json
            )
            self.stdout.write(text)
        else:
            self._show(found, colour=not options["no_color"])
        threshold = options["fail_on"]
        order = list(Severity)
        if threshold and order.index(worst(found)) >= order.index(Severity(threshold)):
            sys.exit(1)

    def _show(self, found: dict[str, Sequence[Finding]], *, colour: bool) -> None:
        terminal = self.stdout.isatty()
        console = Console(
            file=self.stdout,  # type: ignore[arg-type]  # it wraps a file
            no_color=None if colour else True,
            width=None if terminal else WIDTH_OF_FILES,
            highlight=False,
        )
        for name, findings in found.items():
            console.print(_table(name, findings) if findings else f"{name}: nothing\n")


def _inspected(options: dict[str, Any]) -> dict[str, Sequence[Finding]]:
    unknown = [name for name in options["checks"] if name not in CHECKS]
    if unknown:
        raise CommandError(
            f"There is no check {', '.join(unknown)}. There are: {', '.join(CHECKS)}."
        )
    scope = Scope(limit=options["limit"], longer_than_seconds=options["longer_than"])
    try:
        with said_plainly():
            return inspect(options["checks"], scope)
    except OperationalError as error:
        raise CommandError(
            "The statistics cannot be read. Is the database up, and has the role `metrics` the"
            f" password that DATABASE_METRICS_URL says? {str(error).strip()}"
        ) from error


def _table(name: str, findings: Sequence[Finding]) -> Table:
    """One row for each finding. The first one says what columns there are."""
    table = Table(title=name, title_justify="left")
    columns = [column for column in asdict(findings[0]) if column != "severity"]
    for column in ["", *columns]:
        table.add_column(column.replace("_", " "))
    for finding in findings:
        severity = Text(finding.severity.value, style=STYLES[finding.severity])
        table.add_row(severity, *(Text(_shown(c, getattr(finding, c))) for c in columns))
    return table


def _shown(column: str, value: Any) -> str:
    """Bytes in units, times to the minute, nothing for what is not known."""
    if value is None or value == []:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if column.endswith("bytes"):
        return size_in_words(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _as_json(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
