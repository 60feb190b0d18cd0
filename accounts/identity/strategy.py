"""What clients that are no browser are given when they log in, and how they are known again."""

from typing import Any
from uuid import UUID

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.headless.base.response import UnauthorizedResponse
from allauth.headless.internal.sessionkit import lookup_session
from allauth.headless.tokens.strategies.base import AbstractTokenStrategy
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from accounts.identity.sessions import DEVICE_SESSION, SessionStore
from accounts.models import DeviceSession
from accounts.services.sessions import refresh_session, tokens_of
from accounts.session_tokens import session_of_access_token

REFRESH_VIEW = "refresh"
REFUSED = "access_token_refused"


class TokenStrategy(AbstractTokenStrategy):  # type: ignore[misc]  # allauth has no types
    """Session tokens while somebody logs in; from then on access and refresh tokens."""

    def get_session_token(self, request: HttpRequest) -> str | None:
        """The header X-Session-Token, or the access token of a login.

        One that has run out is answered with 401: a refresh mends it, where 410 would say that
        the session is gone.
        """
        named: str | None = super().get_session_token(request)
        if named:
            return named
        scheme, _, offered = request.headers.get("Authorization", "").partition(" ")
        match = request.resolver_match
        # A client sends the one that has run out along with the refresh token.
        if scheme.lower() != "bearer" or (match and match.url_name == REFRESH_VIEW):
            return None
        if session_of_access_token(offered.strip()) is None:
            if hasattr(request, REFUSED):
                # The answer that refuses it asks once more.
                return None
            setattr(request, REFUSED, True)
            raise ImmediateHttpResponse(UnauthorizedResponse(request))
        return offered.strip()

    def create_session_token(self, request: HttpRequest) -> str:
        store = request.session
        if isinstance(store, SessionStore) and store.is_nameless:
            return self.get_session_token(request) or ""
        if not store.session_key:
            store.save()
        return str(store.session_key)

    def lookup_session(self, session_token: str) -> SessionBase | None:
        session_id = session_of_access_token(session_token)
        if session_id is None:
            found: SessionBase | None = lookup_session(session_token)
            return found
        return SessionStore.of_login(session_id)

    def create_access_token_payload(self, request: HttpRequest) -> dict[str, Any] | None:
        session_id = request.session.get(DEVICE_SESSION)
        if session_id is None:
            return None
        tokens = tokens_of(DeviceSession.objects.get(pk=UUID(session_id)))
        return {
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "expires_in": settings.ACCESS_TOKEN_SECONDS,
        }

    def refresh_token(self, refresh_token: str) -> tuple[str, str] | None:
        tokens = refresh_session(refresh_token)
        return (tokens.access_token, tokens.refresh_token) if tokens else None
