"""allauth's own specification as a part of ours: what is routed here, as it answers here."""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from allauth.headless import spec
from allauth.headless.account import views as account_views
from allauth.headless.base.views import AuthenticatedAPIView, AuthenticationStageAPIView
from allauth.headless.constants import Client
from allauth.headless.spec.internal import schema as specifying
from django.urls import NoReverseMatch, Resolver404, resolve, reverse

from accounts.identity.guard import methods_of, takes_json, view_class_of
from accounts.identity.openapi_corrections import (
    ANSWERS,
    CONSENTS,
    DEVICE_HEADERS,
    FAILURES,
    SCHEMAS,
    SECURITY_SCHEMES,
    WORDS,
    Schema,
)

SPECIFICATION = Path(spec.__file__).parent / "doc" / "openapi.yaml"
CLIENT = re.compile(r"/_allauth/(?P<client>\{client\}|app|browser)/v1/(?P<route>.+)")
COMPONENT = re.compile(r"#/components/(?P<kind>\w+)/(?P<name>\w+)")
# Names of allauth's components begin with it, so that they are none of ours.
PREFIX = "Auth"

VERBS = {
    "get": "retrieve",
    "post": "create",
    "put": "update",
    "patch": "partial_update",
    "delete": "destroy",
}
# For everybody, whoever they are.
CONFIG = "config"
REFRESH = "tokens/refresh"
# With these somebody may be logged in: the device's headers count, and operators are refused.
LOGS_IN = {
    ("post", "auth/2fa/authenticate"),
    ("post", "auth/email/verify"),
    ("post", "auth/login"),
    ("post", "auth/provider/signup"),
    ("post", "auth/provider/token"),
    ("post", "auth/webauthn/authenticate"),
    ("post", "auth/webauthn/login"),
}
RATE_LIMITED = {
    "account/email",
    "account/password/change",
    "auth/email/verify/resend",
    "auth/login",
    "auth/password/request",
    "auth/password/reset",
    "auth/reauthenticate",
    "auth/signup",
    "auth/webauthn/login",
}
# What allauth's specification does not say, by the status.
UNSAID = {
    ("post", "account/authenticators/recovery-codes"): {"200": "RecoveryCodes"},
    ("post", "account/password/change"): {"200": "Authenticated"},
    ("post", "auth/password/request"): {"200": "Authenticated"},
}


# Without a session these answer 401, whatever else is asked.
ASKS_FIRST = (AuthenticatedAPIView, AuthenticationStageAPIView, account_views.SessionView)


@dataclass(frozen=True)
class Door:
    """One operation of allauth's specification that one kind of client can reach here."""

    client: str
    path: str
    route: str
    verb: str
    view: Any
    said: Schema

    @property
    def key(self) -> tuple[str, str]:
        return self.verb, self.route

    @property
    def is_app(self) -> bool:
        return bool(self.client == Client.APP)

    @property
    def is_read(self) -> bool:
        return self.verb == "get"

    @property
    def needs_login(self) -> bool:
        view_class: type = view_class_of(self.view)
        if issubclass(view_class, account_views.ManageEmailView):
            # While an address waits for its code it can be changed without one.
            return self.verb != "post"
        return issubclass(view_class, ASKS_FIRST)


def is_routed() -> bool:
    """Whether this process has the doors: the live one has none."""
    try:
        reverse("headless:app:tokens:refresh")
    except NoReverseMatch:
        return False
    return True


