"""What stands before each of allauth's views.

They read any body as JSON, look at the method last, after somebody has logged in by the body, and
answer with empty pages.
"""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

from allauth.headless.internal.restkit.views import RESTView
from django.http import HttpRequest, HttpResponseBase

from common.api.errors import problem_response
from common.json_values import fault_of

View = Callable[..., HttpResponseBase]

JSON = "application/json"
VERBS = ("get", "post", "put", "patch", "delete")
SAFE = ("GET", "HEAD")
EMPTY = (None, "", "0")


def guarded(view: View) -> View:
    """The view, behind a refusal of methods that it has not and of bodies that it cannot take."""
    methods = methods_of(view)
    reads = takes_json(view)

    @wraps(view)
    def guarding(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method not in methods:
            return _refuse_method(request, methods)
        if reads and request.method not in SAFE and (refusal := _refuse_body(request)):
            return refusal
        return view(request, *args, **kwargs)

    return guarding


def view_class_of(view: View) -> type[RESTView]:
    found: type[RESTView] = view.view_class  # type: ignore[attr-defined]  # Django leaves it there
    return found


def methods_of(view: View) -> list[str]:
    """Without OPTIONS, which allauth's views do not tell from POST."""
    names = [verb.upper() for verb in VERBS if hasattr(view_class_of(view), verb)]
    return [*names, "HEAD"] if "GET" in names else names


def takes_json(view: View) -> bool:
    return bool(view_class_of(view).handle_json_input)


def _refuse_method(request: HttpRequest, methods: list[str]) -> HttpResponseBase:
    response = problem_response(
        405, "method_not_allowed", f'Method "{request.method}" not allowed.'
    )
    response["Allow"] = ", ".join(methods)
    return response


def _refuse_body(request: HttpRequest) -> HttpResponseBase | None:
    if request.META.get("CONTENT_LENGTH") in EMPTY:
        return None
    # Before the body: of a form that was read by its parts there is none left.
    if request.content_type != JSON:
        return problem_response(
            415,
            "unsupported_media_type",
            f'Unsupported media type "{request.content_type}" in request.',
        )
    fault = _fault_of(request.body)
    return problem_response(400, "malformed_request", fault) if fault else None


def _fault_of(body: bytes) -> str:
    """Why no view can take it, or nothing."""
    try:
        data = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return "The body is not JSON, or is nested too deeply."
    if not isinstance(data, dict):
        return "The body is not an object of JSON."
    return fault_of(data)


def _refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity are no JSON, though the parser takes them."""
    raise ValueError(name)
