"""Erasures are carried out again in a database that has gone back to an earlier state."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.choices import AccountStatus
from accounts.erasing import erase
from accounts.erasure_ledger import complete, erased_by_files, erased_people
from accounts.models import Erasure, User
from audit.choices import SecurityKind
from audit.recording import record
from common.locks import lift_time_limit
from common.privacy import what_is_left
from common.tenancy import as_operator


@dataclass(frozen=True)
class Returned:
    """Somebody who was erased and was there again: rows of each table, and files."""

    user_id: UUID
    left: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return {"user_id": str(self.user_id), "left": self.left}


@dataclass(frozen=True)
class Replay:
    """How many people the ledger has, and who of them was there again."""

    listed: int
    returned: list[Returned]


def replay_erasures(*, dry_run: bool = False) -> Replay:
    """Afterwards nobody of the ledger is in the database or the storage; returns who was.

    The ledger is its rows and its files together: a restored database has forgotten rows. With
    `dry_run` it only tells.
    """
    listed = erased_people()
    returned = who_returned(listed)
    if dry_run:
        return Replay(len(listed), returned)
    for person in returned:
        counts: Counter[str] = Counter()
        erase(person.user_id, counts.update)
        complete(person.user_id, {k: n for k, n in counts.items() if n}, requested_at=None)
    enter_into_ledger(listed)
    if returned:
        record(SecurityKind.ERASURES_REPLAYED, details={"people": len(returned)})
    return Replay(len(listed), returned)


def who_returned(user_ids: Sequence[UUID]) -> list[Returned]:
    """Those of whom anything is there. They may be many: each table is asked about all at once."""
    with as_operator("look for people who were erased"):
        lift_time_limit()
        left = what_is_left(user_ids)
    return [Returned(user_id, left[user_id]) for user_id in user_ids if user_id in left]


def enter_into_ledger(user_ids: Sequence[UUID]) -> None:
    """Afterwards each of these people has a row in the ledger."""
    with as_operator("read the ledger of erasures"):
        known = set(Erasure.objects.values_list("user_id", flat=True))
    for user_id in user_ids:
        if user_id not in known:
            complete(user_id, {}, requested_at=None)


def close_erased_accounts() -> int:
    """Afterwards nobody of the ledger can log in; returns whom it closed.

    For a database of an older version, in which an erasure cannot be carried out yet.
    """
    ids = erased_by_files()
    with as_operator("close accounts of people who were erased"):
        users = User.objects.filter(pk__in=ids).exclude(account_status=AccountStatus.DELETED)
        return int(users.update(account_status=AccountStatus.DELETED))
