"""Who a page is for: a person who is logged in, or one who has just proved who they are."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.reauthentication import is_reauthentication_required
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from accounts.identity.sessions import is_freshly_proved
from accounts.models import User
from common.errors import DomainError, NotFoundError

View = Callable[..., HttpResponse]


def person_of(request: HttpRequest) -> User:
    """Who is logged in, on pages that only such people see."""
    return cast("User", request.user)


def personal(view: View) -> View:
    """A page for somebody who is logged in; no browser keeps it."""
    return never_cache(login_required(view))


def fresh(back_to: str) -> Callable[[View], View]:
    """A personal page for somebody who has just proved who they are.

    Whoever has not is asked, and comes back to the page of that name. What they sent is not
    carried out behind their proof: nobody's words wait in a session, and no request that has
    renewed a session's proof goes on to end that session through another connection.
    """

    def decorate(view: View) -> View:
        @personal
        @wraps(view)
        def asking(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if _is_proved(request):
                return view(request, *args, **kwargs)
            return _ask_for_proof(request, reverse(back_to))

        return asking

    return decorate


def action(back_to: str, *, proved: bool = False) -> Callable[[Callable[..., str]], View]:
    """What a button does. Afterwards the browser is back on the page of that name, and told.

    The function returns the sentence to say; what a service refuses is said likewise, and what it
    does not find is answered with 404. Whoever comes without having pressed the button, as after
    a login in between, is sent to the page.
    """

    def decorate(act: Callable[..., str]) -> View:
        @wraps(act)
        def acting(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method == "POST":
                try:
                    messages.success(request, act(request, *args, **kwargs))
                except NotFoundError:
                    raise Http404 from None
                except DomainError as error:
                    messages.error(request, error.detail)
            return redirect(back_to)

        return fresh(back_to)(acting) if proved else personal(acting)

    return decorate


def _is_proved(request: HttpRequest) -> bool:
    if get_adapter().get_reauthentication_methods(request.user):
        return not is_reauthentication_required(request, app="accounts")
    # They come in through Google or Apple only, whom allauth does not ask again: the login counts.
    return is_freshly_proved(request)


def _ask_for_proof(request: HttpRequest, page: str) -> HttpResponse:
    methods = get_adapter().get_reauthentication_methods(request.user)
    if not methods:
        return render(request, "accounts/log_in_again.html", {"page": page}, status=403)
    return HttpResponseRedirect(f"{methods[0]['url']}?{urlencode({'next': page})}")
