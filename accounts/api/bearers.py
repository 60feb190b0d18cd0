"""Views that need to know more of whoever asks than their id."""

from uuid import UUID

from accounts.tokens import Bearer
from common.api.views import TenantViewSet


class BearerViewSet(TenantViewSet):
    """A resource whose answer depends on the credential."""

    @property
    def bearer(self) -> Bearer:
        bearer = self.request.auth
        # The permission class lets nobody in without one.
        assert isinstance(bearer, Bearer)  # noqa: S101
        return bearer

    @property
    def session_id(self) -> UUID:
        """The login that asks, in actions that are for logins only."""
        session_id = self.bearer.session_id
        assert session_id is not None  # noqa: S101 - as HasLogin saw
        return session_id
