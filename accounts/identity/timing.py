"""How long an answer takes must not tell whether an address has an account."""

import time

from django.conf import settings
from django.http import HttpRequest

# Doors at which a stranger names an address, and those that follow: of the API, of the pages.
ASKED_OF_STRANGERS = frozenset(
    {
        "login",
        "signup",
        "provider_signup",
        "verify_email",
        "resend_email_verification_code",
        "request_password_reset",
        "reset_password",
        "account_login",
        "account_signup",
        "socialaccount_signup",
        "account_email_verification_sent",
        "account_reset_password",
        "account_confirm_password_reset_code",
    }
)
SAFE = ("GET", "HEAD")
# So a request is marked by which somebody came in: who they are is no secret to them.
CAME_IN = "came_in"


def is_telling(request: HttpRequest) -> bool:
    """Whether the answer is to a stranger who named an address, or goes on with one."""
    match = request.resolver_match
    return (
        match is not None
        and match.url_name in ASKED_OF_STRANGERS
        and request.method not in SAFE
        and not hasattr(request, CAME_IN)
    )


def wait_for_step(begun: float) -> None:
    """Returns a whole number of steps of ANSWER_STEP_MS after `begun`, of `time.monotonic`."""
    if settings.ANSWER_STEP_MS:
        time.sleep((begun - time.monotonic()) % (settings.ANSWER_STEP_MS / 1000))
