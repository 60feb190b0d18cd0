"""The doors of allauth's API that are open here, each behind the guard.

Nobody logs in by a phone number, by a code alone or by a redirect to a provider here; their doors
would only fail.
"""

from collections.abc import Iterable

from allauth.headless import urls as headless
from django.urls import URLPattern, URLResolver

from accounts.identity.guard import guarded

CLOSED = frozenset(
    {
        "manage_phone",
        "verify_phone",
        "resend_phone_verification_code",
        "confirm_login_code",
        "redirect_to_provider",
    }
)

Route = URLPattern | URLResolver


def _open_doors(routes: Iterable[Route]) -> list[Route]:
    return [
        _door(route) if isinstance(route, URLPattern) else _doors_below(route)
        for route in routes
        if getattr(route, "name", None) not in CLOSED
    ]


def _door(route: URLPattern) -> URLPattern:
    return URLPattern(route.pattern, guarded(route.callback), route.default_args, route.name)


def _doors_below(route: URLResolver) -> URLResolver:
    return URLResolver(
        route.pattern,
        _open_doors(route.url_patterns),
        route.default_kwargs,
        route.app_name,
        route.namespace,
    )


app_name = headless.app_name
urlpatterns = _open_doors(headless.urlpatterns)
