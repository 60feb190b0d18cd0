"""The work of an erasure: step by step, each step a transaction, and again after a kill.

The order holds at any moment: first the storage says durably that this person is erased, then
the data keys go, and only then rows and files. So whatever is left by a crash is listed, and
what was sealed in it cannot be read.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from secrets import token_hex
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.contrib.auth.hashers import make_password
from django.db.models import F, Field
from django.db.models.fields import NOT_PROVIDED
from django.utils import timezone

from accounts.choices import AccountStatus, ErasureStatus
from accounts.data_keys import destroy_keys
from accounts.erasure_ledger import complete, forget_receipts, put_in_ledger_file
from accounts.models import ErasureRequest, User
from accounts.notices import send_notice
from accounts.querysets import ErasureRequestQuerySet
from audit.choices import SecurityKind
from audit.recording import record
from common.encryption.errors import DecryptionError, DestroyedKeyError
from common.errors import DomainError
from common.locks import lock
from common.privacy import delete_files, erasing_steps
from common.tenancy import as_operator

logger = logging.getLogger(__name__)

# A step takes seconds: whoever has been silent for this long was killed.
PATIENCE = timedelta(minutes=5)
REASON = "erase a person"

Note = Callable[[Mapping[str, int]], None]


def carry_out_due() -> int:
    """Afterwards everybody whose grace is over is erased; returns how many that were.

    What another worker is at, is left to it. One that fails stops no other, and is tried again
    after PATIENCE.
    """
    count = 0
    began_at = timezone.now()
    while request := claim_next(began_at):
        count += goes_well(partial(carry_out, request))
    forget_receipts()
    return count


def goes_well(erasure: Callable[[], None]) -> bool:
    """Whether it did; what went wrong with one is logged, and holds up nobody else's."""
    try:
        erasure()
    except SoftTimeLimitExceeded:
        raise
    except DomainError as error:
        # An import is reading, say.
        logger.warning("an erasure has to wait: %s", error.code)
    except Exception:
        logger.exception("an erasure failed, and is tried again")
    else:
        return True
    return False


def claim_next(at: datetime) -> ErasureRequest | None:
    """The next one that was to be carried out at that time, which is ours from here on.

    Those that failed come last.
    """
    with as_operator(REASON):
        lock("erasures")
        due = ErasureRequest.objects.due(at, PATIENCE).order_by(
            F("touched_at").asc(nulls_first=True), "due_at", "pk"
        )
        # Locked, it is not taken back at this moment.
        request = due.select_for_update(of=("self",)).first()
        if request is None:
            return None
        now = timezone.now()
        began_at = request.began_at or now
        ErasureRequest.objects.filter(pk=request.pk).update(
            status=ErasureStatus.IN_PROGRESS, began_at=began_at, touched_at=now
        )
        request.began_at = began_at
        return request


def call_off(requests: ErasureRequestQuerySet, *, by_person: bool = False) -> bool:
    """Afterwards the one of these that has not begun never will, and its owner is told.

    False if there is none. Runs as the operator; the owner's account is open by then, or was
    closed for another reason.
    """
    request = requests.not_begun().select_for_update(of=("self",)).first()
    if request is None:
        return False
    ErasureRequest.objects.filter(pk=request.pk).update(
        status=ErasureStatus.CANCELLED, cancelled_at=timezone.now()
    )
    send_notice(request.user_id, "erasure_cancelled")
    record(
        SecurityKind.ERASURE_CANCELLED,
        user_id=request.user_id,
        actor_id=request.user_id if by_person else None,
        subject="accounts_erasurerequest",
        row_id=request.pk,
        by_person=by_person,
    )
    return True


def carry_out(request: ErasureRequest) -> None:
    """Afterwards the person of a claimed request is erased, and the receipt is there."""
    if not request.counts:
        _tell(request)

    def note(deleted: Mapping[str, int]) -> None:
        row = ErasureRequest.objects.select_for_update(of=("self",)).get(pk=request.pk)
        counts = dict(Counter(row.counts) + Counter(deleted))
        ErasureRequest.objects.filter(pk=row.pk).update(counts=counts, touched_at=timezone.now())

    erase(request.user_id, note)
    with as_operator(REASON):
        request.refresh_from_db()
    complete(request.user_id, request.counts, requested_at=request.requested_at)


def _tell(request: ErasureRequest) -> None:
    try:
        send_notice(request.user_id, "erasure_begun")
    except (DecryptionError, DestroyedKeyError):
        logger.exception("nobody could be told that the erasure %s begins", request.pk)


def erase(user_id: UUID, note: Note) -> None:
    """`empty_account` for somebody whom the ledger lists from the first moment on."""
    put_in_ledger_file(user_id)
    empty_account(user_id, note)


def empty_account(user_id: UUID, note: Note) -> None:
    """Afterwards nothing tells of the person but their id. `note` is told what each step deleted,
    in its transaction. May be repeated after a crash at any place."""
    with as_operator(REASON):
        note({"accounts_datakey": destroy_keys(user_id)})
    for step in erasing_steps():
        while True:
            with as_operator(REASON):
                deleted = step(user_id)
                note(deleted)
            if not deleted:
                break
    files = delete_files(user_id)
    with as_operator(REASON):
        note({"files": files, "accounts_user": blank_user(user_id)})


def blank_user(user_id: UUID) -> int:
    """Afterwards the user's row has its id and its times, and a name that says nothing."""
    fields = User._meta.concrete_fields  # noqa: SLF001 - Django's documented door to a model
    blank = {field.name: empty_value(field) for field in fields if tells(field)}
    named = {
        "username": f"erased-{token_hex(16)}",
        "password": make_password(None),
        "account_status": AccountStatus.DELETED,
    }
    users = User.objects.exclude(account_status=AccountStatus.DELETED).filter(pk=user_id)
    return int(users.update(**blank | named))


def tells(field: "Field[Any, Any]") -> bool:
    """Whether it may tell of a person: not the key, nor the times that the database notes."""
    return not field.primary_key and field.db_default is NOT_PROVIDED


def empty_value(field: "Field[Any, Any]") -> Any:
    if field.null:
        return None
    return field.get_default() if field.has_default() else ""