def describe_identity(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the doors of allauth's API, with the components that they need."""
    if not is_routed():
        return result
    document = _corrected()
    paths: dict[str, Any] = result["paths"]
    for door in _doors(document):
        paths.setdefault(door.path, {})[door.verb] = _operation(door)
    result["paths"] = dict(sorted(paths.items()))
    for kind, named in _needed(document["components"], result["paths"]).items():
        ours = result["components"].setdefault(kind, {})
        assert not ours.keys() & named.keys()  # noqa: S101 - names of ours do not begin so
        result["components"][kind] = dict(sorted((ours | named).items()))
    schemes = result["components"].setdefault("securitySchemes", {})
    result["components"]["securitySchemes"] = dict(sorted((schemes | SECURITY_SCHEMES).items()))
    return result


def _doors(document: Schema) -> Iterator[Door]:
    for template, operations in document["paths"].items():
        match = CLIENT.fullmatch(template)
        assert match, template  # noqa: S101 - as every path of allauth's is
        clients = [each.value for each in Client] if "{" in match["client"] else [match["client"]]
        for client in clients:
            path = f"{_root()}{client}/v1/{match['route']}"
            try:
                view = resolve(path).func
            except Resolver404:
                continue
            for verb in VERBS:
                if verb in operations and verb.upper() in methods_of(view):
                    yield Door(client, path, match["route"], verb, view, operations[verb])


def _root() -> str:
    return reverse("headless:app:config").removesuffix("app/v1/config")


def _operation(door: Door) -> Schema:
    name = re.sub(r"[/-]", "_", door.route)
    said = door.said
    operation: Schema = {
        "operationId": f"auth_{door.client}_{name}_{VERBS[door.verb]}",
        "summary": said["summary"].strip(),
        "tags": [_tag(said["tags"][0])],
    }
    if words := WORDS.get(door.key) or said.get("description"):
        operation["description"] = words.strip()
    if parameters := _parameters(door):
        operation["parameters"] = parameters
    if "requestBody" in said:
        operation["requestBody"] = said["requestBody"]
    operation["security"] = _security(door)
    operation["responses"] = _responses(door)
    renamed: Schema = _renamed(operation)
    return renamed


def _tag(tag: str) -> str:
    """`auth: email` for `Account: Email`: beginning and keeping belong together."""
    parts = tag.split(": ")
    return f"auth: {parts[min(1, len(parts) - 1)].lower()}"


def _parameters(door: Door) -> list[Schema]:
    # The client is in the path, and the session's token is a matter of security.
    own = [
        parameter
        for parameter in door.said.get("parameters", [])
        if not parameter["$ref"].endswith(("/Client", "/SessionToken"))
    ]
    devices = [{"$ref": f"#/components/parameters/{name}"} for name in DEVICE_HEADERS]
    return own + (devices if door.key in LOGS_IN else [])


def _security(door: Door) -> list[Schema]:
    if door.route in (CONFIG, REFRESH):
        return []
    if door.is_app:
        nobody: list[Schema] = [] if door.needs_login else [{}]
        return [{"accessToken": []}, {"sessionToken": []}, *nobody]
    csrf: Schema = {} if door.is_read else {"csrfToken": []}
    return [{"sessionCookie": [], **csrf}, *([] if door.needs_login else [csrf])]


def _responses(door: Door) -> Schema:
    said = {str(code): response for code, response in door.said["responses"].items()}
    named = {code: f"Failure{code}" for code in _failing(door)} | UNSAID.get(door.key, {})
    known = {code: {"$ref": f"#/components/responses/{name}"} for code, name in named.items()}
    return dict(sorted((said | known).items()))


def _failing(door: Door) -> set[str]:
    """The statuses of refusals, which look the same everywhere."""
    codes = {str(code) for code in door.said["responses"]} & set(FAILURES)
    if takes_json(door.view) and not door.is_read:
        codes |= {"400", "415"}
    if door.route not in (CONFIG, REFRESH):
        codes |= {"401"}
    if door.is_app:
        codes |= {"410"}
    if door.key in LOGS_IN or not (door.is_app or door.is_read):
        codes |= {"403"}
    if door.route in RATE_LIMITED and not door.is_read:
        codes |= {"429"}
    return codes


@cache
def _packaged() -> Schema:
    with SPECIFICATION.open("rb") as file:
        document: Schema = yaml.safe_load(file)
    return document


def _corrected() -> Schema:
    """allauth's specification with our sign-up, our tokens, and its answers as they are."""
    document = copy.deepcopy(_packaged())
    specifying.specify_signup_fields(document)
    specifying.specify_custom_signup_form(document)
    components = document["components"]
    components["schemas"] |= copy.deepcopy(SCHEMAS)
    signup = components["schemas"]["BaseSignup"]
    signup["properties"]["consents"] = copy.deepcopy(CONSENTS)
    signup["required"].append("consents")
    components["responses"] |= ANSWERS
    components["responses"] |= {f"Failure{code}": each for code, each in FAILURES.items()}
    components["parameters"] |= DEVICE_HEADERS
    configuration = components["schemas"]["ConfigurationResponse"]["properties"]["data"]
    del configuration["properties"]["usersessions"]
    pending = components["responses"]["ProviderSignup"]["content"]["application/json"]["schema"]
    pending["properties"]["data"]["properties"]["user"] = {
        "$ref": "#/components/schemas/PendingUser"
    }
    return document


def _needed(components: Schema, paths: Schema) -> Schema:
    """The components that the paths refer to, directly or through others, under our names."""
    found: dict[str, Schema] = {}
    waiting = list(_references(paths))
    while waiting:
        kind, name = waiting.pop()
        plain = name.removeprefix(PREFIX)
        if plain == name or plain not in components.get(kind, {}) or name in found.get(kind, {}):
            continue
        found.setdefault(kind, {})[name] = _renamed(_plain(components[kind][plain]))
        waiting.extend(_references(found[kind][name]))
    return found


def _references(part: Any) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        if match := COMPONENT.fullmatch(str(part.get("$ref"))):
            yield match["kind"], match["name"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _references(each)


def _renamed(part: Any) -> Any:
    """With references to allauth's components under the names that they have here."""
    if isinstance(part, list):
        return [_renamed(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: COMPONENT.sub(_under_our_name, value) if key == "$ref" else _renamed(value)
        for key, value in part.items()
    }


def _under_our_name(match: "re.Match[str]") -> str:
    name = match["name"] if match["name"] == "Problem" else PREFIX + match["name"]
    return f"#/components/{match['kind']}/{name}"


def _plain(part: Any) -> Any:
    """Without examples: they show providers and tokens that there are not here."""
    if isinstance(part, list):
        return [_plain(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {key: _plain(value) for key, value in part.items() if key not in ("example", "examples")}
