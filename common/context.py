"""What the running request or task is: its id, its person, and where it came from."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from common.ids import uuid7


@dataclass(frozen=True)
class Origin:
    """Where a request came from: a network address, and what the client calls itself."""

    address: str = ""
    agent: str = ""


request_id: ContextVar[str] = ContextVar("request_id", default="")
person_id: ContextVar[UUID | None] = ContextVar("person_id", default=None)
origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039 - frozen

# A UUID, with or without hyphens, as proxies make them. Anything else might be a client's words,
# and the id is kept in the change stream.
ACCEPTED_REQUEST_ID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


@contextmanager
def request_context(offered_id: str = "") -> Iterator[str]:
    """Within the block logs carry one request id: the offered one if it is a UUID."""
    identifier = offered_id if ACCEPTED_REQUEST_ID.fullmatch(offered_id) else str(uuid7())
    id_token, person_token = request_id.set(identifier), person_id.set(None)
    try:
        yield identifier
    finally:
        person_id.reset(person_token)
        request_id.reset(id_token)
