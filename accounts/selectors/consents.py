from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from accounts.choices import ConsentType
from accounts.consents.documents import current_version
from accounts.models import Consent


@dataclass(frozen=True)
class ConsentState:
    """Where somebody stands with one text; `version` and `at` are None if they said nothing."""

    type: ConsentType
    given: bool
    version: int | None
    at: datetime | None
    current_version: int

    @property
    def needed(self) -> bool:
        """They have to be asked: never given, withdrawn, or given to another version."""
        return not self.given or self.version != self.current_version


def consent_states(user_id: UUID) -> list[ConsentState]:
    """For each text what the person said last; one query."""
    said = {row.type: row for row in Consent.objects.visible_to(user_id).latest_of_each_type()}
    return [_state(kind, said.get(kind)) for kind in ConsentType]


def missing_consents(user_id: UUID) -> list[ConsentType]:
    """What the person has to be asked for; one query."""
    return [state.type for state in consent_states(user_id) if state.needed]


def _state(kind: ConsentType, row: Consent | None) -> ConsentState:
    if row is None:
        return ConsentState(kind, False, None, None, current_version(kind))
    return ConsentState(kind, row.given, row.version, row.at, current_version(kind))
