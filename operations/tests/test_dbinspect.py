import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from rich.console import Console

from common.tests.connections import connect_as
from operations.inspection import CHECKS, Severity, Unchecked
from operations.management.commands import dbinspect

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "metrics", "backup"])


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def open_transaction() -> Iterator[None]:
    """A connection of `app` that said a word in a transaction and left it open."""
    with connect_as("default") as connection, connection.transaction():
        connection.execute("SELECT 'marzipan'")
        yield


def inspection(*checks: str, out: StringIO | None = None, **options: Any) -> tuple[int, str]:
    out, code = out or StringIO(), 0
    try:
        call_command("dbinspect", *checks, stdout=out, **options)
    except SystemExit as end:
        code = int(str(end.code))
    return code, out.getvalue()


def test_every_check_is_shown_as_a_table_without_colours_in_a_file() -> None:
    code, text = inspection()

    assert code == 0
    assert [name for name in CHECKS if f"\n{name}" not in f"\n{text}"] == []
    assert "outliers: nothing\n" in text
    assert "dedup_message" in text
    assert "\x1b" not in text


def test_a_word_of_a_query_is_not_shown(open_transaction: None) -> None:
    _, text = inspection("long-queries", longer_than=0)
    _, report = inspection("long-queries", longer_than=0, json=True)

    assert "SELECT ?" in text
    assert "marzipan" not in text + report


def test_on_a_terminal_there_are_colours_unless_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, coloured = inspection("cache-hit", out=Terminal())
    _, plain = inspection("cache-hit", out=Terminal(), no_color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    _, without = inspection("cache-hit", out=Terminal())

    assert "\x1b[32m" in coloured
    assert "\x1b[32m" not in plain
    assert "\x1b[32m" not in without


def test_json_is_one_object_with_every_check() -> None:
    code, text = inspection(json=True)

    report = json.loads(text)
    assert code == 0
    assert set(report) == {"severity", "checks"}
    assert list(report["checks"]) == list(CHECKS)
    assert set(report["checks"]["sizes"][0]) == {
        "severity",
        "table",
        "rows",
        "total_bytes",
        "table_bytes",
        "index_bytes",
        "toast_bytes",
    }


def test_only_the_named_checks_run_with_so_many_lines() -> None:
    _, text = inspection("sizes", "bloat", limit=3, json=True)

    assert {name: len(lines) for name, lines in json.loads(text)["checks"].items()} == {
        "sizes": 3,
        "bloat": 3,
    }


@pytest.mark.parametrize(
    ("worst", "threshold", "code"),
    [
        ("warning", "warning", 1),
        ("notice", "warning", 0),
        ("notice", "notice", 1),
        ("ok", "notice", 0),
        ("warning", None, 0),
    ],
)
def test_it_ends_with_1_only_if_asked_to(
    worst: str, threshold: str | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbinspect, "worst", lambda _: Severity(worst))

    assert inspection("sizes", fail_on=threshold)[0] == code


def test_an_unknown_check_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(CommandError) as caught:
        inspection("sizes", "speed")

    assert str(caught.value) == f"There is no check speed. There are: {', '.join(CHECKS)}."


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    with pytest.raises(CommandError, match="argument --limit: invalid"):
        call_command("dbinspect", f"--limit={limit}")


def test_without_the_login_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {name: entry for name, entry in connections.settings.items() if name != "metrics"}
    monkeypatch.setattr(connections, "settings", entries)

    with pytest.raises(CommandError, match=r"^Set DATABASE_METRICS_URL: .* role `metrics`\.$"):
        inspection()


def test_a_refused_login_is_a_sentence_without_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections["metrics"].close()
    monkeypatch.setitem(connections["metrics"].settings_dict, "PASSWORD", "hunter2")

    with pytest.raises(CommandError, match="password that DATABASE_METRICS_URL says") as caught:
        inspection()

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes_are_shown_in_their_units(amount: int, shown: str) -> None:
    assert dbinspect._shown("bytes", amount) == shown


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    console = Console(file=StringIO(), width=200)
    console.print(
        dbinspect._table("sizes", [Unchecked(severity=Severity.NOTICE, reason="[red]x[/red]")])
    )

    assert "[red]x[/red]" in console.file.getvalue()  # type: ignore[attr-defined]  # ours
