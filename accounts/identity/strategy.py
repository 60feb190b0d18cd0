"""What clients that are no browser are given when they log in, and how they are known again."""

from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.headless.base.response import UnauthorizedResponse
from allauth.headless.internal.sessionkit import lookup_session
from allauth.headless.tokens.strategies.base import AbstractTokenStrategy
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from accounts.identity.sessions import SessionStore, device_session_of
from accounts.models import DeviceSession
from accounts.services.sessions import refresh_session, tokens_of
from accounts.session_tokens import session_of_access_token
from accounts.tokens import bearer_secret

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
        offered = bearer_secret(request.headers.get("Authorization", ""))
        match = request.resolver_match
        # A client sends the one that has run out along with the refresh token.
        if offered is None or (match and match.url_name == REFRESH_VIEW):
            return None
        if session_of_access_token(offered) is None:
            if hasattr(request, REFUSED):
                # The answer that refuses it asks once more.
                return None
            setattr(request, REFUSED, True)
            raise ImmediateHttpResponse(UnauthorizedResponse(request))
        return offered

    def create_session_token(self, request: HttpRequest) -> str:
        """Nothing for whoever is logged in: it would open what they have for as long as the login
        lasts, and no exchange would ever show that it was stolen."""
        if device_session_of(request) is not None:
            return ""
        if not request.session.session_key:
            request.session.save()
        return str(request.session.session_key)

    def lookup_session(self, session_token: str) -> SessionBase | None:
        session_id = session_of_access_token(session_token)
        if session_id is None:
            found: SessionBase | None = lookup_session(session_token)
            return found
        return SessionStore.of_login(session_id)

    def create_access_token_payload(self, request: HttpRequest) -> dict[str, Any] | None:
        session_id = device_session_of(request)
        if session_id is None:
            return None
        tokens = tokens_of(DeviceSession.objects.get(pk=session_id))
        return {
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "expires_in": settings.ACCESS_TOKEN_SECONDS,
        }

    def refresh_token(self, refresh_token: str) -> tuple[str, str] | None:
        tokens = refresh_session(refresh_token)
        return (tokens.access_token, tokens.refresh_token) if tokens else None
