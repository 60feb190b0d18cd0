"""What went wrong: failures of requests and tasks by the hour, refusals by the day."""

from datetime import UTC, date

from django.db.models import Count
from django.db.models.functions import TruncDate
from django.urls import reverse
from redis import RedisError

from audit.choices import SecurityKind
from audit.times import first_key
from common.failures import failures_by_hour
from dedup.models import Import
from operations.dashboard.cards import Card, Link, Note, State, counted, judged
from operations.dashboard.charts import BLUE, GREY, ORANGE, RED, VIOLET, Bars, Chart, stacked
from operations.dashboard.days import beginning, last_days, named, of_kinds, security_events

HOURS = 48
# Failures within the last two hours, one of which has just begun.
FAILED_NOTICE, FAILED_WARNING = 0, 10
LOGINS_NOTICE, LOGINS_WARNING = 20, 100

REFUSED = (
    SecurityKind.TOKEN_REFUSED,
    SecurityKind.ACCESS_REFUSED,
    SecurityKind.OPERATOR_REFUSED,
)


def errors_card() -> Card:
    days = last_days()
    found = security_events(days, [*REFUSED, SecurityKind.LOGIN_FAILED])
    logins = of_kinds(found, days, SecurityKind.LOGIN_FAILED)
    bars = [
        Bars("Failed imports", RED, _failed_imports(days)),
        Bars("Refused requests", ORANGE, of_kinds(found, days, *REFUSED)),
        Bars("Failed logins", BLUE, logins),
    ]
    notes, charts = _of_hours()
    return Card(
        title="Errors and refusals",
        wide=True,
        notes=[*notes, _note_of_logins(logins[-1])],
        charts=[
            *charts,
            stacked("Refused and failed by day, in UTC", named(days), bars, what="Events"),
        ],
        links=[
            Link("Security events", reverse("admin:audit_securityevent_changelist")),
            Link(
                "Failed logins",
                f"{reverse('admin:audit_securityevent_changelist')}"
                f"?kind={SecurityKind.LOGIN_FAILED}",
            ),
        ],
    )


def _failed_imports(days: list[date]) -> list[int]:
    rows = (
        Import.objects.failed()
        .filter(pk__gte=first_key(beginning(days[0])))
        .annotate(day=TruncDate("created_at", tzinfo=UTC))
        .values_list("day")
        .annotate(imports=Count("pk"))
        .order_by()
    )
    found = dict(rows)
    return [found.get(day, 0) for day in days]


def _of_hours() -> tuple[list[Note], list[Chart]]:
    """Failures are counted in Redis only."""
    try:
        hours = failures_by_hour(HOURS)
    except RedisError:
        text = "Redis does not answer: it is not known how many requests and tasks failed."
        return [Note(State.UNKNOWN, text)], []
    bars = [
        Bars("Requests", VIOLET, [counts["request"] for _, counts in hours]),
        Bars("Tasks", GREY, [counts["task"] for _, counts in hours]),
    ]
    recent = sum(sum(kind.amounts[-2:]) for kind in bars)
    labels = [f"{hour:%d %b %H}:00" for hour, _ in hours]
    return [_note_of_failures(recent)], [
        stacked(f"Failures of {HOURS} hours, in UTC", labels, bars, what="Failures")
    ]


def _note_of_failures(recent: int) -> Note:
    state = judged(recent, notice=FAILED_NOTICE, warning=FAILED_WARNING)
    if state == State.FINE:
        return Note(state, "No request and no task failed in the last two hours.")
    text = f"{counted(recent, 'request or task', 'requests and tasks')} failed in the last two"
    return Note(state, f"{text} hours: the log says why.")


def _note_of_logins(failed: int) -> Note:
    state = judged(failed, notice=LOGINS_NOTICE, warning=LOGINS_WARNING)
    if state == State.FINE:
        return Note(
            state,
            f"{counted(failed, 'login')} failed today." if failed else "No login failed today.",
        )
    text = f"{counted(failed, 'failed login')} today: the security events say from where."
    return Note(state, text)
