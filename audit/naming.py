"""Names of events in the words of the domain, on top of rows and columns.

An app registers its own in `ready()`. The first rule that fits names the event.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from audit.choices import SecurityKind

Values = Mapping[str, Any]
When = Callable[[Values, Values], bool]

VERBS = {"INSERT": "added", "UPDATE": "changed", "DELETE": "deleted", "TRUNCATE": "emptied"}

SESSIONS = {SecurityKind.LOGIN_SUCCEEDED, SecurityKind.LOGIN_FAILED, SecurityKind.LOGGED_OUT}


@dataclass(frozen=True)
class Rule:
    name: str
    table: str
    operation: str
    when: When


_rules: list[Rule] = []


def always(old: Values, new: Values) -> bool:
    return True


def name_changes(name: str, *, table: str, operation: str, when: When = always) -> None:
    """From here on such a change of a captured table is called `name` in the stream.

    `when` is given what the event keeps of the row before and after.
    """
    rule = Rule(name, table, operation, when)
    if all(
        (known.name, known.table, known.operation) != (name, table, operation) for known in _rules
    ):
        _rules.append(rule)


def name_of_change(table: str, operation: str, old: Values | None, new: Values | None) -> str:
    """The registered name, or the table's with what was done to its row."""
    for rule in _rules:
        if (rule.table, rule.operation) == (table, operation) and rule.when(old or {}, new or {}):
            return rule.name
    return f"{table.replace('_', '-')}-{VERBS[operation]}"


def name_of_security(kind: str) -> str:
    """Whatever somebody does with a session is one kind of activity."""
    return "session-activity" if kind in SESSIONS else kind.replace("_", "-")
