import time
from collections.abc import Callable
from http import HTTPStatus

from allauth.core.internal.ratelimit import respond_429
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.cache import add_never_cache_headers

from accounts.errors import LockedOutError
from accounts.identity.sessions import SessionStore
from accounts.identity.timing import is_telling, wait_for_step
from common.api.errors import problem_response
from common.middleware import is_admin
from common.tenancy import PERSON_ALIAS, identifying

GetResponse = Callable[[HttpRequest], HttpResponse]

DOORS = ("/api/v1/auth/", "/accounts/")
HOUSE_COOKIE = "house_session"
# So a request is marked whose session was ended while it ran.
ENDED = "session_ended_meanwhile"


class HouseCookieMiddleware:
    """The admin's session has a cookie of its own, which no other page is sent.

    An operator may be logged in as a person beside, and no fault of a person's page can reach the
    admin's session. It stands outside Django's session middleware, which knows one cookie only.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not is_admin(request):
            return self._get_response(request)
        usual = settings.SESSION_COOKIE_NAME
        request.COOKIES.pop(usual, None)
        if HOUSE_COOKIE in request.COOKIES:
            request.COOKIES[usual] = request.COOKIES[HOUSE_COOKIE]
        response = self._get_response(request)
        if usual in response.cookies:
            given = response.cookies.pop(usual)
            response.cookies[HOUSE_COOKIE] = given.value
            response.cookies[HOUSE_COOKIE].update({**given, "path": reverse("admin:index")})
        return response


class IdentityMiddleware:
    """Whatever happens at a door to the accounts is one transaction, undone if it fails.

    It begins as nobody's; who comes in is said by the backend, once there is a proof.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(DOORS):
            return self._get_response(request)
        begun = time.monotonic()
        with identifying():
            response = self._get_response(request)
            try:
                _save_session(request, response)
            except UpdateError:
                response = _refuse_ended(request)
            if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or hasattr(request, ENDED):
                transaction.set_rollback(True, using=PERSON_ALIAS)
        if is_telling(request):
            wait_for_step(begun)
        # Forms and answers hold codes, tokens and names.
        add_never_cache_headers(response)
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Of every page: passwords are typed into the admin too."""
        if isinstance(error, (UpdateError, SessionInterrupted)):
            return _refuse_ended(request)
        if isinstance(error, LockedOutError):
            response: HttpResponse = respond_429(request)
            response["Retry-After"] = str(error.retry_after)
            return response
        return None


def _save_session(request: HttpRequest, response: HttpResponse) -> None:
    """Raises UpdateError if a browser's session was ended meanwhile.

    Django saves it outside the transaction, when what was done can no longer be undone.
    """
    session = request.session
    kept = session.modified and not session.is_empty()
    undone = response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or hasattr(request, ENDED)
    if kept and not undone and not transaction.get_rollback(using=PERSON_ALIAS):
        session.save()


def _refuse_ended(request: HttpRequest) -> HttpResponse:
    """The answer to a request whose session was ended meanwhile; what it did is undone."""
    setattr(request, ENDED, True)
    # Django would save the former one again, and fail.
    request.session = SessionStore()
    return problem_response(
        HTTPStatus.UNAUTHORIZED,
        "authentication_failed",
        "The session was ended meanwhile: log in again.",
    )
