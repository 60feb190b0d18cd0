"""The one door to the broker: `enqueue`, and the base classes of every task.

A task may run twice, late, in parallel or never: rows hold what is to be done, a message only
says "look". Arguments are ids. Who it is done for travels in the message's headers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from celery import Task
from celery.exceptions import Reject
from django.db import transaction

from common import context, tenancy

ACTOR_HEADER = "commonplace_actor"
REQUEST_HEADER = "commonplace_request_id"


class MissingActorError(Reject):
    """A tenant task came without a person: it is refused and not tried again."""


def enqueue(task: "Task[Any, Any]", *arguments: str, actor: UUID | None = None) -> None:
    """Send a task once the open transaction has committed; nothing is sent if it rolls back.

    The person is `actor`, or else the one of the enclosing `acting_as`.
    """
    person = actor or tenancy.current_actor()
    headers = {REQUEST_HEADER: context.request_id.get()}
    if person is not None:
        headers[ACTOR_HEADER] = str(person)
    # robust: the broker may be away, but the row is committed and a sweeper sends again.
    transaction.on_commit(
        lambda: _send(task, arguments, headers), using=tenancy.current_alias(), robust=True
    )


def _send(task: "Task[Any, Any]", arguments: tuple[str, ...], headers: dict[str, str]) -> None:
    task.apply_async(args=arguments, headers=headers)


class BaseTask(Task):  # type: ignore[type-arg]  # celery-types' Task is generic, Celery's is not
    """Runs with the request id of whoever queued it."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with context.request_context(self._header(REQUEST_HEADER)), self.identity():
            return super().__call__(*args, **kwargs)

    @contextmanager
    def identity(self) -> Iterator[None]:
        yield

    def _header(self, name: str) -> str:
        # Celery 5 merges custom headers into the request; called in-process there are none.
        return str(getattr(self.request, name, None) or (self.request.headers or {}).get(name, ""))


class TenantTask(BaseTask):
    """A task for one person, found as `self.actor`; each step opens its own `acting_as`."""

    abstract = True

    @property
    def actor(self) -> UUID:
        value = self._header(ACTOR_HEADER)
        if not value:
            raise MissingActorError(f"{self.name} needs a person and was queued without one")
        return UUID(value)

    @contextmanager
    def identity(self) -> Iterator[None]:
        token = context.person_id.set(self.actor)
        try:
            yield
        finally:
            context.person_id.reset(token)


class SweepTask(BaseTask):
    """A task for the house: the whole of it is one transaction of the operator role."""

    abstract = True

    @contextmanager
    def identity(self) -> Iterator[None]:
        with tenancy.as_operator(f"sweep: {self.name}"):
            yield
