"""Keeps the data keys for `common.encryption` in accounts' table; rewraps and destroys them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib.postgres.functions import TransactionNow
from django.db import connections
from django.db.models import Count
from django.utils import timezone

from accounts.models import DataKey, KeyCheck
from accounts.querysets import DataKeyQuerySet
from audit.choices import SecurityKind
from audit.recording import Detail, record
from common.encryption.checks import problem_of
from common.encryption.data_keys import WrappedKey, context_of, forget_keys
from common.encryption.errors import KeyServiceError
from common.encryption.providers import Context, active_provider, provider_named
from common.encryption.purposes import Purpose
from common.tenancy import as_operator, current_alias

# KMS is asked once for each while its row is locked; nobody but a second rotation waits for it.
BATCH_SIZE = 200

# Each pair by one descent of the index, however many keys there are.
KEYS_IN_USE = """
    WITH RECURSIVE used AS (
        (SELECT id, provider, key_id FROM accounts_datakey WHERE destroyed_at IS NULL
         ORDER BY provider, key_id, id LIMIT 1)
        UNION ALL
        SELECT next.* FROM used CROSS JOIN LATERAL (
            SELECT id, provider, key_id FROM accounts_datakey
            WHERE destroyed_at IS NULL AND (provider, key_id) > (used.provider, used.key_id)
            ORDER BY provider, key_id, id LIMIT 1
        ) AS next
    )
    SELECT id FROM used
"""

REWRAP = """
    UPDATE accounts_datakey AS kept SET provider = %s, key_id = made.key_id, wrapped = made.wrapped
    FROM unnest(%s::uuid[], %s::text[], %s::bytea[]) AS made (id, key_id, wrapped)
    WHERE kept.id = made.id
