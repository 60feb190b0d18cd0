"""Guessing passwords: whoever guesses is locked out, and never the owner."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as live_settings

from accounts.identity.backends import IdentityBackend
from accounts.lockout import open_account
from accounts.models import User
from accounts.tests.factories import PASSWORD as OPERATORS_PASSWORD
from accounts.tests.factories import make_operator
from accounts.tests.phones import (
    ADDRESS,
    PASSWORD,
    Phone,
    code_in,
    deliver_mail,
    person_of,
    registered,
)
from audit.choices import SecurityKind
from common.health import redis_client
from common.networks import network_of
from common.tenancy import as_operator
from common.tests.races import at_once
from tests.events import security

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

ATTACKER = "203.0.113.9"


@pytest.fixture(autouse=True)
def no_locks_of_other_tests(settings: object) -> None:
    client = redis_client()
    for key in client.scan_iter(f"{settings.REDIS_PREFIX}lockout:*"):  # type: ignore[attr-defined]
        client.delete(key)


@pytest.fixture
def owner() -> Phone:
    phone = registered()
    assert Phone("home").log_in().status_code == 200
    return phone


def at(address: str, name: str = "attacker") -> Phone:
    phone = Phone(name)
    phone.client.defaults["REMOTE_ADDR"] = address
    return phone


def guess(phone: Phone, times: int, email: str = ADDRESS) -> list[int]:
    return [phone.log_in(email, f"wrong guess {n}").status_code for n in range(times)]


def test_the_fifth_failure_locks_the_login_for_that_address(owner: Phone) -> None:
    attacker = at(ATTACKER)

    assert guess(attacker, 5) == [400] * 5
    locked = attacker.log_in(password=PASSWORD)

    assert locked.status_code == 429
    assert 0 < int(locked.headers["Retry-After"]) <= 60
    assert len(security(SecurityKind.ACCOUNT_LOCKED)) == 1


def test_the_owner_comes_in_while_a_stranger_is_locked_out(owner: Phone) -> None:
    guess(at(ATTACKER), 6)

    assert Phone("tablet").log_in().status_code == 200


def test_each_failure_after_a_lock_doubles_it(owner: Phone, settings: object) -> None:
    attacker = at(ATTACKER)
    waits = []
    guess(attacker, 4)
    for _ in range(7):
        guess(attacker, 1)
        waits.append(int(attacker.log_in().headers["Retry-After"]))
        for key in redis_client().scan_iter(
            f"{settings.REDIS_PREFIX}lockout:locked:*"  # type: ignore[attr-defined]
        ):
            redis_client().delete(key)

    assert [round(wait / 60) for wait in waits] == [1, 2, 4, 8, 16, 30, 30]


def test_guesses_from_everywhere_lock_the_account_for_unknown_addresses_only(
    owner: Phone, settings: object
) -> None:
    settings.LOCKOUT_ACCOUNT_FAILURES = 12  # type: ignore[attr-defined]
    for number in range(4):
        guess(at(f"203.0.113.{number}"), 3)

    assert at("198.51.100.7").log_in().status_code == 429
    assert Phone("tablet").log_in().status_code == 200


def test_a_reset_opens_what_was_locked(owner: Phone) -> None:
    elsewhere = at(ATTACKER, "traveller")
    guess(elsewhere, 5)
    assert elsewhere.log_in().status_code == 429
    elsewhere.call("post", "auth/password/request", {"email": ADDRESS})
    (message,) = deliver_mail()
    elsewhere.call(
        "post",
        "auth/password/reset",
        {"key": code_in(message), "password": "a quite different horse"},
    )

    assert elsewhere.log_in(password="a quite different horse").status_code == 200


def test_an_unknown_account_is_locked_alike(owner: Phone) -> None:
    attacker = at(ATTACKER)

    answers = [attacker.log_in("nobody@example.org", f"guess {n}") for n in range(6)]

    assert [answer.status_code for answer in answers] == [400] * 5 + [429]
    known = at("203.0.113.10").log_in(password="wrong guess")
    assert known.json() == answers[0].json()


def test_one_household_is_one_address(owner: Phone) -> None:
    for number in range(5):
        guess(at(f"2001:db8:1:2::{number + 1}"), 1)

    assert at("2001:db8:1:2:ffff::1").log_in().status_code == 429
    assert at("2001:db8:1:3::1").log_in().status_code == 200


def test_the_admin_is_locked_too(client: object) -> None:
    operator = make_operator()
    form = {"username": operator.username, "password": "wrong", "next": "/admin/"}
    for _ in range(5):
        assert client.post("/admin/login/", form).status_code == 200  # type: ignore[attr-defined]

    form["password"] = OPERATORS_PASSWORD
    locked = client.post("/admin/login/", form)  # type: ignore[attr-defined]
    assert locked.status_code == 429
    assert 0 < int(locked.headers["Retry-After"]) <= 60
    other = client.post("/admin/login/", form, REMOTE_ADDR="198.51.100.1")  # type: ignore[attr-defined]
    assert other.status_code == 302


def test_of_guesses_at_once_no_more_are_checked_than_of_those_that_are_not(
    owner: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    check = IdentityBackend._check_password

    def count(self: IdentityBackend, user: Any, password: str) -> Any:
        if user is not None:
            checked.append(password)
        return check(self, user, password)

    monkeypatch.setattr(IdentityBackend, "_check_password", count)

    answers = at_once([lambda: guess(at(ATTACKER), 1) for _ in range(12)])

    assert len(checked) == 5
    assert sorted(str(answer) for answer in answers) == ["[400]"] * 5 + ["[429]"] * 7
    assert at(ATTACKER).log_in().status_code == 429


def test_a_login_that_succeeds_is_no_failure(owner: Phone) -> None:
    for _ in range(7):
        assert Phone("home").log_in().status_code == 200

    keys = redis_client().keys(f"{live_settings.REDIS_PREFIX}lockout:failed:*")
    assert [redis_client().get(key) for key in keys] == ["0"]


def test_a_name_that_is_an_address_cannot_be_chosen(owner: Phone) -> None:
    stranger = Phone("stranger")
    refused = stranger.sign_up("stranger@example.org", username="someone@example.org")
    changed = owner.call("patch", "/api/v1/account/", {"username": "someone@example.org"})

    assert refused.status_code == 400
    assert [error["param"] for error in refused.json()["errors"]] == ["username"]
    assert (changed.status_code, changed.json()["code"]) == (400, "invalid_input")
    assert not User.objects.filter(username="someone@example.org").exists()


def test_a_name_that_is_the_owners_address_forgets_none_of_their_failures(owner: Phone) -> None:
    other = registered("other", "other@example.org")
    with as_operator("a name of former times"):
        User.objects.filter(pk=person_of(other).pk).update(username=ADDRESS)
    with as_operator("another password"):
        user = User.objects.get(username=ADDRESS)
        user.set_password("a quite different horse")
        user.save(update_fields=["password"])
    attacker = at(ATTACKER)

    guess(attacker, 4)
    body = {"username": ADDRESS, "password": "a quite different horse"}
    assert attacker.call("post", "auth/login", body).status_code == 200

    assert at(ATTACKER).log_in(password="wrong").status_code == 429


def test_failures_at_the_doors_of_persons_lock_no_operator(client: Any, settings: Any) -> None:
    settings.LOCKOUT_ACCOUNT_FAILURES = 6
    operator = make_operator()
    body = {"username": operator.username, "password": "wrong"}
    answers = [at(ATTACKER).call("post", "auth/login", body).status_code for _ in range(6)]
    form = {"username": operator.username, "password": OPERATORS_PASSWORD, "next": "/admin/"}

    assert answers == [400] * 5 + [429]
    assert client.post("/admin/login/", form, REMOTE_ADDR=ATTACKER).status_code == 302


def test_an_address_of_ipv4_is_one_in_either_spelling(owner: Phone) -> None:
    guess(at(f"::ffff:{ATTACKER}"), 5)

    assert network_of(f"::ffff:{ATTACKER}") == ATTACKER
    assert at(ATTACKER).log_in().status_code == 429
    assert at("::ffff:203.0.113.10").log_in().status_code == 200


def test_a_lock_is_somebodys(owner: Phone) -> None:
    guess(at(ATTACKER), 5)

    assert [row["user_id"] for row in security(SecurityKind.ACCOUNT_LOCKED)] == [
        person_of(owner).pk
    ]


def test_an_account_is_opened_by_its_own_keys(
    owner: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess(at(ATTACKER), 5)
    guess(at("203.0.113.10"), 2)
    monkeypatch.setattr("redis.Redis.scan_iter", None, raising=False)
    monkeypatch.setattr("redis.Redis.scan", None, raising=False)

    open_account(ADDRESS)

    left = redis_client().keys(f"{live_settings.REDIS_PREFIX}lockout:*")
    assert [key for key in left if ":known:" not in key] == []


def test_nonces_are_rationed_by_network(settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "nonce": "3/1m/ip"}
    client = at("203.0.113.77")

    answers = [client.call("post", "/api/v1/auth/nonce/") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].json()["code"] == "throttled"
    assert answers[3].headers["Retry-After"] == "60"
    assert at("203.0.113.78").call("post", "/api/v1/auth/nonce/").status_code == 200


def test_no_stranger_alone_keeps_the_owner_from_resetting(owner: Phone, settings: Any) -> None:
    example = (Path(live_settings.BASE_DIR) / ".env.example").read_text()
    (rate,) = re.findall(r"^#RATE_LIMIT_RESET=(.+)$", example, re.MULTILINE)
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "reset_password": rate}

    def ask(phone: Phone) -> int:
        return int(phone.call("post", "auth/password/request", {"email": ADDRESS}).status_code)

    refused = [ask(at("203.0.113.88")) for _ in range(20)]

    assert refused.count(429) == 15
    assert ask(at("203.0.113.89")) == 401
