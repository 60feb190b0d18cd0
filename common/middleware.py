"""What surrounds every request: its id and log line, and the operator's transaction."""

import logging
import time
from collections.abc import Callable
from http import HTTPStatus

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse

from common import context, tenancy, traffic
from common.failures import note_failure

logger = logging.getLogger("commonplace.request")

GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestContextMiddleware:
    """Gives each request an id, answers with it, counts it and logs one line without its query."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        with context.request_context(request.headers.get("X-Request-ID", "")) as identifier:
            response = self.get_response(request)
            response["X-Request-ID"] = identifier
            match = request.resolver_match
            route = f"/{match.route}" if match else traffic.NO_ROUTE
            seconds = time.perf_counter() - started
            logger.info(
                "%s %s %s",
                request.method,
                route,
                response.status_code,
                extra={"milliseconds": round(seconds * 1000, 1)},
            )
        traffic.note_request(
            method=request.method, route=route, status=response.status_code, seconds=seconds
        )
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            note_failure("request")
        return response


class OperatorMiddleware:
    """Runs the admin as the operator role, in one transaction around the whole response.

    A response of 500 or more rolls everything back, so that a failing action leaves nothing.
    It stands outside the session middleware, whose writes belong to the same transaction.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not is_admin(request):
            return self.get_response(request)
        with tenancy.as_operator("admin"):
            response = self.get_response(request)
            if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                transaction.set_rollback(True, using=tenancy.OPERATOR_ALIAS)
            return response


def is_admin(request: HttpRequest) -> bool:
    try:
        return request.path_info.startswith(reverse("admin:index"))
    except NoReverseMatch:
        # The live process has no admin.
        return False
