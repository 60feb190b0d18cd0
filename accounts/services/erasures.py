import hashlib
from datetime import timedelta
from secrets import token_urlsafe
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.choices import AccountStatus, ErasureStatus
from accounts.errors import (
    ConfirmationMissingError,
    ErasureUnderWayError,
    SubscriptionActiveError,
    UnknownErasureError,
)
from accounts.models import ErasureRequest, User
from accounts.notices import send_notice
from accounts.selectors.subscriptions import renewing_subscription
from accounts.services.access_tokens import revoke_tokens_of
from accounts.services.users import end_every_login
from audit.choices import SecurityKind
from audit.recording import record
from common.tenancy import OPERATOR_ALIAS, acting_as, as_operator

CONFIRMATION = "DELETE_ALL_MY_DATA"
TABLE = "accounts_erasurerequest"


def request_erasure(*, user_id: UUID, confirmation: str) -> tuple[ErasureRequest, str]:
    """Afterwards the account is closed, and when its grace is over the person is erased.

    Returns the request, and the token that cancels it and later opens the receipt: it is shown
    this once. Raises ConfirmationMissingError, SubscriptionActiveError and ErasureUnderWayError,
    and then nothing has changed.
    """
    if confirmation != CONFIRMATION:
        raise ConfirmationMissingError(f'Send "confirmation": "{CONFIRMATION}".')
    refuse_while_paid(user_id)
    token = token_urlsafe(32)
    with as_operator("a person asked to be erased"):
        _deactivate(user_id)
        try:
            with transaction.atomic(using=OPERATOR_ALIAS):
                request = ErasureRequest.objects.create(
                    user_id=user_id,
                    token_digest=_digest_of(token),
                    due_at=timezone.now() + timedelta(days=settings.ERASURE_GRACE_DAYS),
                )
        except IntegrityError as error:
            raise _under_way() from error
        request.refresh_from_db()
        send_notice(user_id, "erasure_requested", due_at=request.due_at)
    _note(SecurityKind.ERASURE_REQUESTED, request)
    return request, token


def refuse_while_paid(user_id: UUID) -> None:
    """Raises SubscriptionActiveError: whoever is erased could not cancel what goes on costing."""
    with acting_as(user_id):
        if renewing_subscription(user_id):
            raise SubscriptionActiveError("Cancel the subscription in its store first.")


def _deactivate(user_id: UUID) -> None:
    """Nothing opens the account from here on: neither its sessions nor its tokens."""
    active = User.objects.active().filter(pk=user_id)
    if not active.update(account_status=AccountStatus.DEACTIVATED):
        raise _under_way()
    end_every_login(user_id=user_id)
    revoke_tokens_of(user_id=user_id)


def cancel_erasure(*, token: str) -> None:
    """Afterwards the account is as it was, but for its sessions and tokens.

    Raises UnknownErasureError if the token is unknown or the grace is over.
    """
    now = timezone.now()
    waiting = ErasureRequest.objects.waiting(now).filter(token_digest=_digest_of(token))
    with as_operator("an erasure was cancelled with its token"):
        request = waiting.first()
        if request is None or not waiting.filter(pk=request.pk).update(
            status=ErasureStatus.CANCELLED, cancelled_at=now
        ):
            raise UnknownErasureError("Nothing was cancelled.")
        # Only what the request did: the house may have suspended the account since.
        User.objects.filter(pk=request.user_id, account_status=AccountStatus.DEACTIVATED).update(
            account_status=AccountStatus.ACTIVE
        )
        send_notice(request.user_id, "erasure_cancelled")
    _note(SecurityKind.ERASURE_CANCELLED, request)


def last_erasure(*, user_id: UUID) -> ErasureRequest | None:
    """The person's latest request, whatever became of it."""
    with acting_as(user_id):
        return ErasureRequest.objects.visible_to(user_id).order_by("-requested_at").first()


def receipt_of(*, token: str) -> dict[str, Any]:
    """The signed receipt of an erasure that is done. Raises UnknownErasureError."""
    with as_operator("the receipt of an erasure is asked for"):
        receipt: dict[str, Any] | None = (
            ErasureRequest.objects.filter(
                token_digest=_digest_of(token), receipt_until__gt=timezone.now()
            )
            .values_list("receipt", flat=True)
            .first()
        )
    if receipt is None:
        raise UnknownErasureError("There is no receipt yet, or not any more.")
    return receipt


def _note(kind: SecurityKind, request: ErasureRequest) -> None:
    record(
        kind,
        user_id=request.user_id,
        actor_id=request.user_id,
        subject=TABLE,
        row_id=request.pk,
        by_person=True,
    )


def _under_way() -> ErasureUnderWayError:
    return ErasureUnderWayError("The account is closed already.")


def _digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
