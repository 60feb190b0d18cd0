"""Where allauth's specification and its answers differ, and what this house adds to both."""

from typing import Any

from allauth.headless.constants import Flow
from allauth.mfa import app_settings as second_factors
from django.conf import settings

from accounts.choices import ConsentType, Platform
from accounts.identity.devices import HEADERS

Schema = dict[str, Any]

PROBLEM = {"$ref": "#/components/schemas/Problem"}
PROBLEM_CONTENT = {"application/problem+json": {"schema": PROBLEM}}


def schema_of(name: str) -> Schema:
    """A reference to one of allauth's schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def answer(description: str, name: str, *, problem: bool = False) -> Schema:
    content = {"application/json": {"schema": schema_of(name)}}
    return {"description": description, "content": content | (PROBLEM_CONTENT if problem else {})}


def _object(required: list[str], **properties: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": required}


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _status(code: int) -> Schema:
    return {"type": "integer", "enum": [code]}


def _choice_of(values: list[str]) -> Schema:
    return {"type": "string", "enum": values}


# One person's; of somebody who has not signed up yet little is known.
USER = {
    "id": {"type": "string", "format": "uuid"},
    "display": _text("A name to show"),
    "email": {"type": "string", "format": "email"},
    "username": {"type": "string"},
    "has_usable_password": {"type": "boolean"},
}

SCHEMAS: dict[str, Schema] = {
    "User": _object(["id", "display", "username", "has_usable_password"], **USER),
    "PendingUser": _object(["has_usable_password"], **USER),
    "Flow": {
        "description": "A way to go on",
        **_object(
            ["id"],
            id=_choice_of([flow.value for flow in Flow]),
            is_pending={"type": "boolean", "description": "It was begun and waits for more"},
            provider=schema_of("Provider"),
            providers=_list_of(_text("The provider's id")),
            types=_list_of(schema_of("AuthenticatorType")),
        ),
    },
    "AuthenticationMethod": {
        "description": "One proof of who somebody is",
        **_object(
            ["method", "at"],
            method=_text("password, code, mfa, socialaccount and the like"),
            at=schema_of("Timestamp"),
            email={"type": "string", "format": "email"},
            username={"type": "string"},
            provider=schema_of("ProviderID"),
            uid=schema_of("ProviderAccountID"),
            id=schema_of("AuthenticatorID"),
            type=schema_of("AuthenticatorType"),
            reauthenticated={"type": "boolean"},
        ),
    },
    "AuthenticationMeta": {
        "description": "Tokens are given to apps only, once each: keep them",
        **_object(
            ["is_authenticated"],
            is_authenticated={"type": "boolean", "nullable": True},
            session_token=_text("For X-Session-Token, until somebody is logged in"),
            access_token=_text("For Authorization: Bearer, once somebody is logged in"),
            refresh_token=_text("For tokens/refresh; each can be exchanged once"),
            expires_in={"type": "integer", "description": "Seconds that the access token holds"},
        ),
    },
    "AuthenticationResponse": {
        "description": "Somebody has to log in, go on with it, or prove again who they are",
        **_object(
            ["status", "data", "meta"],
            status=_status(401),
            data=_object(
                ["flows"],
                flows=_list_of(schema_of("Flow")),
                user=schema_of("User"),
                methods=_list_of(schema_of("AuthenticationMethod")),
            ),
            meta=schema_of("AuthenticationMeta"),
        ),
    },
    "SessionGoneResponse": _object(
        ["status", "data", "meta"],
        status=_status(410),
        data=_object(["flows"], flows=_list_of(schema_of("Flow"))),
        meta=schema_of("AuthenticationMeta"),
    ),
    "InputError": _object(
        ["code", "message"],
        code=_text("A stable name"),
        param=_text("The field, if it is about one"),
        message=_text("For people"),
    ),
    "ErrorResponse": _object(
        ["status"], status=_status(400), errors=_list_of(schema_of("InputError"))
    ),
    "ConflictResponse": _object(
        ["status"], status=_status(409), errors=_list_of(schema_of("InputError"))
    ),
    "TooManyRequestsResponse": _object(["status"], status=_status(429)),
    "Login": {
        **_object(
            ["password"],
            email={"type": "string", "format": "email"},
            username={"type": "string"},
            password=schema_of("Password"),
        ),
        "oneOf": [{"required": ["email"]}, {"required": ["username"]}],
    },
    "AccountConfiguration": _object(
        [
            "login_methods",
            "authentication_method",
            "is_open_for_signup",
            "email_verification_by_code_enabled",
            "login_by_code_enabled",
            "password_reset_by_code_enabled",
        ],
        login_methods=_list_of(_choice_of(sorted(settings.ACCOUNT_LOGIN_METHODS))),
        authentication_method=_text("The same in one word"),
        is_open_for_signup={"type": "boolean"},
        email_verification_by_code_enabled={"type": "boolean"},
        login_by_code_enabled={"type": "boolean"},
        password_reset_by_code_enabled={"type": "boolean"},
    ),
    "MFAConfiguration": _object(
        ["supported_types", "passkey_login_enabled"],
        supported_types=_list_of(schema_of("AuthenticatorType")),
        passkey_login_enabled={"type": "boolean"},
    ),
    "AuthenticatorType": _choice_of(sorted(second_factors.SUPPORTED_TYPES)),
    "OptionalTimestamp": {"type": "number", "nullable": True, "description": "Seconds since 1970"},
    "Timestamp": {"type": "number", "description": "Seconds since 1970"},
    "RefreshedTokens": _object(
        ["status", "data"],
        status=_status(200),
        data=_object(
            ["access_token", "refresh_token"],
            access_token=_text("The one before holds until its end"),
            refresh_token=_text("The one before is used up"),
        ),
    ),
}

CONSENTS: Schema = {
    "description": "The version of each text that the person agrees to: all, as they stand",
    **_object(ConsentType.values, **{kind: {"type": "integer"} for kind in ConsentType.values}),
}

# Where allauth's own words speak of settings, or of what is otherwise here.
WORDS = {
    ("get", "auth/password/reset"): "Whether the code in the header is right. Guesses are counted.",
    ("get", "auth/webauthn/authenticate"): "Options for the platform's own call.",
    ("get", "auth/webauthn/reauthenticate"): "Options for the platform's own call.",
    ("get", "config"): "What can be done here, for everybody alike: ask once.",
    ("post", "account/email"): "Add an address. A code goes there: see `auth/email/verify`.",
    ("post", "auth/email/verify"): (
        "Hand in the code. An app that has just signed up is then logged in and given its tokens; "
        "401 says which step is left."
    ),
    ("post", "auth/email/verify/resend"): "Send another code.",
    ("post", "auth/login"): (
        "By address or username, and password. After several failures this login is locked for "
        "the address it came from, for a while that doubles: 429."
    ),
    ("post", "auth/password/request"): (
        "Send a code. 401 says that it is waited for, whether or not the address is known."
    ),
    ("post", "auth/password/reset"): (
        "Set a new password. Every session ends, and 401 says that it is time to log in."
    ),
    ("post", "auth/provider/token"): (
        "Log in with an ID token of Google or Apple, which holds a nonce of `auth/nonce/` and "
        "counts once. Somebody new gets 401 with `provider_signup`."
    ),
    ("post", "auth/signup"): (
        "Every text has to be agreed to. The answer is 401 with `verify_email`, whether or not "
        "the address is free: a mail goes there."
    ),
    ("post", "tokens/refresh"): (
        "Each refresh token can be exchanged once; within ten seconds it gets the same answer "
        "again. One that comes back later ends its session."
    ),
}

ANSWERS: dict[str, Schema] = {
    "RefreshToken": answer("Two new tokens", "RefreshedTokens"),
    "RefusedPage": {
        "description": "A page, since a person looks at it; or the session ended meanwhile",
        "content": {"text/html": {"schema": {"type": "string"}}, **PROBLEM_CONTENT},
    },
}

FAILURES: dict[str, Schema] = {
    "400": answer("Something in the request is not valid", "ErrorResponse", problem=True),
    "401": answer("See `flows`: how to log in or to go on", "AuthenticationResponse", problem=True),
    "403": answer("It is refused", "ForbiddenResponse", problem=True),
    "409": answer("It does not fit the present state", "ConflictResponse"),
    "410": answer("The token opens nothing any more: begin anew", "SessionGoneResponse"),
    "415": {"description": "The body is not JSON", "content": PROBLEM_CONTENT},
    "429": {
        **answer("It was tried too often: wait", "TooManyRequestsResponse"),
        "headers": {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds, if known"}
        },
    },
}

DEVICE_WORDS = {
    "device_id": "A name that stays the same on this device: logging in again replaces its session",
    "platform": "Anything else counts as unsaid",
    "name": "What its owner calls the device",
}
DEVICE_HEADERS: dict[str, Schema] = {
    header.removeprefix("X-").replace("-", ""): {
        "name": header,
        "in": "header",
        "required": False,
        "schema": _choice_of(Platform.values) if part == "platform" else {"type": "string"},
        "description": DEVICE_WORDS.get(part, "Shown in the list of sessions"),
    }
    for part, header in HEADERS.items()
}

SECURITY_SCHEMES: dict[str, Schema] = {
    "sessionToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Session-Token",
        "description": "Of an app that is about to log somebody in: `meta.session_token`",
    },
    "sessionCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": settings.SESSION_COOKIE_NAME,
        "description": "Of a browser",
    },
    "csrfToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-CSRFToken",
        "description": f"For browsers: what the cookie `{settings.CSRF_COOKIE_NAME}` holds",
    },
}
