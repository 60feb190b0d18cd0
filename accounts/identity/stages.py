from typing import Any

from allauth.core.internal.httpkit import headed_redirect_response
from allauth.mfa.stages import AuthenticateStage
from django.http import HttpRequest, HttpResponse

from common.tenancy import become, is_identifying

# Under this name a waiting login holds a digest of the password that was valid when it began.
PROVED_WITH = "proved_with"


class SecondFactorStage(AuthenticateStage):  # type: ignore[misc]  # allauth has no types
    """Whoever is asked for a second factor has shown the first: their codes can be used up.

    A login that waits ends with the password that it began with.
    """

    def __init__(self, controller: Any, request: HttpRequest, login: Any) -> None:
        super().__init__(controller, request, login)
        if controller.state.get("current") == self.key and login.user and is_identifying():
            become(login.user.pk)
        if login.user:
            # Kept from the login's beginning on, also while an address is still confirmed.
            self.state.setdefault(PROVED_WITH, login.user.get_session_auth_hash())

    def handle(self) -> tuple[HttpResponse | None, bool]:
        if self._is_outdated():
            return headed_redirect_response("account_login"), False
        response, goes_on = super().handle()
        return response, goes_on

    def exit(self) -> HttpResponse:
        """The login goes on, unless the password is another by now: then it is given up."""
        response: HttpResponse = self.abort() if self._is_outdated() else super().exit()
        return response

    def _is_outdated(self) -> bool:
        user = self.login.user
        return bool(user) and self.state.get(PROVED_WITH) != user.get_session_auth_hash()
