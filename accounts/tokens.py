"""Who a bearer token stands for, be it a personal access token or the access token of a login.

A personal access token is `cp_` and 32 random bytes, of which only the SHA-256 is stored. A random
secret of 256 bits needs no slow hash: it cannot be guessed from its digest.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from accounts.choices import Scope
from accounts.models import DeviceSession, PersonalAccessToken, User
from accounts.querysets import fresh_since
from accounts.session_tokens import session_of_access_token
from common.tenancy import acting_as

PREFIX = "cp_"
HINT_LENGTH = 9
# A write for every request would cost more than the request.
USED_PRECISION = timedelta(minutes=1)


@dataclass(frozen=True)
class Bearer:
    """Who a credential stands for and what it may be used for.

    It is a personal access token or the session of a login: one of the two ids is None. Only a
    login knows when the person last proved who they are.
    """

    user: User
    scopes: frozenset[str]
    token_id: UUID | None = None
    session_id: UUID | None = None
    proved_at: datetime | None = None

    @property
    def is_login(self) -> bool:
        return self.session_id is not None

    @property
    def is_freshly_proved(self) -> bool:
        return self.proved_at is not None and self.proved_at >= fresh_since()


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def bearer_of(secret: str) -> Bearer | None:
    """The bearer of a usable token of either kind, or None; its use is noted to the minute."""
    if secret.startswith(PREFIX):
        return _bearer_of_access_token(secret)
    session_id = session_of_access_token(secret)
    return None if session_id is None else _bearer_of_session(session_id)


def _bearer_of_access_token(secret: str) -> Bearer | None:
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
    return Bearer(token.user, frozenset(token.scopes), token_id=token.pk)


def _bearer_of_session(session_id: UUID) -> Bearer | None:
    now = timezone.now()
    session = DeviceSession.objects.usable(now).select_related("user").filter(pk=session_id).first()
    if session is None:
        return None
    if now - session.last_seen_at > USED_PRECISION:
        with acting_as(session.user_id, switch=True):
            stale = DeviceSession.objects.filter(last_seen_at__lt=now - USED_PRECISION)
            stale.filter(pk=session.pk).update(last_seen_at=now)
    return Bearer(
        session.user, frozenset(Scope), session_id=session.pk, proved_at=session.proved_at
    )


def bearer_secret(authorization: str) -> str | None:
    """What an Authorization header of the form `Bearer …` holds; None if it has another form."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def token_of_header(authorization: str) -> PersonalAccessToken | None:
    """The token that the header holds, be it expired, revoked or of an account that is closed."""
    secret = bearer_secret(authorization)
    if secret is None or not secret.startswith(PREFIX):
        return None
    found: PersonalAccessToken | None = PersonalAccessToken.objects.filter(
        digest=digest_of(secret)
    ).first()
    return found


def bearer_of_header(authorization: str) -> Bearer | None:
    """The bearer named by an Authorization header of the form `Bearer …`, or None."""
    secret = bearer_secret(authorization)
    return None if secret is None else bearer_of(secret)
