"""Which new ids are other names of messages that are kept already: identity rule 2.

A program may write a session again under new ids (a resume after an upgrade does). Such a copy
agrees in time to the millisecond, role and content, and in the model's response id or, where it
has none, in its parent. The beginnings of two sessions have no parents: they are the same if
the rest shows that the sessions are. Equal content alone is never enough.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A new row and an earlier one that agrees with it in time, role and content.

    Parents are ids, or empty at the root of a conversation.
    """

    native_key: str
    parent_key: str
    api_id: str
    earlier_key: str
    earlier_parent_key: str
    earlier_api_id: str
    same_lineage: bool


def resolve_aliases(candidates: Iterable[Candidate]) -> dict[str, str]:
    """New id to the id of the earlier message that it is; ids that are new stay away.

    The candidates come in the order of their rows, since a parent's alias decides about its
    children.
    """
    canonical: dict[str, str] = {}
    for candidate in candidates:
        if candidate.native_key not in canonical and _is_same(candidate, canonical):
            earlier = candidate.earlier_key
            canonical[candidate.native_key] = canonical.get(earlier, earlier)
    return canonical


def _is_same(candidate: Candidate, canonical: dict[str, str]) -> bool:
    if candidate.api_id or candidate.earlier_api_id:
        return candidate.api_id == candidate.earlier_api_id
    parent, earlier = candidate.parent_key, candidate.earlier_parent_key
    if not parent and not earlier:
        return candidate.same_lineage
    return canonical.get(parent, parent) == canonical.get(earlier, earlier)
