"""The API against its own document: whatever is asked, the answer is one that stands in it.

schemathesis asks every operation of accounts, with what the document allows and with what it does
not. What it cannot guess, a code or a password, is asked in a journey.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from itertools import count
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.urls import URLPattern, URLResolver
from drf_spectacular.generators import SchemaGenerator
from pytest_django import Settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.identity import urls as identity
from accounts.tests.phones import ALL_CONSENTS, PASSWORD, Phone, code_in, deliver_mail
from accounts.tests.test_second_factors import totp

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

APP, BROWSER = "/api/v1/auth/app/v1", "/api/v1/auth/browser/v1"
# Of the archive, which has tests of its own for what it is sent.
OTHERS = r"^/api/v1/(archive|conversations|imports|messages)/"
VERBS = ("get", "post", "put", "patch", "delete")
SAFE = ("GET", "HEAD")
# A device is described alike whoever logs in: it is asked about in one place.
DEVICES = "#/components/parameters/Auth"
DEVICES_ASKED = f"{APP}/auth/email/verify"
CREDENTIALS = {"accessToken", "personalAccessToken", "sessionToken", "sessionCookie"}

CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
_numbers = count(1)


@cache
def document() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # has no types
    return made


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The path, the verb and what the document says, for every operation."""
    for path, item in document()["paths"].items():
        for verb in VERBS:
            if verb in item:
                yield path, verb, item[verb]


def contract(*, examples: int, coverage: bool = False) -> BaseSchema:
    """The document, which asks the application itself; the same questions each time."""
    asked = deepcopy(document())
    for path, item in asked["paths"].items():
        for verb in VERBS:
            if verb in item and path != DEVICES_ASKED:
                parameters = item[verb].get("parameters", [])
                item[verb]["parameters"] = [
                    each for each in parameters if not each.get("$ref", "").startswith(DEVICES)
                ]
    config = SchemathesisConfig.from_dict(
        {
            "seed": 20260105,
            "generation": {
                "deterministic": True,
                "max-examples": examples,
                "database": "none",
                "no-shrink": True,
            },
            "phases": {"coverage": {"enabled": coverage, "unexpected-methods": ["TRACE"]}},
        }
    )
    schema = schemathesis.openapi.from_dict(asked, config=config)
    schema.app = get_wsgi_application()
    return schema.exclude(path_regex=OTHERS)


@pytest.fixture(autouse=True)
def unlimited(settings: Settings) -> None:
    settings.ACCOUNT_RATE_LIMITS = settings.MFA_RATE_LIMITS = False
    # Slowness is what the real one is for.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


class Anonymous:
    """Whoever asks, and holds nothing."""

    def come_in(self) -> None:
        """Afterwards they are somebody new, who has just come in."""

    def come_back(self) -> None:
        """Afterwards they are in again, should they not be."""

    def headers(self) -> dict[str, str]:
        return {}

    def cookies(self) -> dict[str, str]:
        return {}


class App(Anonymous):
    """An app in which a person has logged in."""

    def come_in(self) -> None:
        self.phone, self.address = Phone(), f"ada-{next(_numbers)}@example.org"
        assert self.phone.sign_up(self.address).status_code == 401
        confirmed = self.phone.call("post", "auth/email/verify", {"key": code_for(self.address)})
        assert confirmed.status_code == 200

    def come_back(self) -> None:
        if self.phone.call("get", "auth/session").status_code == 200:
            return
        self.phone = Phone()
        if self.phone.log_in(self.address).status_code != 200:
            self.come_in()

    def headers(self) -> dict[str, str]:
        return self.phone.headers()


class Browser(Anonymous):
    """A browser in which a person has logged in: two cookies, one of them said twice."""

    def come_in(self) -> None:
        app = App()
        app.come_in()
        self.address = app.address
        self.come_back()

    def come_back(self) -> None:
        self.client = Client()
        self.client.get(f"{BROWSER}/config")
        body = {"email": self.address, "password": PASSWORD}
        path = f"{BROWSER}/auth/login"
        if self.client.post(path, body, content_type="application/json").status_code != 200:
            self.come_in()

    def headers(self) -> dict[str, str]:
        return {"X-CSRFToken": self.client.cookies["csrftoken"].value}

    def cookies(self) -> dict[str, str]:
        return {name: morsel.value for name, morsel in self.client.cookies.items()}


