import logging
from typing import Any

import pytest
from django.test import Client
from rest_framework import exceptions
from rest_framework.test import APIClient

from common.api.errors import FRAMEWORK_CODES
from common.tests.connections import connect_as_superuser

pytestmark = pytest.mark.urls("common.tests.urls")

THERE_IS_NONE = "There is no such thing, or it is not yours."


def answer_of(kind: str) -> Any:
    return APIClient(raise_request_exception=False).get(
        f"/api/fail/{kind}", headers={"X-Request-ID": "019a0000-0000-7000-8000-00000000beef"}
    )


def problem(status: int, code: str, title: str, detail: str) -> dict[str, Any]:
    return {
        "type": f"urn:commonplace:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [],
        "request_id": "019a0000-0000-7000-8000-00000000beef",
    }


@pytest.mark.parametrize(
    ("kind", "status", "code", "title", "detail"),
    [
        ("domain", 400, "error", "The request could not be carried out", "It went wrong."),
        ("missing", 404, "not_found", "There is no such thing here", "No such pod."),
        (
            "conflict",
            409,
            "conflict",
            "The request contradicts the present state",
            "The pod is archived.",
        ),
        (
            "in_flight",
            409,
            "idempotency_in_flight",
            "A request with this Idempotency-Key is being carried out",
            "Wait.",
        ),
        (
            "key_reused",
            422,
            "idempotency_key_reused",
            "This Idempotency-Key was used for another request",
            "Choose another.",
        ),
        ("http404", 404, "not_found", "There is no such thing here", THERE_IS_NONE),
        ("no_object", 404, "not_found", "There is no such thing here", THERE_IS_NONE),
        (
            "denied",
            403,
            "permission_denied",
            "Forbidden",
            "You do not have permission to perform this action.",
        ),
        ("permission_denied", 403, "permission_denied", "Forbidden", "This needs a scope."),
        (
            "too_large",
            413,
            "too_large",
            "The request is too large",
            "A file may have at most 2147483648 bytes.",
        ),
        ("malformed", 400, "malformed_request", "Bad Request", "Malformed request."),
        (
            "authentication_failed",
            401,
            "authentication_failed",
            "Unauthorized",
            "Incorrect authentication credentials.",
        ),
        (
            "not_authenticated",
            401,
            "not_authenticated",
            "Unauthorized",
            "Authentication credentials were not provided.",
        ),
        ("not_found", 404, "not_found", "Not Found", "Not found."),
        (
            "not_acceptable",
            406,
            "not_acceptable",
            "Not Acceptable",
            "Could not satisfy the request Accept header.",
        ),
        (
            "media_type",
            415,
            "unsupported_media_type",
            "Unsupported Media Type",
            'Unsupported media type "text/csv" in request.',
        ),
        (
            "throttled",
            429,
            "throttled",
            "Too Many Requests",
            "Request was throttled. Expected available in 13 seconds.",
        ),
    ],
)
def test_each_error_has_exactly_the_members_of_a_problem(
    kind: str, status: int, code: str, title: str, detail: str
) -> None:
    answer = answer_of(kind)

    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json() == problem(status, code, title, detail)


def test_an_error_names_the_fields_it_is_about() -> None:
    answer = answer_of("invalid")

    assert answer.status_code == 400
    assert answer.json() == {
        **problem(400, "invalid_input", "The input is not valid", "The pod is wrong."),
        "errors": [{"field": "pod.name", "code": "taken", "message": "Another pod has this name."}],
    }


def test_a_method_that_is_not_offered_is_a_problem_that_names_the_offered() -> None:
    answer = APIClient().post("/api/fail/domain")

    assert answer.status_code == 405
    assert answer["Allow"] == "GET, HEAD, OPTIONS"
    assert answer.json()["code"] == "method_not_allowed"
    assert answer.json()["detail"] == 'Method "POST" not allowed.'


