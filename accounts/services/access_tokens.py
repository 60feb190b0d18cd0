from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from accounts.choices import Scope
from accounts.errors import TooManyTokensError
from accounts.models import PersonalAccessToken, User
from accounts.tokens import HINT_LENGTH, digest_of, new_secret
from common.errors import FieldError, InvalidInputError, NotFoundError
from common.locks import lock
from common.tenancy import acting_as, as_operator

MOST_TOKENS = 50


def issue_token(
    *,
    user: User,
    name: str,
    scopes: Sequence[Scope] = tuple(Scope),
    expires_at: datetime | None = None,
) -> str:
    """Afterwards the user has one more access token, as themselves; its secret is told this once.

    How many there are and how long they last is not limited here.
    """
    with acting_as(user.pk):
        _, secret = _add(user, name, scopes, expires_at)
    return secret


def issue_by_house(
    *, user: User, name: str, scopes: Sequence[Scope], expires_at: datetime | None, reason: str
) -> str:
    """Afterwards the user has one more access token, from the house; its secret is told this once.

    Neither is it limited how many there are and how long they last.
    """
    with as_operator(reason):
        _, secret = _add(user, name, scopes, expires_at)
    return secret


def create_token(
    *, user: User, name: str, scopes: Sequence[Scope], expires_at: datetime | None
) -> tuple[PersonalAccessToken, str]:
    """Afterwards the person has one more token of their own making; its secret is told this once.

    Raises InvalidInputError for a time that the house does not allow, and TooManyTokensError.
    """
    _check_expiry(expires_at)
    with acting_as(user.pk):
        # Whoever counts must not be counted past.
        lock(f"access-tokens:{user.pk}")
        usable = PersonalAccessToken.objects.visible_to(user.pk).usable(timezone.now())
        if usable.count() >= MOST_TOKENS:
            raise TooManyTokensError(
                f"Revoke some first: a person has at most {MOST_TOKENS} tokens that open something."
            )
        return _add(user, name, scopes, expires_at)


def revoke_tokens(*, token_ids: Sequence[UUID]) -> int:
    """Afterwards the tokens open nothing; returns how many did until then.

    Runs as whoever calls: a person within `acting_as`, or the operator.
    """
    usable = PersonalAccessToken.objects.not_revoked().filter(pk__in=token_ids)
    return usable.update(revoked_at=timezone.now())


def revoke_token(*, user_id: UUID, token_id: UUID) -> PersonalAccessToken:
    """Afterwards the person's token opens nothing; when it ended first stays as it is.

    Raises NotFoundError if the person has no such token.
    """
    with acting_as(user_id):
        this = PersonalAccessToken.objects.visible_to(user_id).filter(pk=token_id)
        this.not_revoked().update(revoked_at=timezone.now())
        token: PersonalAccessToken | None = this.first()
    if token is None:
        raise NotFoundError("There is no such token.")
    return token


def revoke_every_token(*, user_id: UUID) -> int:
    """Afterwards no token of the person opens anything; returns how many were not revoked."""
    with acting_as(user_id):
        return revoke_tokens_of(user_id=user_id)


def revoke_tokens_of(*, user_id: UUID) -> int:
    """`revoke_every_token` by whoever calls: the person within `acting_as`, or the operator."""
    mine = PersonalAccessToken.objects.visible_to(user_id).not_revoked()
    return mine.update(revoked_at=timezone.now())


def _add(
    user: User, name: str, scopes: Sequence[Scope], expires_at: datetime | None
) -> tuple[PersonalAccessToken, str]:
    secret = new_secret()
    token: PersonalAccessToken = PersonalAccessToken.objects.create(
        user=user,
        name=name,
        digest=digest_of(secret),
        hint=secret[:HINT_LENGTH],
        scopes=sorted(scopes),
        expires_at=expires_at,
    )
    return token, secret


def _check_expiry(expires_at: datetime | None) -> None:
    """Raises InvalidInputError unless it lies ahead, within TOKEN_LONGEST_DAYS."""
    days = settings.TOKEN_LONGEST_DAYS
    now = timezone.now()
    if expires_at is None:
        if days:
            raise _wrong_expiry("required", f"Say when it ends, within {days} days.")
    elif expires_at <= now:
        raise _wrong_expiry("past", "It must end in the future.")
    elif days and expires_at > now + timedelta(days=days):
        raise _wrong_expiry("too_late", f"It must end within {days} days.")


def _wrong_expiry(code: str, sentence: str) -> InvalidInputError:
    return InvalidInputError(sentence, errors=[FieldError("expires_at", code, sentence)])
