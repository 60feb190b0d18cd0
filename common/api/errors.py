"""Every error of the API as RFC 9457 `application/problem+json`, from one handler."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, RequestDataTooBig
from django.db import DatabaseError, transaction
from django.http import Http404, HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views import csrf, defaults
from psycopg.errors import InsufficientPrivilege, QueryCanceled
from rest_framework import exceptions
from rest_framework.response import Response

from common import context
from common.errors import (
    DomainError,
    FieldError,
    NotFoundError,
    TooLargeError,
    TooManyError,
    TooSlowError,
)

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

# Codes of errors that the framework raises; those of our own stand on the error classes.
FRAMEWORK_CODES: dict[type[exceptions.APIException], str] = {
    exceptions.ValidationError: "invalid_input",
    exceptions.ParseError: "malformed_request",
    exceptions.AuthenticationFailed: "authentication_failed",
    exceptions.NotAuthenticated: "not_authenticated",
    exceptions.PermissionDenied: "permission_denied",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.Throttled: "throttled",
}


def problem(
    status: int, code: str, detail: str, *, title: str = "", errors: Sequence[FieldError] = ()
) -> dict[str, Any]:
    """The body of an error: the members of RFC 9457 and code, errors and request_id."""
    return {
        "type": f"urn:commonplace:error:{code}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [asdict(error) for error in errors],
        "request_id": context.request_id.get(),
    }


def handle_exception(error: Exception, view_context: dict[str, Any]) -> Response | None:
    """Answer with a problem; None for what is not meant for the caller, which becomes a 500."""
    error = _for_the_caller(error)
    if isinstance(error, DomainError):
        body = problem(
            error.status, error.code, error.detail, title=error.title, errors=error.errors
        )
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, TooManyError) else {}
        return Response(body, error.status, headers=headers, content_type=CONTENT_TYPE)
    if isinstance(error, exceptions.APIException):
        return _from_framework(error)
    return None


def _for_the_caller(error: Exception) -> Exception:
    """The error of ours or of the framework that says the same, where there is one."""
    if isinstance(error, DatabaseError):
        return _from_database(error)
    if isinstance(error, Http404 | ObjectDoesNotExist):
        return NotFoundError("There is no such thing, or it is not yours.")
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(error, RequestDataTooBig):
        return TooLargeError(f"A file may have at most {settings.LARGEST_UPLOAD_BYTES} bytes.")
    return error


def _from_database(error: DatabaseError) -> Exception:
    if isinstance(error.__cause__, InsufficientPrivilege):
        # The database's policies refused: for the caller there is no such thing.
        logger.warning("refused by the database: %s", error)
        _roll_back()
        return NotFoundError("There is no such thing, or it is not yours.")
    if isinstance(error.__cause__, QueryCanceled):
        logger.warning("cancelled by the database: %s", error)
        _roll_back()
        return TooSlowError("The answer took too long: ask for less, or try again later.")
    return error


def _from_framework(error: exceptions.APIException) -> Response:
    code = next(
        (code for kind, code in FRAMEWORK_CODES.items() if isinstance(error, kind)), "error"
    )
    fields = list(_field_errors(error.get_full_details()))
    invalid = isinstance(error, exceptions.ValidationError)
    detail = "Some fields are not valid: see errors." if invalid else str(error.detail)
    headers = {}
    if header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = header
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return Response(
        problem(error.status_code, code, detail, errors=fields if invalid else ()),
        error.status_code,
        headers=headers,
        content_type=CONTENT_TYPE,
    )


def _field_errors(details: Any, path: str = "") -> Iterator[FieldError]:
    if isinstance(details, list):
        for item in details:
            yield from _field_errors(item, path)
    elif isinstance(details, dict) and isinstance(details.get("message"), str):
        yield FieldError(path, str(details["code"]), str(details["message"]))
    elif isinstance(details, dict):
        for name, item in details.items():
            inner = "" if name == "non_field_errors" else str(name)
            yield from _field_errors(item, ".".join(filter(None, (path, inner))))


def _roll_back() -> None:
    if transaction.get_connection().in_atomic_block:
        transaction.set_rollback(True)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _is_api(request):
        return defaults.bad_request(request, exception)
    return problem_response(400, "malformed_request", "The request cannot be understood.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _is_api(request):
        return defaults.permission_denied(request, exception)
    return problem_response(403, "permission_denied", "You may not do this.")


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    if not _is_api(request):
        return csrf.csrf_failure(request, reason=reason)
    return problem_response(403, "permission_denied", "The CSRF token is missing or wrong.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _is_api(request):
        return defaults.page_not_found(request, exception)
    return problem_response(404, "not_found", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponseBase:
    if not _is_api(request):
        return defaults.server_error(request)
    return problem_response(
        500, "server_error", "Something went wrong here; the request id finds it in the logs."
    )


def _is_api(request: HttpRequest) -> bool:
    """People with a browser get a page, programs a problem."""
    return request.path_info.startswith("/api/")


def problem_response(status: int, code: str, detail: str) -> JsonResponse:
    return JsonResponse(problem(status, code, detail), status=status, content_type=CONTENT_TYPE)
