"""Whether a loss could be made good: the last backup, and the last time that one was tried.

The stream says when. The folder of the backups may lie where this process does not see it; a
database that was restored does not know of what came after its backup.
"""

from dataclasses import dataclass
from datetime import datetime

from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from audit.choices import SecurityKind
from audit.selectors import last_event
from operations.backups import last_backup, last_drill
from operations.dashboard.cards import (
    DAY,
    HOUR,
    Card,
    Figure,
    Note,
    State,
    counted,
    duration,
    judged,
)

# One a day, and the time that it takes.
OLD_NOTICE_SECONDS, OLD_WARNING_SECONDS = 30 * HOUR, 7 * DAY
DRILL_DAYS = 90


@dataclass(frozen=True)
class Tried:
    """When the last drill was, and how many problems it found."""

    at: datetime
    problems: int


def backups_card() -> Card:
    manifest = last_backup()
    made, tried = _made_at(manifest.created_at if manifest else None), _tried()
    return Card(
        title="Backups",
        notes=[note_of_backup(made), _note_of_drill(tried)],
        figures=[
            Figure("Last backup", f"{duration(_age(made))} ago" if made else "none"),
            Figure("Its size", filesizeformat(manifest.size) if manifest else "not known"),
            Figure("Last drill", f"{duration(_age(tried.at))} ago" if tried else "none"),
            Figure("Its result", _result(tried)),
        ],
    )


def _made_at(in_folder: datetime | None) -> datetime | None:
    event = last_event(SecurityKind.BACKUP_MADE)
    return max((at for at in (in_folder, event.at if event else None) if at), default=None)


def _tried() -> Tried | None:
    event, drill = last_event(SecurityKind.DRILL_RUN), last_drill()
    known = [Tried(drill.begun_at, len(drill.problems))] if drill else []
    if event:
        known.append(Tried(event.at, int(event.details.get("problems", 0))))
    return max(known, key=lambda tried: tried.at, default=None)


def _age(moment: datetime) -> float:
    return max((timezone.now() - moment).total_seconds(), 0.0)


def note_of_backup(made: datetime | None) -> Note:
    if made is None:
        return Note(State.NOTICE, "No backup is known: manage.py backup makes one.")
    age = _age(made)
    state = judged(age, notice=OLD_NOTICE_SECONDS, warning=OLD_WARNING_SECONDS)
    if state == State.FINE:
        return Note(state, "The last backup is of the last day.")
    text = f"The last backup is {duration(age)} old: manage.py backup makes one."
    return Note(state, f"{text} With BACKUP_HOUR it is made every day.")


def _note_of_drill(tried: Tried | None) -> Note:
    if tried is None:
        text = "No backup was ever restored to try it: manage.py recovery_drill does."
        return Note(State.NOTICE, text)
    if tried.problems:
        text = f"The last drill found {counted(tried.problems, 'problem')}: run"
        return Note(State.WARNING, f"{text} manage.py recovery_drill again, and look.")
    age = _age(tried.at)
    if age > DRILL_DAYS * DAY:
        text = f"The last drill is {duration(age)} ago: run manage.py recovery_drill."
        return Note(State.NOTICE, text)
    return Note(State.FINE, "The last drill passed.")


def _result(tried: Tried | None) -> str:
    if tried is None:
        return "-"
    return "failed" if tried.problems else "passed"
