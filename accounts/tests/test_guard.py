"""What stands before allauth's doors: it refuses in words what they would answer with a page."""

import jwt
import pytest
from allauth.socialaccount.models import SocialAccount
from django.test import Client
from pytest_django import Settings

from accounts.models import DeviceSession
from accounts.tests.phones import ADDRESS, PASSWORD, Phone, registered

pytestmark = pytest.mark.django_db(transaction=True)

LOGIN = "/api/v1/auth/app/v1/auth/login"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"email": NaN}',
        b'{"email": 1e999}',
        b'{"email": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"email": ' + b"9" * 5000 + b"}",
        b'{"email": "a\\u0000@example.org"}',
        b'{"email": "\\ud800@example.org", "password": "\\udfff"}',
        b'{"email": {"deep": ["\\ud800"]}}',
        b'{"\\u0000": 1}',
    ],
)
def test_a_body_that_cannot_be_taken_is_a_problem(body: bytes) -> None:
    answer = Client().post(LOGIN, body, content_type="application/json")

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "malformed_request"


def test_half_of_a_pair_is_refused_and_a_whole_one_is_text() -> None:
    answer = Client().post(
        LOGIN, b'{"email": "\\ud83c\\udf31", "password": "x"}', content_type="application/json"
    )

    assert [error["param"] for error in answer.json()["errors"]] == ["email"]


@pytest.mark.parametrize("client", ["app", "browser"])
def test_only_json_is_read(client: str) -> None:
    path = f"/api/v1/auth/{client}/v1/auth/login"

    answer = Client().post(path, {"email": ADDRESS, "password": PASSWORD})

    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "DELETE", "OPTIONS", "GET"])
def test_nobody_logs_in_by_a_method_that_there_is_not(verb: str) -> None:
    registered()
    before = DeviceSession.objects.count()
    body = f'{{"email": "{ADDRESS}", "password": "{PASSWORD}"}}'

    answer = Client().generic(verb, LOGIN, body, content_type="application/json")

    assert answer.status_code == 405
    assert answer["Allow"] == "POST"
    assert answer.json()["code"] == "method_not_allowed"
    assert DeviceSession.objects.count() == before


def test_a_browser_that_does_not_repeat_its_token_is_refused_in_words() -> None:
    browser = Client(enforce_csrf_checks=True)

    answer = browser.post("/api/v1/auth/browser/v1/auth/login", {}, content_type="application/json")

    assert answer.status_code == 403
    assert answer.json()["code"] == "permission_denied"


@pytest.mark.parametrize(
    "path", ["account/phone", "auth/phone/verify", "auth/phone/verify/resend", "auth/code/confirm"]
)
def test_doors_that_nobody_could_go_through_are_not_there(path: str) -> None:
    assert Phone().call("post", path, {}).status_code == 404


@pytest.mark.parametrize("version", ["1e999", "true", "[1]", '{"a": 1}', '"one"'])
def test_a_version_that_is_no_number_is_refused_and_nothing_is_made(version: str) -> None:
    body = f'{{"email": "{ADDRESS}", "password": "{PASSWORD}", "consents": {{"a": {version}}}}}'

    answer = Client().post("/api/v1/auth/app/v1/auth/signup", body, content_type="application/json")

    assert answer.status_code == 400
    assert not DeviceSession.objects.exists()


@pytest.mark.parametrize("token", ["nothing", "a.b.c", "cp_nothing", ""])
def test_an_access_token_that_opens_nothing_is_answered_with_the_ways_to_log_in(token: str) -> None:
    answer = Client().get(
        "/api/v1/auth/app/v1/account/email", headers={"Authorization": f"Bearer {token}"}
    )

    assert answer.status_code == 401
    assert "login" in {flow["id"] for flow in answer.json()["data"]["flows"]}


@pytest.mark.parametrize("provider", ["google", "apple"])
@pytest.mark.parametrize(
    "id_token", ["nothing", "a.b.c", "W10.W10.W10", jwt.encode({"sub": "1"}, "of nobody " * 4)]
)
def test_an_id_token_that_lacks_everything_is_refused(
    provider: str, id_token: str, settings: Settings
) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = {provider: {"APPS": [{"client_id": "ours", "secret": ""}]}}
    token = {"client_id": "ours", "id_token": id_token}

    answer = Phone().call(
        "post", "auth/provider/token", {"provider": provider, "process": "login", "token": token}
    )

    assert answer.status_code == 400
    assert [error["param"] for error in answer.json()["errors"]] == ["token"]
    assert not SocialAccount.objects.exists()