"""


class DataKeys:
    """The store of `common.encryption`, in the transaction of the running code."""

    def newest(self, user_id: UUID, purpose: Purpose) -> WrappedKey | None:
        return _first(DataKey.objects.of(user_id, purpose))

    def find(self, user_id: UUID, purpose: Purpose, version: int) -> WrappedKey | None:
        return _first(DataKey.objects.of(user_id, purpose).filter(version=version))

    def add(
        self,
        user_id: UUID,
        purpose: Purpose,
        *,
        version: int,
        provider: str,
        key_id: str,
        wrapped: bytes,
    ) -> None:
        key = DataKey(
            user_id=user_id,
            purpose=purpose,
            version=version,
            provider=provider,
            key_id=key_id,
            wrapped=wrapped,
        )
        DataKey.objects.bulk_create([key], ignore_conflicts=True)

    def one_of_each(self) -> list[tuple[WrappedKey, Context]]:
        with connections[current_alias()].cursor() as cursor:
            cursor.execute(KEYS_IN_USE)
            ids = [row_id for (row_id,) in cursor.fetchall()]
        rows = DataKey.objects.filter(pk__in=ids).order_by("provider", "key_id")
        return [(_as_kept(row, settled=True), context_of(row.user_id, row.purpose)) for row in rows]

    def proof_of(self, name: str, proof: str) -> str:
        if kept := _proof_named(name):
            return kept
        KeyCheck.objects.bulk_create([KeyCheck(name=name, proof=proof)], ignore_conflicts=True)
        return _proof_named(name) or ""


def _first(keys: DataKeyQuerySet) -> WrappedKey | None:
    """The first of them; settled if it is older than the transaction that sees it.

    The transaction's own cannot be, and a younger one of somebody else's does no harm: it is
    committed, or it would not be seen.
    """
    row = keys.annotate(began_at=TransactionNow()).first()
    if row is None:
        return None
    # What the query adds to a row, its model does not know.
    began_at: datetime = vars(row)["began_at"]
    return _as_kept(row, settled=row.created_at < began_at)


def _as_kept(row: DataKey, *, settled: bool) -> WrappedKey:
    wrapped = None if row.wrapped is None else bytes(row.wrapped)
    return WrappedKey(row.version, row.provider, row.key_id, wrapped, settled)


def _proof_named(name: str) -> str | None:
    return KeyCheck.objects.filter(name=name).values_list("proof", flat=True).first()


@dataclass(frozen=True)
class Rotation:
    """What one run of `rewrap_all` did; `left` are keys that another run has in its hands."""

    provider: str
    key_id: str
    rewrapped: int
    left: int


def rewrap_all(*, batch_size: int = BATCH_SIZE) -> Rotation:
    """Afterwards every data key that nobody else is rewrapping is wrapped by the active key.

    What they seal is not touched. Each batch is a transaction of its own: a run that is cut
    short has done what it did, and the next one goes on. Raises an EncryptionError if a key
    cannot be opened; the batches before it stand.
    """
    provider = active_provider()
    active = (provider.name, provider.active_key_id)
    done, last = 0, None
    while True:
        with as_operator("rotate keys"):
            rows = _next_rows(active, last, batch_size)
            _save_wrapped([_rewrapped(row) for row in rows])
        if not rows:
            break
        done, last = done + len(rows), rows[-1].pk
    with as_operator("rotate keys"):
        left = DataKey.objects.not_wrapped_by(*active).count()
        if done:
            numbers: dict[str, Detail] = {"rewrapped": done, "left": left}
            record(SecurityKind.KEYS_ROTATED, details={"provider": provider.name, **numbers})
    return Rotation(*active, done, left)


def _next_rows(active: tuple[str, str], last: UUID | None, batch_size: int) -> list[DataKey]:
    rows = DataKey.objects.not_wrapped_by(*active).order_by("id")
    if last is not None:
        rows = rows.filter(pk__gt=last)
    return list(rows.select_for_update(skip_locked=True)[:batch_size])


def _rewrapped(row: DataKey) -> tuple[UUID, str, bytes]:
    """The row's id, and the id of the active key and the same data key wrapped by it."""
    context, wrapped = context_of(row.user_id, row.purpose), bytes(row.wrapped or b"")
    before, provider = provider_named(row.provider), active_provider()
    if before.name == provider.name:
        return row.pk, *provider.rewrap(row.key_id, wrapped, context)
    return row.pk, *provider.wrap(before.unwrap(row.key_id, wrapped, context), context)


def _save_wrapped(rows: list[tuple[UUID, str, bytes]]) -> None:
    ids, key_ids, wrapped = zip(*rows, strict=True) if rows else ((), (), ())
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(REWRAP, [active_provider().name, list(ids), list(key_ids), list(wrapped)])


def destroy_keys(user_id: UUID) -> int:
    """Afterwards nothing that the person's keys sealed can be opened; returns how many there were.

    Runs as the operator who calls it, in their transaction: with a rollback the keys are back.
    """
    destroyed = (
        DataKey.objects.filter(user_id=user_id)
        .intact()
        .update(wrapped=None, destroyed_at=timezone.now())
    )
    forget_keys(user_id)
    return destroyed


@dataclass(frozen=True)
class KeyUse:
    """One of the providers' keys: how many intact data keys it wraps, and what is wrong with it."""

    provider: str
    key_id: str
    data_keys: int
    problem: str


def keys_in_use() -> list[KeyUse]:
    """Every key that wraps anything; of each one data key was opened to see whether it can be.

    Runs as the operator who calls it.
    """
    counted = DataKey.objects.intact().values_list("provider", "key_id").annotate(Count("id"))
    numbers = {(provider, key_id): number for provider, key_id, number in counted}
    return [
        KeyUse(
            row.provider,
            row.key_id,
            numbers[row.provider, row.key_id],
            _problem(row, context),
        )
        for row, context in DataKeys().one_of_each()
    ]


def count_destroyed() -> int:
    return DataKey.objects.filter(destroyed_at__isnull=False).count()


def _problem(row: WrappedKey, context: Context) -> str:
    try:
        return problem_of(row, context)
    except KeyServiceError as error:
        return str(error)
