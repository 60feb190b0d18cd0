"""Who came, who went and who was refused: what accounts report to the stream."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from redis import Redis
from rest_framework.test import APIClient

from accounts import events
from accounts.choices import Role, Scope
from accounts.models import PersonalAccessToken, User
from accounts.services.access_tokens import issue_token, revoke_tokens
from accounts.tests.factories import PASSWORD, client_of, make_operator, make_user
from accounts.tests.phones import ADDRESS, Phone, person_of, registered
from audit.choices import SecurityKind
from audit.recording import record
from common.health import redis_client
from common.tenancy import acting_as, as_operator
from tests.events import changes, origins, security, values

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

AGENT = "Lynx/2.9 of the test"
WRONG = "swordfish-in-the-password"


def log_in(client: Client, username: str, password: str = PASSWORD) -> Any:
    return client.post(
        reverse("admin:login"),
        {"username": username, "password": password, "next": "/admin/"},
        REMOTE_ADDR="192.0.2.44",
        headers={"User-Agent": AGENT},
    )


def client_with(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


# --- Sessions ---------------------------------------------------------------------------------


def test_a_login_and_a_logout_leave_a_trace_each() -> None:
    grace, client = make_operator("grace"), Client()

    came = log_in(client, "grace")
    went = client.post(reverse("admin:logout"))

    assert (came.status_code, went.status_code) == (302, 200)
    noted = security()
    assert values(noted, "kind", "name", "user_id", "actor_id", "request_id", "details") == [
        ("login_succeeded", "session-activity", grace.pk, grace.pk, came["X-Request-ID"], {}),
        ("logged_out", "session-activity", grace.pk, grace.pk, went["X-Request-ID"], {}),
    ]
    assert values(noted, "subject", "row_id") == [("", None)] * 2
    found = {row["id"]: row for row in origins()}
    first = found[noted[0]["id"]]
    assert (str(first["address"]), first["agent"]) == ("192.0.2.44", AGENT)
    assert first["user_id"] == grace.pk


def test_a_logout_of_nobody_leaves_none() -> None:
    Client().post(reverse("admin:logout"))

    assert security() == []


@pytest.mark.parametrize("username", ["grace", "GRACE"])
def test_a_wrong_password_is_noted_for_whom_it_was_meant(username: str) -> None:
    grace = make_operator("grace")

    answer = log_in(Client(), username, WRONG)

    assert answer.status_code == 200
    noted = security()
    assert values(noted, "kind", "user_id", "actor_id", "details") == [
        ("login_failed", grace.pk, None, {})
    ]
    ((address, agent),) = values(origins(), "address", "agent")
    assert (str(address), agent) == ("192.0.2.44", AGENT)


@pytest.mark.parametrize("kind", ["email", "username"])
def test_a_wrong_password_for_an_address_is_its_owners(kind: str) -> None:
    phone = registered()
    ada = person_of(phone)
    login = ADDRESS.upper() if kind == "email" else ada.username

    Phone("stranger").call("post", "auth/login", {kind: login, "password": WRONG})
    Client().post("/accounts/login/", {"login": login, "password": WRONG})

    noted = security("login_failed")
    assert values(noted, "user_id", "actor_id") == [(ada.pk, None)] * 2


@pytest.mark.parametrize("username", ["nobody-marzipan", WRONG, "é\u202emarzipan"])
def test_a_name_that_is_nobodys_is_kept_nowhere(username: str) -> None:
    make_operator("grace")

    answer = log_in(Client(), username, PASSWORD)

    assert answer.status_code == 200
    assert values(security(), "kind", "user_id", "actor_id", "details", "subject") == [
        ("login_failed", None, None, {}, "")
    ]
    kept = f"{security()} {changes()} {origins()}"
    assert username not in kept
    assert PASSWORD not in kept


@pytest.mark.parametrize("username", ["gra\0ce", "", "x" * 400])
def test_a_name_that_can_be_nobodys_is_no_error(username: str) -> None:
    make_operator("grace")

    assert log_in(Client(), username).status_code == 200
    assert {kind for (kind,) in values(security(), "kind")} <= {"login_failed"}


@pytest.mark.parametrize("role", [Role.ADMIN, Role.USER])
def test_a_right_password_that_opens_nothing_is_noted(role: Role) -> None:
    hal = make_operator("hal")
    status = "active" if role == Role.USER else "suspended"
    with as_operator("demote"):
        User.objects.filter(pk=hal.pk).update(role=role, account_status=status)

    answer = log_in(Client(), "hal")

    assert answer.status_code == 200
    assert values(security(), "kind", "user_id", "actor_id") == [("login_failed", hal.pk, None)]


@pytest.fixture
def _failing_login() -> Iterator[None]:
    """After everybody else has heard of the login it fails."""

    def fail(**_: Any) -> None:
        raise RuntimeError("after the login")

    user_logged_in.connect(fail, dispatch_uid="failing")
    yield
    user_logged_in.disconnect(dispatch_uid="failing")


@pytest.mark.usefixtures("_failing_login")
def test_the_trace_stays_where_the_request_is_rolled_back() -> None:
    grace = make_operator("grace")

    answer = log_in(Client(raise_request_exception=False), "grace")

    assert answer.status_code == 500
    assert User.objects.get(pk=grace.pk).last_login is None
    assert values(security(), "kind", "user_id") == [("login_succeeded", grace.pk)]


def test_the_trace_stays_where_a_transaction_is_rolled_back() -> None:
    ada = make_user("ada")
    before = len(changes())

    def note_and_fail() -> None:
        with acting_as(ada.pk):
            issue_token(user=ada, name="lost")
            record(SecurityKind.ACCESS_REFUSED, user_id=ada.pk)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        note_and_fail()

    assert not PersonalAccessToken.objects.exists()
    assert len(changes()) == before
    assert values(security(), "kind", "user_id") == [("access_refused", ada.pk)]


# --- Tokens -----------------------------------------------------------------------------------


def revoke(user: User) -> None:
    with acting_as(user.pk):
        revoke_tokens(token_ids=list(PersonalAccessToken.objects.values_list("pk", flat=True)))


def suspend(user: User) -> None:
    with as_operator("suspend"):
        User.objects.filter(pk=user.pk).update(account_status="suspended")


@pytest.fixture
def ada() -> User:
    return make_user("ada")


@pytest.mark.parametrize("how", ["revoked", "expired", "suspended"])
def test_a_token_that_opens_nothing_any_more_leaves_a_trace(ada: User, how: str) -> None:
    ends = timezone.now() - timedelta(days=1) if how == "expired" else None
    secret = issue_token(user=ada, name="laptop", expires_at=ends)
    token = PersonalAccessToken.objects.get()
    {"revoked": revoke, "expired": lambda _: None, "suspended": suspend}[how](ada)
    before = len(changes())

    answer = client_with(secret).get("/api/v1/account/", REMOTE_ADDR="192.0.2.44")

    assert answer.status_code == 401
    noted = security()
    assert values(noted, "kind", "name", "user_id", "actor_id", "subject", "row_id", "details") == [
        (
            "token_refused", "token-refused", ada.pk, None, "accounts_personalaccesstoken",
            token.pk, {},
        )
    ]  # fmt: skip
    assert values(noted, "request_id") == [(answer["X-Request-ID"],)]
    ((address, owner),) = values(origins(), "address", "user_id")
    assert (str(address), owner) == ("192.0.2.44", ada.pk)
    assert secret[:9] not in f"{noted} {changes()} {origins()}"
    assert len(changes()) == before


@pytest.mark.parametrize(
    "header",
    ["Bearer cp_{}", "Bearer {}", "Basic {}", "Bearer cp_", "Bearer", "{}", "Bearer cp_\x00"],
)
def test_what_was_never_a_token_leaves_none(ada: User, header: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=header.format("marzipan" * 5))

    assert client.get("/api/v1/account/").status_code == 401
    assert security() == []
    assert origins() == []


def test_a_token_that_is_good_leaves_none(ada: User) -> None:
    assert client_of(ada).get("/api/v1/account/").status_code == 200
    assert security() == []


def refused(user: User) -> Callable[[], int]:
    client = client_of(user)
    revoke(user)
    return lambda: client.get("/api/v1/account/").status_code


def test_a_refused_token_is_noted_once_a_minute(ada: User) -> None:
    again, other = refused(ada), refused(make_user("bob"))

    assert [again() for _ in range(5)] == [401] * 5
    assert len(security("token_refused")) == 1
    assert other() == 401
    assert len(security("token_refused")) == 2

    (key,) = redis_client().keys(f"{settings.REDIS_PREFIX}refused-token:*{_token_of(ada)}")
    assert 0 < redis_client().ttl(key) <= 60
    # As if the minute were over.
    redis_client().delete(key)
    assert again() == 401
    assert [row["user_id"] for row in security("token_refused")].count(ada.pk) == 2


def _token_of(user: User) -> str:
    return str(PersonalAccessToken.objects.get(user=user).pk)


def test_without_redis_every_refusal_is_noted(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    again = refused(ada)
    away: Redis = Redis(unix_socket_path="/nowhere/redis.sock")
    monkeypatch.setattr(events, "redis_client", lambda: away)

    assert [again() for _ in range(3)] == [401] * 3

    assert values(security(), "kind", "user_id") == [("token_refused", ada.pk)] * 3


def test_a_token_used_for_what_it_does_not_cover_is_noted_once_a_minute(ada: User) -> None:
    client = client_of(ada, Scope.ARCHIVES_READ)
    token = PersonalAccessToken.objects.get()

    answers = [
        client.get("/api/v1/account/"),
        client.get("/api/v1/activity/"),
        client.post("/api/v1/imports/", {}, format="multipart"),
        client.get("/api/v1/conversations/"),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403, 200]
    noted = security()
    assert values(noted, "kind", "user_id", "actor_id", "subject", "row_id", "details") == [
        (
            "access_refused", ada.pk, ada.pk, "accounts_personalaccesstoken", token.pk,
            {"scope": scope},
        )
        for scope in ("account:read", "archives:write")
    ]  # fmt: skip
    assert noted[0]["request_id"] == answers[0]["X-Request-ID"]
    assert changes("dedup_import") == []


# --- Names of changes -------------------------------------------------------------------------


def test_a_registration_and_a_change_of_a_profile_have_names_and_no_words(ada: User) -> None:
    with acting_as(ada.pk):
        ada.metadata = {"motto": "marzipan"}
        ada.set_password("correct marzipan battery staple")
        ada.save(update_fields=["metadata", "password"])
    suspend(ada)

    noted = changes("accounts_user")
    assert values(noted, "name", "operation", "row_id", "user_id", "changed") == [
        ("user-registration", "INSERT", ada.pk, ada.pk, None),
        ("profile-change", "UPDATE", ada.pk, ada.pk, ["metadata", "password"]),
        ("profile-change", "UPDATE", ada.pk, ada.pk, ["account_status"]),
    ]
    assert values(noted, "actor_id", "role", "reason") == [
        (None, "app", ""),
        (ada.pk, "app", ""),
        (None, "operator", "suspend"),
    ]
    assert (noted[2]["old"]["account_status"], noted[2]["new"]["account_status"]) == (
        "active", "suspended",
    )  # fmt: skip
    kept = {"id", "role", "account_status", "created_at", "processing_restricted_at"}
    assert set(noted[0]["new"]) == kept
    assert "marzipan" not in str(noted)


def test_a_login_alone_changes_no_profile() -> None:
    make_operator("grace")
    before = changes()

    assert log_in(Client(), "grace").status_code == 302

    assert changes() == before


def test_a_token_is_named_by_its_key_alone(ada: User) -> None:
    secret = issue_token(user=ada, name="marzipan laptop", scopes=[Scope.ACCOUNT_READ])
    client_with(secret).get("/api/v1/account/")
    revoke(ada)

    token = PersonalAccessToken.objects.get()
    noted = changes("accounts_personalaccesstoken")
    assert values(noted, "name", "row_id", "user_id", "actor_id", "changed") == [
        ("accounts-personalaccesstoken-added", token.pk, ada.pk, ada.pk, None),
        ("accounts-personalaccesstoken-changed", token.pk, ada.pk, ada.pk, ["revoked_at"]),
    ]
    assert noted[0]["new"]["scopes"] == ["account:read"]
    for word in ("marzipan", secret[:9], bytes(token.digest).hex()):
        assert word not in str(noted)
