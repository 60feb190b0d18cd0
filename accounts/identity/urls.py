"""The doors of allauth's API that are open here, each behind the guard.

Nobody logs in by a phone number or by a code alone here; their doors would only fail. Redirects
to a provider are for browsers.
"""

from collections.abc import Iterable

from allauth.headless import urls as headless
from allauth.headless.constants import Client
from django.urls import URLPattern, URLResolver

from accounts.identity.guard import guarded

CLOSED = frozenset(
    {"manage_phone", "verify_phone", "resend_phone_verification_code", "confirm_login_code"}
)
CLOSED_TO_APPS = frozenset({"redirect_to_provider"})

Route = URLPattern | URLResolver


def _open_doors(routes: Iterable[Route], closed: frozenset[str] = CLOSED) -> list[Route]:
    return [
        _door(route) if isinstance(route, URLPattern) else _doors_below(route, closed)
        for route in routes
        if getattr(route, "name", None) not in closed
    ]


def _door(route: URLPattern) -> URLPattern:
    return URLPattern(route.pattern, guarded(route.callback), route.default_args, route.name)


def _doors_below(route: URLResolver, closed: frozenset[str]) -> URLResolver:
    below = closed | CLOSED_TO_APPS if route.namespace == Client.APP else closed
    return URLResolver(
        route.pattern,
        _open_doors(route.url_patterns, below),
        route.default_kwargs,
        route.app_name,
        route.namespace,
    )


app_name = headless.app_name
urlpatterns = _open_doors(headless.urlpatterns)
