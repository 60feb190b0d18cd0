"""Who the database believes we are: `acting_as` a person, or `as_operator` for the house.

Row-level security decides by the transaction-local setting `app.user_id` (docs/tenancy.md).
The setting is never made for a session: a pool would hand it to the next borrower.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from common import context

PERSON_ALIAS = "default"
OPERATOR_ALIAS = "operator"
OWNER_ALIAS = "owner"
TRACE_ALIAS = "trace"
OPERATOR_TRACE_ALIAS = "operator_trace"
BACKUP_ALIAS = "backup"
METRICS_ALIAS = "metrics"

LONGEST_REASON = 300


@dataclass(frozen=True)
class Authority:
    """Why the house looks or acts, and the operator who does, if it is one."""

    reason: str
    operator_id: UUID | None = None


_alias: ContextVar[str] = ContextVar("database_alias", default=PERSON_ALIAS)
_actor: ContextVar[UUID | None] = ContextVar("actor", default=None)
_at_door: ContextVar[bool] = ContextVar("at_door", default=False)
_authority: ContextVar[Authority | None] = ContextVar("authority", default=None)


class ActorConflictError(RuntimeError):
    """Code that acts for one person tried to act for another without saying so."""


def current_actor() -> UUID | None:
    """The person on whose behalf this code runs inside `acting_as`, or None."""
    return _actor.get()


def current_authority() -> Authority | None:
    """Why this code runs as the operator role, or None when it does not."""
    return _authority.get()


def current_alias() -> str:
    """The database alias that the running code reads and writes through."""
    return _alias.get()


@contextmanager
def acting_as(user_id: UUID, *, switch: bool = False) -> Iterator[None]:
    """Run a transaction (or a savepoint of the one that is open) as one person.

    Within the block every query sees and writes that person's rows only. Afterwards the
    setting is what it was before, whether the block ended normally or not. Nesting another
    person raises ActorConflictError unless `switch` is True.

    A generator must not yield inside the block: its consumer would act as the person too.
    """
    with _as_person(user_id, at_door=_at_door.get(), switch=switch):
        yield


@contextmanager
def identifying() -> Iterator[None]:
    """Run a transaction at a door through which people come in, as nobody until `become`.

    What logs in, signs up or resets a password reads and writes identities before and after it
    is known whose they are, in one transaction.
    """
    with _as_person(None, at_door=True, switch=True):
        yield


@contextmanager
def _as_person(user_id: UUID | None, *, at_door: bool, switch: bool) -> Iterator[None]:
    connection = connections[PERSON_ALIAS]
    nested = connection.in_atomic_block
    actor = str(user_id or "")
    with transaction.atomic(using=PERSON_ALIAS):
        previous = _read_setting(connection) if nested else ""
        if previous not in ("", actor) and not switch:
            raise ActorConflictError("Acting for another person must be said: switch=True.")
        _write_setting(connection, actor)
        alias_token, actor_token = _alias.set(PERSON_ALIAS), _actor.set(user_id)
        door_token = _at_door.set(at_door)
        try:
            yield
        finally:
            _at_door.reset(door_token)
            _actor.reset(actor_token)
            _alias.reset(alias_token)
        # RELEASE SAVEPOINT keeps the setting, so a nested block puts the previous one back.
        # After an error ROLLBACK does it.
        if nested and not connection.needs_rollback:
            _write_setting(connection, previous)


def is_identifying() -> bool:
    """Whether this code runs within `identifying`, known by now or not, and not as operator."""
    return _at_door.get() and _alias.get() == PERSON_ALIAS


def become(user_id: UUID) -> None:
    """From here to the end of `identifying` the database sees and writes this person's rows.

    Whoever calls it has seen a proof of who it is.
    """
    if not is_identifying():
        raise RuntimeError("Nobody comes in here: use acting_as.")
    _write_setting(connections[PERSON_ALIAS], str(user_id))
    _actor.set(user_id)
    if context.request_id.get():
        # Forgotten with the request.
        context.person_id.set(user_id)


@contextmanager
def as_operator(reason: str, operator_id: UUID | None = None) -> Iterator[None]:
    """Run a transaction as the operator role; every change in it is recorded with the reason.

    Within the block models are read and written through the operator's connection, whose
    policies say table by table what the house may see and do. The reason is kept for years: it
    names nobody.
    """
    if OPERATOR_ALIAS not in connections.settings:
        raise ImproperlyConfigured("Set DATABASE_OPERATOR_URL: the operator's login is needed.")
    connection = connections[OPERATOR_ALIAS]
    with transaction.atomic(using=OPERATOR_ALIAS):
        previous = _authority.get()
        alias_token, actor_token = _alias.set(OPERATOR_ALIAS), _actor.set(None)
        authority_token = _authority.set(None)
        try:
            act_upon(Authority(reason, operator_id))
            yield
        finally:
            _authority.reset(authority_token)
            _actor.reset(actor_token)
            _alias.reset(alias_token)
        # As in acting_as: RELEASE SAVEPOINT would let the inner reason hold for the outer work.
        if previous and not connection.needs_rollback:
            act_upon(previous)


def act_upon(authority: Authority) -> None:
    """From here to the end of `as_operator` another reason holds, or another operator."""
    _authority.set(authority)
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT set_config('app.operator_reason', %s, true),"
            " set_config('app.operator_id', %s, true), set_config('app.request_id', %s, true)",
            [
                storable(authority.reason),
                str(authority.operator_id or ""),
                context.request_id.get(),
            ],
        )


@contextmanager
def as_owner() -> Iterator[None]:
    """Read and write through the owner's login: only `migrate` does.

    Django's own data migrations ask the router, and through another login they would wait for
    ever for the locks of the migration that runs them.
    """
    alias_token = _alias.set(OWNER_ALIAS)
    try:
        yield
    finally:
        _alias.reset(alias_token)


class AliasRouter:
    """Sends each query to the connection of the role that the running code has taken."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return _alias.get()

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return _alias.get()

    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool:
        # Every alias is the same database under another login.
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == OWNER_ALIAS


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot hold, and of the length that events have room for."""
    return text.replace("\0", "").encode(errors="replace").decode()[:LONGEST_REASON]


def _read_setting(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.user_id', true)")
        (value,) = cursor.fetchone()
    return value or ""


def _write_setting(connection: BaseDatabaseWrapper, value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('app.user_id', %s, true), set_config('app.request_id', %s, true)",
            [value, context.request_id.get()],
        )
