"""How long an answer takes does not tell a stranger whether an address has an account."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.db import connection
from django.test import Client

from accounts.identity import middleware, timing
from accounts.tests.phones import ADDRESS, ALL_CONSENTS, PASSWORD, Phone, registered

pytestmark = pytest.mark.django_db(transaction=True)

NOBODYS = "nobody@example.org"


@pytest.fixture(autouse=True)
def waits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited where all work takes 0.63 s, with steps of 0.5 s."""
    settings.ANSWER_STEP_MS = 500
    found: list[float] = []

    def sleep(seconds: float) -> None:
        assert not connection.in_atomic_block
        found.append(round(seconds, 6))

    monkeypatch.setattr(middleware, "time", SimpleNamespace(monotonic=lambda: 100.0))
    monkeypatch.setattr(timing, "time", SimpleNamespace(monotonic=lambda: 100.63, sleep=sleep))
    return found


@pytest.mark.parametrize("address", [ADDRESS, NOBODYS])
@pytest.mark.parametrize(
    ("door", "body", "status"),
    [
        ("auth/login", {"password": "a guess that is wrong"}, 400),
        ("auth/signup", {"password": PASSWORD, "consents": ALL_CONSENTS}, 401),
        ("auth/password/request", {}, 401),
    ],
)
def test_whoever_asks_by_api_is_answered_at_a_whole_step(
    waits: list[float], door: str, body: dict[str, Any], status: int, address: str
) -> None:
    registered()
    waits.clear()

    assert Phone("stranger").call("post", door, {"email": address, **body}).status_code == status

    assert waits == [0.37]


@pytest.mark.parametrize("address", [ADDRESS, NOBODYS])
@pytest.mark.parametrize(
    ("page", "form", "status"),
    [
        ("login/", {"login": "", "password": "a guess that is wrong"}, 200),
        ("password/reset/", {}, 302),
    ],
)
def test_whoever_asks_on_a_page_is_answered_at_a_whole_step(
    waits: list[float], page: str, form: dict[str, Any], status: int, address: str
) -> None:
    registered()
    waits.clear()
    form = {**form, "login" if "login" in form else "email": address}

    assert Client().post(f"/accounts/{page}", form).status_code == status

    assert waits == [0.37]


def test_nobody_else_waits(waits: list[float]) -> None:
    registered()
    waits.clear()
    phone = Phone("tablet")

    assert phone.log_in().status_code == 200
    assert phone.call("get", "/api/v1/account/").status_code == 200
    assert Client().get("/accounts/login/").status_code == 200

    assert waits == []


def test_nobody_waits_where_the_step_is_nothing(settings: Any, waits: list[float]) -> None:
    settings.ANSWER_STEP_MS = 0

    assert Phone().call("post", "auth/password/request", {"email": NOBODYS}).status_code == 401

    assert waits == []


# --- What the waiting hides below a step -------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each time that a password was hashed, to keep it or to compare it."""
    found: list[str] = []

    def counted(name: str) -> Any:
        real = getattr(Argon2PasswordHasher, name)

        def count(self: Argon2PasswordHasher, *args: Any, **more: Any) -> Any:
            found.append(name)
            return real(self, *args, **more)

        return count

    for name in ("encode", "verify"):
        monkeypatch.setattr(Argon2PasswordHasher, name, counted(name))
    return found


@pytest.mark.parametrize("address", ["hashed@example.org", NOBODYS])
@pytest.mark.parametrize(
    ("door", "body", "status"),
    [
        ("auth/login", {"password": "a guess that is wrong"}, 400),
        ("auth/signup", {"password": PASSWORD, "consents": ALL_CONSENTS}, 401),
    ],
)
def test_with_and_without_an_account_there_is_one_hash(
    hashed: list[str], door: str, body: dict[str, Any], status: int, address: str
) -> None:
    # Not the one whose failures the tests above count.
    registered(email="hashed@example.org")
    hashed.clear()

    assert Phone("stranger").call("post", door, {"email": address, **body}).status_code == status

    assert len(hashed) == 1


@pytest.mark.parametrize("name", ["hashed", "nobody"])
def test_for_a_name_there_is_one_hash_whether_it_is_somebodys(hashed: list[str], name: str) -> None:
    registered(username="hashed")
    hashed.clear()
    body = {"username": name, "password": "a guess that is wrong"}

    assert Phone("stranger").call("post", "auth/login", body).status_code == 400

    assert len(hashed) == 1


@pytest.mark.parametrize("address", ["hashed@example.org", NOBODYS])
def test_on_the_page_a_sign_up_is_one_hash(hashed: list[str], address: str) -> None:
    registered(email="hashed@example.org")
    hashed.clear()
    consents = {f"consents-{kind}": "1" for kind in ALL_CONSENTS}

    answer = Client().post(
        "/accounts/signup/", {"email": address, "password1": PASSWORD, **consents}
    )

    assert answer.status_code == 302
    assert len(hashed) == 1


@pytest.mark.parametrize("login", ["hashed@example.org", "hashed", NOBODYS, "nobody"])
def test_on_the_page_a_login_is_one_hash(hashed: list[str], login: str) -> None:
    registered(email="hashed@example.org", username="hashed")
    hashed.clear()
    guess = {"login": login, "password": "a guess that is wrong"}

    assert Client(REMOTE_ADDR="203.0.113.88").post("/accounts/login/", guess).status_code == 200

    assert len(hashed) == 1
