"""Access and refresh tokens of logins.

An access token is a JWT (RFC 7519) for some minutes; whether its session goes on is looked up
each time, so that one that is revoked opens nothing from that moment on.

A refresh token names its session and a number, under an HMAC. The row keeps the number of the
last one only: an exchange counts it up under the row's lock, so that of several at once one
counts. What comes back within seconds, because an answer was lost, gets the same successor
again; what comes back later was stolen or kept, and ends the session.
"""

import base64
import hmac
import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import jwt
from django.conf import settings

from common.encryption.derivation import key_for, keyed_digest
from common.ids import uuid7

ALGORITHM = "HS256"
AUDIENCE = "commonplace"
REFRESH_PREFIX = "cpr_"
# Within it the same token is answered alike: a client whose answer was lost asks again.
GRACE = timedelta(seconds=10)

_PARTS = struct.Struct(">16sI")
_MAC_BYTES = 32


@dataclass(frozen=True)
class Refresh:
    """What a genuine refresh token says."""

    session_id: UUID
    generation: int


def access_token_of(session_id: UUID, user_id: UUID, now: datetime) -> str:
    claims = {
        "iss": settings.SITE_URL,
        "aud": AUDIENCE,
        "sub": str(user_id),
        "sid": str(session_id),
        "jti": str(uuid7()),
        "iat": now,
        "exp": now + timedelta(seconds=settings.ACCESS_TOKEN_SECONDS),
    }
    return jwt.encode(claims, key_for("access tokens"), algorithm=ALGORITHM)


def session_of_access_token(token: str) -> UUID | None:
    """The session that a genuine access token names while it holds, be it over or not."""
    try:
        claims = jwt.decode(
            token,
            key_for("access tokens"),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=settings.SITE_URL,
            options={"require": ["exp", "iat", "sid", "sub", "jti"]},
        )
        return UUID(claims["sid"])
    except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError):
        return None


def refresh_token_of(session_id: UUID, generation: int) -> str:
    parts = _PARTS.pack(session_id.bytes, generation)
    return REFRESH_PREFIX + base64.urlsafe_b64encode(parts + _mac(parts)).decode().rstrip("=")


def read_refresh_token(token: str) -> Refresh | None:
    """What the token says, or None if it is not one of ours."""
    text = token.removeprefix(REFRESH_PREFIX)
    if text == token or not token.isascii():
        return None
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    parts, mac = content[: _PARTS.size], content[_PARTS.size :]
    if len(parts) != _PARTS.size or not hmac.compare_digest(mac, _mac(parts)):
        return None
    session, generation = _PARTS.unpack(parts)
    return Refresh(UUID(bytes=session), generation)


def _mac(parts: bytes) -> bytes:
    return keyed_digest("refresh tokens", parts)[:_MAC_BYTES]