def code_for(address: str) -> str:
    return code_in([message for message in deliver_mail() if message.to == [address]][-1])


def ask_everything(
    schema: BaseSchema, subtests: pytest.Subtests, caller: Anonymous, *checks: Any
) -> None:
    """Each operation is a test within the test. Whoever may have ended by it comes in anew."""
    is_new = False

    def ask(case: Any) -> None:
        nonlocal is_new
        headers = caller.headers()
        answer = case.call(headers=headers, cookies=caller.cookies())
        if case.method == "DELETE" or (case.method not in SAFE and answer.status_code < 300):
            is_new = False
            caller.come_back()
        case.validate_response(answer, [*CHECKED, *checks], headers=headers)

    asked = 0
    for found in get_all_tests(schema=schema, test_func=ask, settings=None, given_kwargs={}):
        operation, test = found.ok()  # type: ignore[union-attr]  # an error in the document raises
        asked += 1
        if not is_new:
            caller.come_in()
            is_new = True
        with subtests.test(operation.label):
            test()
    assert asked


def test_an_app_that_is_logged_in_gets_what_the_document_says(subtests: pytest.Subtests) -> None:
    """Only because of its token: the same question without it, or with another, gets 401."""
    schema = contract(examples=2, coverage=True).exclude(path_regex="/api/v1/auth/")

    ask_everything(schema, subtests, App(), ignored_auth)


def test_an_app_at_the_doors_of_identity_gets_what_the_document_says(
    subtests: pytest.Subtests,
) -> None:
    schema = contract(examples=2, coverage=True).include(path_regex="/api/v1/auth/(app|nonce)/")

    ask_everything(schema, subtests, App())


def test_a_browser_that_is_logged_in_gets_what_the_document_says(
    subtests: pytest.Subtests,
) -> None:
    schema = contract(examples=4).include(path_regex="/auth/browser/")

    ask_everything(schema, subtests, Browser())


def test_somebody_without_a_login_gets_what_the_document_says(subtests: pytest.Subtests) -> None:
    ask_everything(contract(examples=2), subtests, Anonymous())


def test_nobody_comes_in_without_a_credential(subtests: pytest.Subtests) -> None:
    """Whatever the document does not call public answers 401."""
    browser = Client()
    browser.get(f"{BROWSER}/config")
    guarded = [
        (path, verb)
        for path, verb, operation in operations()
        if all(CREDENTIALS & set(each) for each in operation.get("security") or [{}])
    ]

    assert len(guarded) > 50
    for path, verb in guarded:
        with subtests.test(f"{verb} {path}"):
            address = path.replace("{id}", "019a0000-0000-7000-8000-00000000beef")
            answer = getattr(browser, verb)(address, content_type="application/json")
            assert answer.status_code == 401


def test_every_door_of_identity_stands_in_the_document_and_no_other() -> None:
    routed = {f"/api/v1/auth/{route}" for route in routes_below(identity.urlpatterns)}
    said = {path for path, *_ in operations() if path.startswith((APP, BROWSER))}

    assert said == routed
    assert len(said) > 40


def routes_below(patterns: Sequence[URLPattern | URLResolver]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from (f"{pattern.pattern}{below}" for below in routes_below(pattern.url_patterns))
        else:
            yield str(pattern.pattern)


def test_names_of_operations_are_unique_and_references_lead_somewhere() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]

    assert len(names) == len(set(names))
    for kind, name in references_in(document()):
        assert name in document()["components"][kind]


def references_in(part: Any) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            _, _, kind, name = part["$ref"].split("/")
            yield kind, name
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from references_in(each)


