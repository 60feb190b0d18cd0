"""The admin's first page: its numbers, its words, and what it does without one of its sources."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from accounts.tests.factories import make_user, operator_browser
from audit.choices import SecurityKind
from audit.models import SecurityEvent
from audit.recording import record
from audit.tests.streams import export_everything
from audit.times import first_key
from common.failures import note_failure
from common.health import record_heartbeat, redis_client
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser
from dedup.choices import ImportStatus
from dedup.models import Import
from dedup.tests.factories import dialogue, import_all, prompt, transcript
from operations import dashboard
from operations.dashboard.backups import note_of_backup
from operations.dashboard.cards import Card, State, duration
from operations.dashboard.database import inspected, note_of
from operations.inspection import Finding, Severity

pytestmark = pytest.mark.django_db(
    transaction=True,
    databases=["default", "operator", "metrics", "backup"],
)

MOST_QUERIES = 36
TITLES = [
    "Imports of 30 days", "Queue", "Database", "Errors and refusals", "Change stream", "Backups",
]  # fmt: skip
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def a_quiet_house(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """Nothing is counted yet, stored or backed up; worker and beat are alive."""
    settings.REDIS_PREFIX = f"{settings.REDIS_PREFIX}dashboard-of-a-test:"
    settings.BACKUP_DIR = tmp_path / "backups"
    settings.MEDIA_ROOT = str(tmp_path / "files")
    inspected.cache_clear()
    prefix = settings.REDIS_PREFIX
    with redis_client() as client:
        for process in ("worker", "beat"):
            record_heartbeat(process)
        yield
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)
    inspected.cache_clear()


@pytest.fixture
def ada() -> User:
    return make_user("ada")


@pytest.fixture
def browser() -> Client:
    """A browser in which an operator has logged in, who gave no reason."""
    return operator_browser("grace", reason="")


def cards(browser: Client) -> dict[str, Card]:
    answer = browser.get(reverse("admin:index"))
    assert answer.status_code == 200
    return {card.title: card for card in answer.context["cards"]}


def page(browser: Client) -> str:
    return unescape(browser.get(reverse("admin:index")).content.decode())


def figures(card: Card) -> dict[str, str]:
    return {figure.name: figure.value for figure in card.figures}


def sums(card: Card, number: int = 0) -> dict[str, float]:
    """What a chart draws, summed up: the last amount of a line."""
    drawn = json.loads(card.charts[number].data)["datasets"]
    return {
        row["label"]: row["data"][-1] if row["type"] == "line" else sum(row["data"])
        for row in drawn
    }


def words(card: Card) -> str:
    return " ".join(note.text for note in card.worst_notes)


def two_imports_and_one_that_failed(ada: User, folder: Path) -> None:
    import_all(ada.pk, [transcript(folder / "1", dialogue(4))])
    import_all(ada.pk, [transcript(folder / "2", dialogue(6))])
    import_all(ada.pk, [transcript(folder / "3", [prompt("x", "Bread")])])
    with acting_as(ada.pk):
        failing = Import.objects.filter(pk=Import.objects.latest("pk").pk)
        failing.update(status=ImportStatus.QUEUED)
        failing.fail("missing_artifact", "gone")


# --- Numbers ----------------------------------------------------------------------------------


def test_imports_are_counted_by_outcome(ada: User, browser: Client, tmp_path: Path) -> None:
    two_imports_and_one_that_failed(ada, tmp_path)

    card = cards(browser)["Imports of 30 days"]

    assert figures(card) == {
        "Completed": "2", "Came again": "0", "Failed": "1", "Unfinished": "0",
        "Messages": "11", "Saved": "36.36 %",
    }  # fmt: skip
    assert sums(card) == {
        "Completed": 2, "Came again": 0, "Failed": 1, "Unfinished": 0, "Saved in all": 36.36,
    }  # fmt: skip
    assert (card.state, words(card)) == (
        State.NOTICE,
        "1 import failed today: the list of failed ones says why.",
    )
    assert card.charts[0].summary.startswith("In all: completed 2, came again 0, failed 1,")


def test_a_file_that_came_again_is_counted_by_itself(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    path = transcript(tmp_path, dialogue(4))
    import_all(ada.pk, [path, path])

    card = cards(browser)["Imports of 30 days"]

    assert (figures(card)["Completed"], figures(card)["Came again"]) == ("1", "1")
    assert figures(card)["Saved"] == "50 %"


def test_imports_stand_on_their_day_for_thirty_days(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    two_imports_and_one_that_failed(ada, tmp_path)
    today = datetime.now(UTC).date()
    with connect_as_superuser() as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE dedup_import SET created_at = created_at - interval '3 days'"
            " WHERE status = 'failed'"
        )

    drawn = json.loads(cards(browser)["Imports of 30 days"].charts[0].data)
    by_name = {row["label"]: row["data"] for row in drawn["datasets"]}

    assert len(drawn["labels"]) == 30
    assert drawn["labels"][-1] == f"{today:%d %b}"
    assert by_name["Failed"][-4:] == [1, 0, 0, 0]
    assert by_name["Completed"][-4:] == [0, 0, 0, 2]
    assert by_name["Saved in all"][-5] is None


def test_the_queue_says_what_waits_and_for_how_long(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, [transcript(tmp_path / "1", dialogue(2))])
    import_all(ada.pk, [transcript(tmp_path / "2", dialogue(3))])
    first, second = _imports(ada)
    with acting_as(ada.pk):
        Import.objects.filter(pk=first).update(
            status=ImportStatus.QUEUED, created_at=timezone.now() - timedelta(hours=3)
        )
        Import.objects.filter(pk=second).update(status=ImportStatus.RUNNING)

    card = cards(browser)["Queue"]

    assert figures(card) == {
        "Waiting": "1", "Running": "1", "Oldest of them": "3 h", "Messages in Redis": "0",
        "Worker": "alive", "Beat": "alive",
    }  # fmt: skip
    assert (card.state, words(card)) == (
        State.WARNING,
        "An import is unfinished for 3 h: see whether a worker runs.",
    )


def _imports(person: User) -> list[UUID]:
    with acting_as(person.pk):
        return list(Import.objects.order_by("pk").values_list("pk", flat=True))


def test_a_worker_that_is_silent_is_missed(browser: Client, settings: Settings) -> None:
    with redis_client() as client:
        client.delete(f"{settings.REDIS_PREFIX}alive:worker")

    card = cards(browser)["Queue"]

    assert figures(card)["Worker"] == "silent"
    assert (card.state, words(card)) == (
        State.WARNING,
        "No sign of life from worker for a minute: start it.",
    )


def test_failures_and_refusals_are_counted(ada: User, browser: Client, tmp_path: Path) -> None:
    two_imports_and_one_that_failed(ada, tmp_path)
    note_failure("request")
    note_failure("task")
    note_failure("task")
    record(SecurityKind.ACCESS_REFUSED, user_id=ada.pk)
    record(SecurityKind.LOGIN_FAILED, user_id=ada.pk)
    record(SecurityKind.LOGIN_FAILED)

    card = cards(browser)["Errors and refusals"]

    assert sums(card, 0) == {"Requests": 1, "Tasks": 2}
    assert sums(card, 1) == {"Failed imports": 1, "Refused requests": 1, "Failed logins": 2}
    assert len(json.loads(card.charts[0].data)["labels"]) == 48
    assert (card.state, words(card)) == (
        State.NOTICE,
        "3 requests and tasks failed in the last two hours: the log says why.",
    )


def test_many_failed_logins_are_worth_a_look(browser: Client) -> None:
    for _ in range(21):
        record(SecurityKind.LOGIN_FAILED)

    card = cards(browser)["Errors and refusals"]

    assert (card.state, words(card)) == (
        State.NOTICE,
        "21 failed logins today: the security events say from where.",
    )


def test_the_stream_says_what_is_written(ada: User, browser: Client) -> None:
    (batch,) = export_everything()[-1:]
    record(SecurityKind.OPERATOR_LOOKED, user_id=ada.pk)
    record(SecurityKind.OPERATOR_ACTED, user_id=ada.pk)

    card = cards(browser)["Change stream"]

    # Two accounts; a login and two events, which wait.
    assert figures(card)["Files"] == str(batch.sequence)
    assert figures(card)["Changes today"] == "2"
    assert figures(card)["Other events today"] == "3"
    assert sums(card) == {"Looks": 1, "Actions": 1}
    assert card.state == State.FINE


def test_events_stand_on_the_day_that_their_key_says(browser: Client) -> None:
    with connect_as_superuser() as connection:
        for days in (0, 2, 29, 30):
            key = UUID(int=first_key(timezone.now() - timedelta(days=days)).int | 7 << 76 | 1 << 63)
            connection.execute(
                "INSERT INTO audit_security_event (id, kind, role, request_id, reason, subject,"
                " details) VALUES (%s, 'operator_looked', 'operator', '', '', '', '{}')",
                [key],
            )

    drawn = json.loads(cards(browser)["Change stream"].charts[0].data)["datasets"][0]["data"]

    assert drawn == [1, *[0] * 26, 1, 0, 1]


def test_a_stream_that_is_late_is_told_of(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operations.dashboard.stream.stream_lag", lambda: 7300.0)

    card = cards(browser)["Change stream"]

    assert figures(card)["Waits to be written"] == "2 h"
    assert card.state == State.WARNING
    assert "Events have waited for 2 h" in words(card)


def test_the_database_is_measured(browser: Client) -> None:
    card = cards(browser)["Database"]

    assert list(figures(card)) == [
        "Size", "Found in memory", "Connections", "Longest query", "Blocked", "Dead rows, at worst",
    ]  # fmt: skip
    assert figures(card)["Size"].endswith("MB")
    assert figures(card)["Blocked"] == "0"


def test_the_worst_of_the_checks_is_named() -> None:
    notice, warning = (Finding(severity=s) for s in (Severity.NOTICE, Severity.WARNING))

    assert note_of({"sizes": [], "locks": []}).state == State.FINE
    worst = note_of({"sizes": [notice], "locks": [warning, notice, warning]})
    assert worst.state == State.WARNING
    assert worst.text == "The checks find a warning in locks (2). To look: manage.py dbinspect."


def test_the_checks_are_made_once_in_a_while(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Sequence[Finding]]] = []

    def checks() -> dict[str, Sequence[Finding]]:
        made.append({})
        return made[-1]

    monkeypatch.setattr("operations.dashboard.database.inspect", checks)
    monkeypatch.setattr("operations.dashboard.database.INSPECTED_SECONDS", 10**9)

    cards(browser)
    cards(browser)

    assert len(made) == 1


def test_without_backups_the_card_says_how_to_make_one(browser: Client) -> None:
    card = cards(browser)["Backups"]

    assert list(figures(card).values()) == ["none", "not known", "none", "-"]
    assert card.state == State.NOTICE
    assert "No backup is known: manage.py backup makes one." in words(card)
    assert "manage.py recovery_drill" in words(card)


def test_a_backup_and_a_drill_that_passed_are_fine(browser: Client) -> None:
    record(SecurityKind.BACKUP_MADE)
    record(SecurityKind.DRILL_RUN, details={"passed": True, "problems": 0})

    card = cards(browser)["Backups"]

    assert card.state == State.FINE
    assert figures(card)["Its result"] == "passed"
    assert words(card) == "The last backup is of the last day. The last drill passed."


def test_a_drill_that_failed_is_told_of_also_from_the_folder(
    browser: Client, settings: Settings
) -> None:
    record(SecurityKind.DRILL_RUN, details={"passed": True, "problems": 0})
    later = {"begun_at": f"{timezone.now() + timedelta(minutes=1):%Y-%m-%dT%H:%M:%S+00:00}"}
    settings.BACKUP_DIR.mkdir()
    (settings.BACKUP_DIR / "drills.jsonl").write_text(
        json.dumps(later | {"passed": False, "problems": ["a table is missing"]}) + "\n"
    )

    card = cards(browser)["Backups"]

    assert figures(card)["Its result"] == "failed"
    assert card.state == State.WARNING
    assert "The last drill found 1 problem: run manage.py recovery_drill" in words(card)


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (timedelta(hours=29), State.FINE),
        (timedelta(hours=31), State.NOTICE),
        (timedelta(days=8), State.WARNING),
    ],
)
def test_a_backup_grows_old(age: timedelta, state: State) -> None:
    assert note_of_backup(timezone.now() - age).state == state


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")],
)
def test_a_time_is_said_in_the_largest_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- Who sees it ------------------------------------------------------------------------------


def test_it_needs_no_reason_and_names_nobody(ada: User, browser: Client, tmp_path: Path) -> None:
    two_imports_and_one_that_failed(ada, tmp_path)
    record(SecurityKind.LOGIN_FAILED, user_id=ada.pk)

    shown = page(browser)

    assert all(f">{title}</h2>" in shown for title in TITLES)
    assert "ada" not in shown.replace("data-", "")
    assert str(ada.pk) not in shown
    with as_operator("test"):
        kinds = set(SecurityEvent.objects.values_list("kind", flat=True))
    assert SecurityKind.OPERATOR_LOOKED not in kinds


def test_somebody_who_is_no_operator_is_sent_to_the_login(ada: User) -> None:
    browser = Client()

    answer = browser.get(reverse("admin:index"))

    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("admin:login"))


def test_all_tables_can_be_reached_from_it(browser: Client) -> None:
    shown = page(browser)

    for name in ("dedup_import", "accounts_user", "audit_changeevent", "audit_securityevent"):
        assert shown.count(f'href="{reverse(f"admin:{name}_changelist")}"') >= 1, name


def test_each_card_says_its_state_in_words_and_each_chart_what_it_shows(browser: Client) -> None:
    shown = page(browser)
    found = cards(browser)

    assert shown.count('aria-labelledby="card-') == len(TITLES)
    for card in found.values():
        assert card.state in shown
        for chart in card.charts:
            assert chart.title in shown
            assert chart.summary in shown
    assert "Nothing in this time." in shown


def test_its_charts_load_nothing_from_elsewhere(browser: Client) -> None:
    shown = page(browser)

    assert 'src="http' not in shown
    assert 'src="//' not in shown
    assert shown.count('<canvas class="chart"') == sum(
        len(card.charts) for card in cards(browser).values()
    )


# --- Without a source -------------------------------------------------------------------------


def test_without_redis_the_rest_is_shown(
    ada: User, browser: Client, settings: Settings, tmp_path: Path
) -> None:
    two_imports_and_one_that_failed(ada, tmp_path)
    settings.REDIS_URL = NOWHERE

    found = cards(browser)

    assert list(found) == TITLES
    assert figures(found["Imports of 30 days"])["Completed"] == "2"
    assert list(figures(found["Queue"])) == ["Waiting", "Running", "Oldest of them"]
    assert found["Queue"].state == State.WARNING
    assert "Redis does not answer" in words(found["Queue"])
    assert len(found["Errors and refusals"].charts) == 1
    assert found["Errors and refusals"].state == State.UNKNOWN


def test_without_the_login_of_metrics_the_card_says_how_to_get_it(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: entry for name, entry in connections.settings.items() if name != "metrics"}
    monkeypatch.setattr(connections, "settings", known)

    found = cards(browser)

    assert list(found) == TITLES
    assert found["Database"].state == State.UNKNOWN
    assert words(found["Database"]) == (
        "Set DATABASE_METRICS_URL: the statistics are read as the role `metrics`."
    )


def test_a_login_of_metrics_that_is_refused_is_told_of(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections["metrics"].close()
    monkeypatch.setitem(connections["metrics"].settings_dict, "PASSWORD", "wrong")

    found = cards(browser)

    assert list(found) == TITLES
    assert found["Database"].state == State.UNKNOWN
    assert (
        words(found["Database"]) == "The database did not answer this in time: the log says more."
    )


@pytest.mark.parametrize("title", list(dashboard.SOURCES))
def test_a_source_that_fails_in_the_database_leaves_the_others(
    title: str, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Card:
        with connections["operator"].cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        raise AssertionError

    monkeypatch.setitem(dashboard.SOURCES, title, broken)

    found = cards(browser)

    assert len(found) == len(TITLES)
    assert (found[title].state, words(found[title])) == (
        State.UNKNOWN,
        "This could not be asked: the log says why.",
    )
    assert all(card.figures or card.charts for card in found.values() if card.title != title)


def test_a_source_that_takes_long_is_given_up(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow() -> Card:
        with connections["operator"].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")
        raise AssertionError

    monkeypatch.setattr(dashboard, "LONGEST_QUESTION_SECONDS", 0.1)
    monkeypatch.setattr(dashboard, "SOURCES", {"Slow": slow, "Quick": lambda: Card("Quick")})

    found = cards(browser)

    assert words(found["Slow"]) == "The database did not answer this in time: the log says more."
    assert found["Quick"].state == State.FINE


def test_the_limit_of_time_ends_with_the_dashboard() -> None:
    with as_operator("test"):
        before = _limit()
        dashboard.show_dashboard(None, {})  # type: ignore[arg-type]  # it is not looked at
        assert _limit() == before


def _limit() -> Any:
    with connections["operator"].cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return cursor.fetchone()


# --- Cost -------------------------------------------------------------------------------------


def test_it_costs_the_same_queries_however_much_there_is(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    cards(browser)
    few = _queries(browser)
    two_imports_and_one_that_failed(ada, tmp_path)
    for _ in range(9):
        record(SecurityKind.LOGIN_FAILED)
    export_everything()

    many = _queries(browser)

    assert many == few
    assert many <= MOST_QUERIES


def _queries(browser: Client) -> int:
    with CaptureQueriesContext(connections["operator"]) as captured:
        cards(browser)
    return len(captured)
