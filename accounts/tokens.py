"""Personal access tokens: `cp_` and 32 random bytes, of which only the SHA-256 is stored.

A random secret of 256 bits needs no slow hash: it cannot be guessed from its digest.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from accounts.models import PersonalAccessToken, User

PREFIX = "cp_"
HINT_LENGTH = 9
# A write for every request would cost more than the request.
USED_PRECISION = timedelta(minutes=1)


@dataclass(frozen=True)
class Bearer:
    """Who a credential stands for and what it may be used for.

    `token_id` is the personal access token, or the session of a login; only the latter knows
    when the person last proved who they are.
    """

    user: User
    token_id: UUID
    scopes: frozenset[str]
    proved_at: datetime | None = None


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def bearer_of(secret: str) -> Bearer | None:
    """The bearer of a usable token, or None; its last use is noted to the minute."""
    if not secret.startswith(PREFIX):
        return None
    now = timezone.now()
    token = (
        PersonalAccessToken.objects.usable(now)
        .select_related("user")
        .filter(digest=digest_of(secret))
        .first()
    )
    if token is None:
        return None
    if token.last_used_at is None or now - token.last_used_at > USED_PRECISION:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USED_PRECISION)
        PersonalAccessToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    return Bearer(token.user, token.pk, frozenset(token.scopes))


def token_of_header(authorization: str) -> PersonalAccessToken | None:
    """The token that the header holds, be it expired, revoked or of an account that is closed."""
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip().startswith(PREFIX):
        return None
    found: PersonalAccessToken | None = PersonalAccessToken.objects.filter(
        digest=digest_of(secret.strip())
    ).first()
    return found


def bearer_of_header(authorization: str) -> Bearer | None:
    """The bearer named by an Authorization header of the form `Bearer cp_…`, or None."""
    scheme, _, secret = authorization.partition(" ")
    return bearer_of(secret.strip()) if scheme.lower() == "bearer" else None
