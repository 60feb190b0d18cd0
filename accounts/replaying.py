"""Erasures are carried out again in a database that has gone back to an earlier state."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.choices import AccountStatus
from accounts.erasing import erase
from accounts.erasure_ledger import complete, erased_by_files, erased_people
from accounts.models import Erasure, User
from audit.choices import SecurityKind
from audit.recording import record
from common.privacy import what_is_left
from common.tenancy import as_operator


@dataclass(frozen=True)
class Returned:
    """Somebody who was erased and was there again: rows of each table, and files."""

    user_id: UUID
    left: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return {"user_id": str(self.user_id), "left": self.left}


def replay_erasures(*, dry_run: bool = False) -> list[Returned]:
    """Afterwards nobody of the ledger is in the database or the storage; returns who was.

    The ledger is its rows and its files together: a restored database has forgotten rows. With
    `dry_run` it only tells.
    """
    returned = list(who_returned())
    if dry_run:
        return returned
    for person in returned:
        counts: Counter[str] = Counter()
        erase(person.user_id, counts.update)
        complete(person.user_id, {k: n for k, n in counts.items() if n}, requested_at=None)
    enter_into_ledger()
    if returned:
        record(SecurityKind.ERASURES_REPLAYED, details={"people": len(returned)})
    return returned


def who_returned() -> Iterator[Returned]:
    for user_id in erased_people():
        with as_operator("look for people who were erased"):
            left = what_is_left(user_id)
        if left:
            yield Returned(user_id, left)


def enter_into_ledger() -> None:
    """Afterwards each file of the ledger has its row."""
    with as_operator("read the ledger of erasures"):
        known = set(Erasure.objects.values_list("user_id", flat=True))
    for user_id in erased_people():
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
