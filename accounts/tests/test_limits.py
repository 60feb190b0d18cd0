"""How long what opens things holds, and how often anybody may try, unless somebody sets it."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings
from pytest_django import Settings

from accounts.tests.phones import ALL_CONSENTS, PASSWORD, registered
from accounts.tests.test_lockout import at

EXAMPLE = (settings.BASE_DIR / ".env.example").read_text(encoding="utf-8")
EXAMPLE_LINE = re.compile(r"^#?([A-Z][A-Z_]*)=(.*)$", re.MULTILINE)

TIMES = {
    "ACCESS_TOKEN_SECONDS": 900,
    "SESSION_DAYS": 30,
    "SESSION_LONGEST_DAYS": 90,
    "FRESH_LOGIN_SECONDS": 300,
    "TOKEN_LONGEST_DAYS": 365,
    "PASSWORD_LENGTH": 12,
    "LOCKOUT_FAILURES": 5,
    "LOCKOUT_SECONDS": 1800,
    "LOCKOUT_ACCOUNT_FAILURES": 50,
    "ANSWER_STEP_MS": 500,
    "OPERATOR_REASON_MINUTES": 30,
    "ERASURE_GRACE_DAYS": 30,
    "UNCONFIRMED_DAYS": 7,
    "EXPORT_DAYS": 7,
}
# The variable, under what allauth looks for it, and what it is.
RATES = {
    "RATE_LIMIT_LOGIN": ("login", "10/15m/ip"),
    "RATE_LIMIT_SIGNUP": ("signup", "3/1h/ip"),
    "RATE_LIMIT_RESET": ("reset_password", "5/1h/ip,10/1h/key"),
    "RATE_LIMIT_RESET_CODE": ("reset_password_from_key", "20/1h/ip"),
    "RATE_LIMIT_VERIFICATION": ("confirm_email", "5/1h/key"),
    "RATE_LIMIT_REAUTHENTICATION": ("reauthenticate", "5/15m/user"),
    "RATE_LIMIT_NONCE": ("nonce", "60/1m/ip"),
    "RATE_LIMIT_SECOND_FACTOR": ("login_failed", "5/5m/key"),
}
READ = """
import json
from config import settings
names = ["ACCOUNT_RATE_LIMITS", "AUTH_PASSWORD_VALIDATORS", *NAMES]
print(json.dumps({name: getattr(settings, name) for name in names}))
"""


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    """The settings of a process in whose environment nobody has set anything.

    Those of this process are not: the tests' own environment lifts the limits.
    """
    named = {name for name, _ in EXAMPLE_LINE.findall(EXAMPLE)}
    ours = {name: value for name, value in os.environ.items() if name not in named}
    ran = subprocess.run(
        [sys.executable, "-c", READ.replace("NAMES", repr(list(TIMES)))],
        env={**ours, "LOCAL_DIR": str(settings.LOCAL_DIR)},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_whoever_sets_nothing_has_the_times_and_lengths_of_the_house(
    defaults: dict[str, Any],
) -> None:
    assert {name: defaults[name] for name in TIMES} == TIMES
    (length,) = [
        each["OPTIONS"]["min_length"]
        for each in defaults["AUTH_PASSWORD_VALIDATORS"]
        if each["NAME"].endswith("MinimumLengthValidator")
    ]
    assert length == TIMES["PASSWORD_LENGTH"]


def test_whoever_sets_nothing_has_the_limits_of_the_house(defaults: dict[str, Any]) -> None:
    assert defaults["ACCOUNT_RATE_LIMITS"] == {
        **dict(RATES.values()),
        "change_password": "5/15m/user",
        "manage_email": "10/15m/user",
    }


def test_the_example_of_an_environment_names_these_and_no_others() -> None:
    said = dict(EXAMPLE_LINE.findall(EXAMPLE))
    rates = {name: text for name, text in said.items() if name.startswith("RATE_LIMIT_")}

    assert {name: said.get(name) for name in TIMES} == {
        name: str(value) for name, value in TIMES.items()
    }
    assert rates == {name: text for name, (_, text) in RATES.items()}


# --- At the doors -----------------------------------------------------------------------------


@pytest.fixture
def limited(settings: Settings, defaults: dict[str, Any]) -> None:
    """With the limits that the tests' environment lifts."""
    settings.ACCOUNT_RATE_LIMITS = defaults["ACCOUNT_RATE_LIMITS"]
    # Slowness is what the real one is for.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.mark.usefixtures("limited")
@pytest.mark.django_db(transaction=True)
def test_an_address_logs_in_ten_times_and_no_more() -> None:
    client = at("203.0.113.90")

    answers = [client.log_in(f"nobody{number}@example.org") for number in range(11)]

    assert [answer.status_code for answer in answers] == [400] * 10 + [429]


@pytest.mark.usefixtures("limited")
@pytest.mark.django_db(transaction=True)
def test_an_address_signs_up_three_times_and_no_more() -> None:
    answers = [at("203.0.113.91").sign_up(f"ada{number}@example.org") for number in range(4)]

    assert [answer.status_code for answer in answers] == [401] * 3 + [429]


@pytest.mark.usefixtures("limited")
@pytest.mark.django_db(transaction=True)
def test_a_person_guesses_their_password_five_times_and_no_more() -> None:
    phone = registered()
    # What is counted there, no other test meets.
    phone.client.defaults["REMOTE_ADDR"] = "203.0.113.92"

    answers = [phone.call("post", "auth/reauthenticate", {"password": "a guess"}) for _ in range(5)]

    right = phone.call("post", "auth/reauthenticate", {"password": PASSWORD})
    assert [answer.status_code for answer in answers] == [400] * 5
    assert right.status_code == 429


@pytest.mark.usefixtures("limited")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("length", "status"), [(11, 400), (12, 401)])
def test_a_password_has_twelve_characters_at_least(length: int, status: int) -> None:
    password = "xk3vq9wz7rtu"[:length]
    body = {"email": "ada@example.org", "password": password, "consents": ALL_CONSENTS}

    assert at(f"203.0.113.{length}").call("post", "auth/signup", body).status_code == status
