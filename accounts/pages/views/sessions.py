from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from accounts.identity.sessions import device_session_of
from accounts.models import DeviceSession
from accounts.pages.access import action, person_of, personal
from accounts.pages.browsers import browser_named
from accounts.services.sessions import revoke_other_sessions, revoke_session


@dataclass(frozen=True)
class Login:
    """A session, and what its owner knows it by."""

    session: DeviceSession
    is_current: bool

    @property
    def name(self) -> str:
        return (
            self.session.device_name
            or browser_named(self.session.agent or "")
            or self.session.get_platform_display()
            or "A device that does not say its name"
        )


@personal
def list_sessions(request: HttpRequest) -> HttpResponse:
    """Where the account is logged in, this browser first."""
    mine = DeviceSession.objects.visible_to(person_of(request).pk)
    current = device_session_of(request)
    logins = [
        Login(session, session.pk == current)
        for session in mine.going_on(timezone.now()).order_by("-pk")
    ]
    logins.sort(key=lambda login: not login.is_current)
    return render(request, "accounts/sessions.html", {"logins": logins})


@action("account-sessions")
def revoke(request: HttpRequest, session_id: UUID) -> str:
    revoke_session(user_id=person_of(request).pk, session_id=session_id)
    return "That device is logged out."


@action("account-sessions")
def revoke_others(request: HttpRequest) -> str:
    ended = revoke_other_sessions(user_id=person_of(request).pk, kept=device_session_of(request))
    return f"Every other device is logged out: {ended} of them."
