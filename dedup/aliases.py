"""Which new ids are other names of messages that are kept already: identity rule 2.

A program may write a session again under new ids (a resume after an upgrade does). Such a copy
agrees in time to the millisecond, role and content, and in the model's response id or, where it
has none, in its parent. The beginnings of two sessions have no parents: they are the same if
the rest shows that the sessions are. Equal content alone is never enough.
"""

from collections.abc import Iterable, Iterator
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

    Of several earlier messages the first counts. No value is a key: an alias of an alias is
    named after the message itself.
    """
    earlier: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        earlier.setdefault(candidate.native_key, []).append(candidate)
    canonical: dict[str, str] = {}
    for key in _parents_first(earlier):
        same = next((found for found in earlier[key] if _is_same(found, canonical)), None)
        if same:
            canonical[key] = canonical.get(same.earlier_key, same.earlier_key)
    return {key: _end_of(key, canonical) for key in canonical}


def _parents_first(earlier: dict[str, list[Candidate]]) -> Iterator[str]:
    """The ids in their order, but a parent before its children: its alias decides about them."""
    done: set[str] = set()
    for first in earlier:
        lineage = []
        key = first
        while key in earlier and key not in done:
            done.add(key)
            lineage.append(key)
            key = earlier[key][0].parent_key
        yield from reversed(lineage)


def _end_of(key: str, canonical: dict[str, str]) -> str:
    seen = {key}
    while (following := canonical.get(key)) and following not in seen:
        seen.add(following)
        key = following
    return key


def _is_same(candidate: Candidate, canonical: dict[str, str]) -> bool:
    if candidate.api_id or candidate.earlier_api_id:
        return candidate.api_id == candidate.earlier_api_id
    parent, earlier = candidate.parent_key, candidate.earlier_parent_key
    if not parent and not earlier:
        return candidate.same_lineage
    return canonical.get(parent, parent) == canonical.get(earlier, earlier)
