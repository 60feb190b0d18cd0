import hashlib
from datetime import timedelta
from secrets import token_urlsafe
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from accounts.choices import AccountStatus
from accounts.erasing import call_off
from accounts.errors import (
    ConfirmationMissingError,
    ErasureUnderWayError,
    SubscriptionActiveError,
    UnknownErasureError,
)
from accounts.models import ErasureRequest, User
from accounts.notices import send_notice
from accounts.querysets import ErasureRequestQuerySet
from accounts.selectors.subscriptions import renewing_subscription
from accounts.services.access_tokens import revoke_tokens_of
from accounts.services.users import end_every_login
from audit.choices import SecurityKind
from audit.recording import record
from common.tenancy import OPERATOR_ALIAS, acting_as, as_operator

CONFIRMATION = "DELETE_ALL_MY_DATA"


def request_erasure(*, user_id: UUID, confirmation: str) -> tuple[ErasureRequest, str]:
    """Afterwards the account is closed, and when its grace is over the person is erased.

    Returns the request, and the token that cancels it and later opens the receipt: it is shown
    this once, and told to the owner by mail. Raises ConfirmationMissingError,
    SubscriptionActiveError and ErasureUnderWayError, and then nothing has changed.
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
        send_notice(
            user_id,
            "erasure_requested",
            due_at=request.due_at,
            token=token,
            page=f"{settings.SITE_URL}{reverse('account-erasure-cancel')}",
        )
    record(
        SecurityKind.ERASURE_REQUESTED,
        user_id=user_id,
        actor_id=user_id,
        subject="accounts_erasurerequest",
        row_id=request.pk,
        by_person=True,
    )
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
    waiting = ErasureRequest.objects.waiting(timezone.now())
    with as_operator("an erasure was cancelled with its token"):
        _cancel(waiting.filter(token_digest=_digest_of(token)), by_person=True)


def cancel_by_house(*, user_id: UUID, reason: str) -> None:
    """`cancel_erasure` for an owner who has no token, as long as nothing is erased."""
    with as_operator(reason):
        _cancel(ErasureRequest.objects.visible_to(user_id).not_begun())


def _cancel(requests: ErasureRequestQuerySet, *, by_person: bool = False) -> None:
    # Only what the request did: the house may have suspended the account since. The account
    # first, as whoever opens it in the admin does.
    User.objects.filter(
        pk__in=requests.values("user_id"), account_status=AccountStatus.DEACTIVATED
    ).update(account_status=AccountStatus.ACTIVE)
    if not call_off(requests, by_person=by_person):
        raise UnknownErasureError("Nothing was cancelled.")


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


def _under_way() -> ErasureUnderWayError:
    return ErasureUnderWayError("The account is closed already.")


def _digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
