from typing import TYPE_CHECKING

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.choices import Scope
from accounts.errors import (
    ConsentRequiredError,
    LoginRequiredError,
    PremiumRequiredError,
    ProcessingRestrictedError,
    ReauthenticationRequiredError,
)
from accounts.events import note_refused_access
from accounts.selectors.consents import missing_consents
from accounts.selectors.subscriptions import is_premium
from accounts.tokens import Bearer
from common.errors import FieldError
from common.tenancy import acting_as

if TYPE_CHECKING:
    # The framework loads this class while it is itself being imported.
    from common.api.views import TenantViewSet

LOGIN_REQUIRED = "This needs a person who is logged in, not a personal access token."
RESTRICTED = "You have restricted the processing of your things: lift the restriction first."
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
        if request.method not in SAFE_METHODS and needed != Scope.ACCOUNT_WRITE:
            refuse_while_restricted(request.auth)
        return True


def refuse_while_restricted(bearer: Bearer) -> None:
    """Raises ProcessingRestrictedError: things may be read, taken and erased, and nothing more."""
    if bearer.user.processing_restricted_at is not None:
        raise ProcessingRestrictedError(RESTRICTED)


class HasLogin(BasePermission):
    """A person who logged in, not a program with a token: what a leaked token must not do."""

    def has_permission(self, request: Request, view: "TenantViewSet") -> bool:  # type: ignore[override]
        if not isinstance(request.auth, Bearer):
            return False
        if not request.auth.is_login:
            raise LoginRequiredError(LOGIN_REQUIRED)
        return True


class HasFreshLogin(HasLogin):
    """A person who proved who they are within the last minutes."""

    def has_permission(self, request: Request, view: "TenantViewSet") -> bool:  # type: ignore[override]
        if not isinstance(request.auth, Bearer) or not super().has_permission(request, view):
            return False
        if not request.auth.is_freshly_proved:
            raise ReauthenticationRequiredError(PROOF_REQUIRED)
        return True


class HasConsents(BasePermission):
    """A person who has agreed to everything in its current version; one query."""

    def has_permission(self, request: Request, view: "TenantViewSet") -> bool:  # type: ignore[override]
        if not isinstance(request.auth, Bearer):
            return False
        user_id = request.auth.user.pk
        with acting_as(user_id):
            missing = missing_consents(user_id)
        if missing:
            raise ConsentRequiredError(
                "Show the texts and ask first: see errors.",
                errors=[FieldError(kind.value, "required", "It is missing.") for kind in missing],
            )
        return True


class HasPremium(BasePermission):
    """A person with premium in force; one query."""

    def has_permission(self, request: Request, view: "TenantViewSet") -> bool:  # type: ignore[override]
        if not isinstance(request.auth, Bearer):
            return False
        if not is_premium(request.auth.user):
            raise PremiumRequiredError("This needs a premium subscription that is in force.")
        return True
