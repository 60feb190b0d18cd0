"""What is kept of people and what becomes of it: exports and erasures follow this registry.

Each app registers its tables, its files and its way of erasing them in a module `privacy.py`,
which its `ready()` calls. A test compares the registry with the database and with the storage.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.core.files.storage import default_storage
from django.db.models import Count, Model, Q

from common.locks import lift_time_limit
from common.storage import DRAFTS, folders_in, names_below
from common.tenancy import acting_as

ROWS_AT_ONCE = 100


class Fate(StrEnum):
    """What an erasure does with rows."""

    DELETED = "deleted"
    BLANKED = "blanked"
    KEPT = "kept"


EVERY_ROW = Q()


@dataclass(frozen=True)
class Erased:
    """What becomes of the rows of one table when their owner is erased.

    `left` are the rows that still tell of a person, where not every row does. What is kept has
    a basis in law, and a number of days if there is an end to it.
    """

    fate: Fate
    left: Q = EVERY_ROW
    basis: str = ""
    days: int | None = None


DELETED = Erased(Fate.DELETED)


def blanked(*, unless: Q) -> Erased:
    """The row stays under its id, and nothing in it tells of the person any more."""
    return Erased(Fate.BLANKED, left=~unless)


def kept(basis: str, *, days: int | None = None) -> Erased:
    """The row stays as it is, for a reason that weighs more than the erasure."""
    return Erased(Fate.KEPT, basis=basis, days=days)


@dataclass(frozen=True)
class PersonalTable:
    """A table of people's things; `not_exported` says why if an export leaves it out."""

    model: type[Model]
    owner: str
    erased: Erased
    without: Sequence[str] = ()
    not_exported: str = ""

    @property
    def name(self) -> str:
        return self.model._meta.db_table  # noqa: SLF001 - Django's documented door to a model

    def rows_left(self, user_ids: Collection[UUID]) -> dict[UUID, int]:
        """How many rows an erasure has still to treat of each of them who has any."""
        if self.erased.fate is Fate.KEPT:
            return {}
        owned = self.model._base_manager.filter(**{f"{self.owner}__in": user_ids})  # noqa: SLF001 - as above
        left = owned.filter(self.erased.left)
        return dict(left.values_list(self.owner).annotate(Count("pk")))

    def exported_rows(self, user_id: UUID) -> Iterator[dict[str, Any]]:
        """The rows of the person by the names of their columns, a few in memory at a time."""
        owned = self.model._base_manager.filter(**{self.owner: user_id})  # noqa: SLF001 - as above
        rows = owned.defer(*self.without).order_by("pk")
        last: Any = None
        while True:
            with acting_as(user_id):
                lift_time_limit()
                chunk = list((rows.filter(pk__gt=last) if last else rows)[:ROWS_AT_ONCE])
                lines = [self._as_data(row) for row in chunk]
            if not chunk:
                return
            last = chunk[-1].pk
            yield from lines

    def _as_data(self, row: Model) -> dict[str, Any]:
        return {
            str(field.column): field.value_from_object(row)
            for field in row._meta.concrete_fields  # noqa: SLF001 - as above
            if field.name not in self.without
        }


@dataclass(frozen=True)
class PersonalFiles:
    """A folder of the storage with a folder in it for each person, named by their id."""

    folder: str
    not_exported: str = ""

    def names(self, user_id: UUID) -> Iterator[str]:
        """The person's files, and what a kill left while one of them was written."""
        yield from names_below(f"{self.folder}/{user_id}")
        beginning = f"{DRAFTS}/{self.folder}-{user_id}-"
        yield from (name for name in names_below(DRAFTS) if name.startswith(beginning))

    def files_left(self, user_ids: Collection[UUID]) -> Counter[UUID]:
        """How many files each of them has; the storage lists its folders once for all of them."""
        draft = re.compile(rf"{DRAFTS}/{self.folder}-([0-9a-f-]{{36}})-")
        drafts = (draft.match(name) for name in names_below(DRAFTS))
        found = Counter(match[1] for match in drafts if match)
        for owner in set(folders_in(self.folder)) & {str(user_id) for user_id in user_ids}:
            found[owner] += sum(1 for _ in names_below(f"{self.folder}/{owner}"))
        return Counter({user_id: found[str(user_id)] for user_id in user_ids})


# Deletes a part of what is left of a person, as the operator in the open transaction, and says
# how many rows of which table; nothing when there is nothing left.
Step = Callable[[UUID], Mapping[str, int]]

_tables: dict[type[Model], PersonalTable] = {}
_files: dict[str, PersonalFiles] = {}
_steps: list[Step] = []


def register(
    model: type[Model],
    *,
    owner: str = "user_id",
    erased: Erased,
    without: Sequence[str] = (),
    not_exported: str = "",
) -> None:
    """From here on the table belongs to people.

    `owner` leads to the person's id, such as `device__user_id`. An export has every row without
    the fields in `without`, or none if `not_exported` gives a reason.
    """
    _tables[model] = PersonalTable(model, owner, erased, tuple(without), not_exported)


def register_files(folder: str, *, not_exported: str = "") -> None:
    """From here on `<folder>/<id of a person>/` in the storage holds files of that person."""
    _files[folder] = PersonalFiles(folder, not_exported)


def register_step(step: Step) -> None:
    """From here on an erasure takes this step, before those of apps that registered earlier."""
    if step not in _steps:
        _steps.append(step)


def personal_tables() -> list[PersonalTable]:
    return sorted(_tables.values(), key=lambda table: table.name)


def personal_files() -> list[PersonalFiles]:
    return [_files[folder] for folder in sorted(_files)]


def erasing_steps() -> list[Step]:
    """Those of the higher apps first: their rows hang on the rows of the lower ones."""
    return list(reversed(_steps))


def what_is_left(user_ids: Collection[UUID]) -> dict[UUID, dict[str, int]]:
    """Rows of each table, and `files`, that an erasure would take of each of these people.

    Only those of whom there is anything. Needs `as_operator`.
    """
    left: defaultdict[UUID, dict[str, int]] = defaultdict(dict)
    for table in personal_tables():
        for user_id, count in table.rows_left(user_ids).items():
            left[user_id][table.name] = count
    files = sum((kind.files_left(user_ids) for kind in personal_files()), Counter[UUID]())
    for user_id, count in files.items():
        left[user_id]["files"] = count
    return dict(left)


def names_of_files(user_id: UUID) -> Iterator[str]:
    for files in personal_files():
        yield from files.names(user_id)


def delete_files(user_id: UUID) -> int:
    """Afterwards the storage has no file of the person; returns how many it had."""
    names = list(names_of_files(user_id))
    for name in names:
        default_storage.delete(name)
    return len(names)
