from typing import TYPE_CHECKING

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.events import note_refused_access
from accounts.tokens import Bearer

if TYPE_CHECKING:
    # The framework loads this class while it is itself being imported.
    from common.api.views import TenantViewSet


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
