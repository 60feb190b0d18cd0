"""What a card of the dashboard says: whether it is well, in words, with figures and charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from operations.dashboard.charts import Chart

MINUTE, HOUR, DAY = 60, 3600, 86_400


class State(StrEnum):
    """From the least to the worst."""

    FINE = "Fine"
    UNKNOWN = "Not known"
    NOTICE = "Look at it"
    WARNING = "Act"

    @property
    def variant(self) -> str:
        """The colour of its label; the words say the same."""
        return {"Fine": "success", "Look at it": "warning", "Act": "danger"}.get(self, "")


@dataclass(frozen=True)
class Note:
    """A sentence that says how something is, and what to do if it is not well."""

    state: State
    text: str


@dataclass(frozen=True)
class Figure:
    name: str
    value: str


@dataclass(frozen=True)
class Link:
    text: str
    address: str


@dataclass(frozen=True)
class Card:
    """One part of the house. The notes that matter most come first."""

    title: str
    notes: Sequence[Note] = ()
    figures: Sequence[Figure] = ()
    charts: Sequence[Chart] = ()
    links: Sequence[Link] = ()
    wide: bool = False

    @property
    def state(self) -> State:
        return max((note.state for note in self.notes), key=_badness, default=State.FINE)

    @property
    def worst_notes(self) -> list[Note]:
        """All that are not fine, the worst first; if all are, those that say so."""
        bad = [note for note in self.notes if note.state != State.FINE]
        return sorted(bad, key=lambda note: -_badness(note.state)) or list(self.notes)


def _badness(state: State) -> int:
    return list(State).index(state)


def judged(value: float, *, notice: float, warning: float) -> State:
    """How bad a value is of which more is worse."""
    if value <= notice:
        return State.FINE
    return State.WARNING if value > warning else State.NOTICE


def duration(seconds: float) -> str:
    """A time in the largest unit of which there are two, such as "5 min" or "3 days"."""
    for unit, name in ((DAY, "days"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(seconds)} s"


def counted(number: int, one: str, many: str = "") -> str:
    """The number with what is counted, such as "1 file" or "1,200 files"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