class Traveller:
    """An app that holds each answer against the document."""

    def __init__(self) -> None:
        self.schema = contract(examples=1)
        self.phone = Phone()

    def asks(self, verb: str, path: str, status: int, **body: Any) -> Any:
        address = path if path.startswith("/") else f"{APP}/{path}"
        given: Any = {"body": body, "media_type": "application/json"} if body else {}
        case = self.schema[address][verb].Case(**given)
        headers = self.phone.headers()
        answer = case.call(headers=headers)
        case.validate_response(answer, CHECKED, headers=headers)
        assert answer.status_code == status, answer.text
        said = answer.json()
        self.phone._keep(said)
        return said


def test_a_journey_through_every_door_goes_as_the_document_says() -> None:
    traveller, address = Traveller(), "ada@example.org"
    ask = traveller.asks

    ask("GET", "config", 200)
    ask("GET", "auth/session", 401)
    ask("POST", "auth/signup", 400, email=address, password=PASSWORD, consents={})
    ask("POST", "auth/signup", 401, email=address, password=PASSWORD, consents=ALL_CONSENTS)
    ask("POST", "auth/email/verify/resend", 200)
    code = code_for(address)
    ask("POST", "auth/email/verify", 400, key="BCDF-GHJK")
    begun = ask("POST", "auth/email/verify", 200, key=code)
    assert set(begun["meta"]) >= {"access_token", "refresh_token", "expires_in"}
    ask("GET", "/api/v1/account/", 200)
    ask("POST", "tokens/refresh", 200, refresh_token=traveller.phone.refresh_token)
    ask("POST", "tokens/refresh", 400, refresh_token="cpr_nothing")
    ask("POST", "auth/login", 409, email=address, password=PASSWORD)

    ask("GET", "account/email", 200)
    ask("GET", "account/authenticators/webauthn", 401)
    ask("POST", "auth/reauthenticate", 200, password=PASSWORD)
    ask("GET", "account/authenticators/webauthn", 200)
    secret = ask("GET", "account/authenticators/totp", 404)["meta"]["secret"]
    ask("POST", "account/authenticators/totp", 400, code="nothing")
    ask("POST", "account/authenticators/totp", 200, code=totp(secret))
    ask("GET", "account/authenticators/totp", 200)
    ask("GET", "account/authenticators", 200)
    ask("POST", "account/authenticators/recovery-codes", 200)
    spare = ask("GET", "account/authenticators/recovery-codes", 200)["data"]["unused_codes"][0]
    changed = f"{PASSWORD} anew"
    ask("POST", "account/password/change", 200, current_password=PASSWORD, new_password=changed)
    ask("DELETE", "auth/session", 401)
    ask("GET", "auth/session", 410)

    traveller.phone = Phone()
    ask("POST", "auth/login", 400, email=address, password=PASSWORD)
    ask("POST", "auth/login", 401, email=address, password=changed)
    ask("POST", "auth/2fa/authenticate", 400, code="nothing")
    ask("POST", "auth/2fa/authenticate", 200, code=spare)
    ask("POST", "auth/2fa/reauthenticate", 200, code=totp(secret, 1))
    ask("POST", "account/email", 200, email="ada.byron@example.org")
    ask("PUT", "account/email", 200, email="ada.byron@example.org")
    ask("POST", "auth/email/verify", 200, key=code_for("ada.byron@example.org"))
    ask("PATCH", "account/email", 200, email="ada.byron@example.org", primary=True)
    ask("DELETE", "account/email", 200, email=address)
    ask("DELETE", "account/authenticators/totp", 200)

    traveller.phone = Phone()
    ask("POST", "auth/password/request", 401, email="ada.byron@example.org")
    key = code_for("ada.byron@example.org")
    ask("POST", "auth/password/reset", 400, key="BCDF-GHJK", password=PASSWORD)
    ask("POST", "auth/password/reset", 401, key=key, password=PASSWORD)
    ask("POST", "auth/login", 200, email="ada.byron@example.org", password=PASSWORD)
