from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.errors import LoginRequiredError, ReauthenticationRequiredError
from accounts.events import note_refused_access
from accounts.tokens import Bearer

if TYPE_CHECKING:
    # The framework loads this class while it is itself being imported.
    from common.api.views import TenantViewSet

LOGIN_REQUIRED = "This needs a person who is logged in, not a personal access token."
PROOF_REQUIRED = "Log in again first: this needs a fresh proof of who you are."


class HasScope(BasePermission):
    """The token covers what the view asks for: its `read_scope` or its `write_scope`."""

    def has_permission(self, request: Request, view: "TenantViewSet") -> bool:  # type: ignore[override]
        if not isinstance(request.auth, Bearer):
            return False
        if view.action is None:
            # The view has nothing for this method, and says so next.
            return True
        needed = view.read_scope if request.method in SAFE_METHODS else view.write_scope
        if needed not in request.auth.scopes:
            note_refused_access(request.auth, needed)
            raise PermissionDenied(f"This needs a token with the scope {needed}.")
        return True


class HasLogin(BasePermission):
    """A person who logged in, not a program with a token: what a leaked token must not do."""

    def has_permission(self, request: Request, view: "TenantViewSet") -> bool:  # type: ignore[override]
        if not isinstance(request.auth, Bearer):
            return False
        if request.auth.proved_at is None:
            raise LoginRequiredError(LOGIN_REQUIRED)
        return True


class HasFreshLogin(HasLogin):
    """A person who proved who they are within the last minutes."""

    def has_permission(self, request: Request, view: "TenantViewSet") -> bool:
        if not super().has_permission(request, view):
            return False
        limit = timezone.now() - timedelta(seconds=settings.FRESH_LOGIN_SECONDS)
        if request.auth.proved_at < limit:  # type: ignore[union-attr, operator]  # a Bearer of a login, as HasLogin saw
            raise ReauthenticationRequiredError(PROOF_REQUIRED)
        return True
