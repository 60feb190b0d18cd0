from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """From the least to the worst."""

    OK = "ok"
    NOTICE = "notice"
    WARNING = "warning"


@dataclass(frozen=True)
class Scope:
    """How far a check looks."""

    # Findings of one check.
    limit: int = 20
    # A query that runs for less is no long one.
    longer_than_seconds: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of what a check found; its fields are what is shown, in their order."""

    severity: Severity


@dataclass(frozen=True, kw_only=True)
class Unchecked(Finding):
    """The server did not let the check end; the reason is its error's name."""

    reason: str


def severity_of(value: float | None, *, notice: float, warning: float) -> Severity:
    """How bad a value is of which more is worse; one that is not known is not bad."""
    if value is None or value <= notice:
        return Severity.OK
    return Severity.WARNING if value > warning else Severity.NOTICE