def test_every_error_of_the_framework_has_a_code_of_its_own() -> None:
    kinds = {
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type)
        and issubclass(kind, exceptions.APIException)
        and kind is not exceptions.APIException
    }

    assert set(FRAMEWORK_CODES) == kinds
    assert len(set(FRAMEWORK_CODES.values())) == len(kinds)


def test_validation_is_flattened_to_dotted_fields() -> None:
    body = {"title": "", "words": [{"name": "long", "count": 1}, {"name": "ok"}], "author": {}}

    answer = APIClient().post("/sentence", body)

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_input"
    assert answer.json()["title"] == "Bad Request"
    assert answer.json()["detail"] == "Some fields are not valid: see errors."
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [
        ("title", "blank"),
        ("words.0.name", "max_length"),
        ("words.1.count", "required"),
        ("author.name", "required"),
        ("author.count", "required"),
    ]
    assert answer.json()["errors"][0]["message"] == "This field may not be blank."


def test_what_is_wrong_with_the_whole_has_the_field_of_the_whole() -> None:
    body = {"title": "a", "words": [], "author": {"name": "bad", "count": 1}}

    answer = APIClient().post("/sentence", body)

    assert answer.json()["errors"] == [
        {"field": "author", "code": "unwanted", "message": "Not this one."}
    ]


def test_a_body_that_is_no_object_is_a_problem_of_the_whole() -> None:
    answer = APIClient().post("/sentence", ["a", "list"])

    assert answer.status_code == 400
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [
        ("", "invalid")
    ]


def test_a_body_that_is_no_json_is_malformed() -> None:
    answer = APIClient().post("/sentence", "{", content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed_request"
    assert answer.json()["errors"] == []


def test_a_throttled_caller_hears_when_to_come_again() -> None:
    assert answer_of("throttled")["Retry-After"] == "13"
    assert "Retry-After" not in answer_of("throttled_forever")


@pytest.mark.parametrize("kind", ["not_authenticated", "authentication_failed"])
def test_an_unknown_caller_hears_how_to_authenticate(kind: str) -> None:
    answer = answer_of(kind)

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Basic realm="api"'


@pytest.mark.django_db(transaction=True)
def test_what_the_database_refuses_does_not_exist_for_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "common.api.errors"):
        answer = answer_of("policy")

    assert answer.status_code == 404
    assert answer.json() == problem(404, "not_found", "There is no such thing here", THERE_IS_NONE)
    assert "refused by the database: permission denied for table accounts_user" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_what_the_database_cancels_was_too_slow(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "common.api.errors"):
        answer = answer_of("too_slow")

    assert answer.status_code == 503
    assert answer.json() == problem(
        503,
        "too_slow",
        "The database took too long",
        "The answer took too long: ask for less, or try again later.",
    )
    assert "cancelled by the database: canceling statement due to statement timeout" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_another_error_of_the_database_is_not_hidden_as_missing() -> None:
    with connect_as_superuser() as superuser:
        superuser.execute("ALTER TABLE accounts_user RENAME TO accounts_away")
        try:
            answer = answer_of("policy")
        finally:
            superuser.execute("ALTER TABLE accounts_away RENAME TO accounts_user")

    assert answer.status_code == 500


def test_an_unexpected_error_tells_the_caller_nothing_but_the_request() -> None:
    answer = answer_of("unexpected")

    assert answer.status_code == 500
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json() == problem(
        500,
        "server_error",
        "Internal Server Error",
        "Something went wrong here; the request id finds it in the logs.",
    )


def test_an_address_without_a_view_is_a_problem() -> None:
    answer = Client().get(
        "/api/nowhere", headers={"X-Request-ID": "019a0000-0000-7000-8000-00000000beef"}
    )

    assert answer.status_code == 404
    assert answer.json() == problem(
        404, "not_found", "Not Found", "There is nothing at this address."
    )


def test_a_browser_gets_a_page() -> None:
    answer = Client().get("/nowhere")

    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")
