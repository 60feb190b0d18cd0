"""Tokens that people make for their programs, by the API."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from psycopg import sql
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from accounts.choices import AccountStatus, Scope
from accounts.errors import TooManyTokensError
from accounts.models import PersonalAccessToken, RecordedAnswer, User
from accounts.services import access_tokens
from accounts.services.access_tokens import create_token, issue_token
from accounts.tests.factories import client_of, logged_in_client_of, make_user
from accounts.tokens import bearer_of
from audit.choices import SecurityKind
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser
from common.tests.races import at_once
from tests.events import security

pytestmark = pytest.mark.django_db

URL = "/api/v1/tokens/"
NO_SUCH = UUID("01890000-0000-7000-8000-000000000000")


@pytest.fixture
def ada() -> User:
    return make_user("ada")


@pytest.fixture
def login(ada: User) -> APIClient:
    """A client in which ada has just logged in."""
    return logged_in_client_of(ada)


def wanted(**changes: Any) -> dict[str, Any]:
    return {
        "name": "laptop",
        "scopes": ["account:read"],
        "expires_at": (timezone.now() + timedelta(days=30)).isoformat(),
        **changes,
    }


def names_of(user: User) -> list[str]:
    return list(
        PersonalAccessToken.objects.filter(user=user).order_by("id").values_list("name", flat=True)
    )


def token_called(name: str) -> PersonalAccessToken:
    return PersonalAccessToken.objects.get(name=name)


def client_with(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


# --- Making one -------------------------------------------------------------------------------


def test_a_made_token_opens_what_it_was_made_for(ada: User, login: APIClient) -> None:
    asked = wanted(scopes=["archives:read", "account:read", "archives:read"])

    answer = login.post(URL, asked)

    assert answer.status_code == 201
    assert answer["Cache-Control"] == "private, no-store"
    made, token = answer.json(), token_called("laptop")
    secret = made.pop("secret")
    assert made == {
        "id": str(token.pk),
        "name": "laptop",
        "hint": secret[:9],
        "scopes": ["account:read", "archives:read"],
        "created_at": token.created_at.isoformat().replace("+00:00", "Z"),
        "last_used_at": None,
        "expires_at": asked["expires_at"].replace("+00:00", "Z"),
        "revoked_at": None,
    }
    bearer = bearer_of(secret)
    assert bearer is not None
    assert (bearer.user, bearer.token_id, bearer.is_login) == (ada, token.pk, False)
    assert bearer.scopes == {"account:read", "archives:read"}
    assert client_with(secret).get("/api/v1/account/").status_code == 200
    assert client_with(secret).patch("/api/v1/preferences/", {}).status_code == 403


def test_a_secret_is_told_once(login: APIClient) -> None:
    secret = login.post(URL, wanted()).json()["secret"]
    token = token_called("laptop")

    for answer in (
        login.get(URL), login.get(f"{URL}{token.pk}/"), login.post(f"{URL}{token.pk}/revoke/"),
    ):  # fmt: skip
        assert answer.status_code == 200
        assert secret[9:] not in answer.content.decode()
        assert "secret" not in answer.content.decode()
        assert bytes(token.digest).hex() not in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_secret_stands_nowhere_also_when_its_making_is_repeated(
    ada: User, login: APIClient
) -> None:
    answers = [login.post(URL, wanted(), headers={"Idempotency-Key": "k"}) for _ in range(2)]

    secrets = [answer.json()["secret"] for answer in answers]
    assert len(set(secrets)) == 2
    assert names_of(ada) == ["laptop", "laptop"]
    with acting_as(ada.pk):
        assert not RecordedAnswer.objects.exists()
    with connect_as_superuser() as superuser:
        tables = superuser.execute(
            b"SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            b" AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall()
        found = [
            table
            for (table,) in tables
            for secret in secrets
            if superuser.execute(
                sql.SQL("SELECT FROM {} t WHERE strpos(t::text, %s) > 0").format(
                    sql.Identifier(str(table))
                ),
                [secret[9:]],
            ).fetchone()
        ]
    assert len(tables) > 20
    assert found == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": None}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["account:delete"]}, "scopes"),
        ({"scopes": ["account:read", "*"]}, "scopes"),
        ({"scopes": "account:read"}, "scopes"),
        ({"scopes": [["account:read"]]}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"expires_at": None}, "expires_at"),
        ({"expires_at": ""}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ],
)
def test_what_cannot_be_made_is_refused_by_its_field(
    ada: User, login: APIClient, change: dict[str, Any], field: str
) -> None:
    answer = login.post(URL, wanted(**change))

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert {error["field"].split(".")[0] for error in answer.json()["errors"]} == {field}
    assert names_of(ada) == []


@pytest.mark.parametrize("left_out", ["name", "scopes", "expires_at"])
def test_what_is_left_out_is_named(ada: User, login: APIClient, left_out: str) -> None:
    asked = wanted()
    del asked[left_out]

    answer = login.post(URL, asked)

    assert answer.status_code == 400
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(left_out, "required")]
    assert names_of(ada) == []


def test_a_token_ends_in_the_future_and_within_the_days_allowed(
    ada: User, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.TOKEN_LONGEST_DAYS = 10
    moment = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: moment)

    def make(expires_at: datetime) -> str:
        answer = logged_in_client_of(ada).post(URL, wanted(expires_at=expires_at.isoformat()))
        return str(answer.json().get("errors", [{"code": "made"}])[0]["code"])

    tick, longest = timedelta(microseconds=1), timedelta(days=10)
    assert [make(moment - tick), make(moment), make(moment + tick)] == ["past", "past", "made"]
    assert [make(moment + longest), make(moment + longest + tick)] == ["made", "too_late"]
    assert names_of(ada) == ["laptop"] * 2


def test_where_the_house_allows_it_a_token_never_ends(
    ada: User, login: APIClient, settings: Settings
) -> None:
    settings.TOKEN_LONGEST_DAYS = 0
    far = "9999-12-31T00:00:00Z"

    assert login.post(URL, wanted(name="far", expires_at=far)).status_code == 201
    assert login.post(URL, wanted(name="null", expires_at=None)).status_code == 201
    assert login.post(URL, {"name": "left out", "scopes": ["account:read"]}).status_code == 201
    assert login.post(URL, wanted(expires_at="2020-01-01T00:00:00Z")).status_code == 400

    assert [token_called(name).expires_at for name in ("null", "left out")] == [None, None]
    assert names_of(ada) == ["far", "null", "left out"]


def test_a_token_makes_no_tokens(ada: User) -> None:
    program = client_of(ada)

    answer = program.post(URL, wanted())

    assert (answer.status_code, answer.json()["code"]) == (403, "login_required")
    assert names_of(ada) == ["test"]


@pytest.mark.django_db(transaction=True)
def test_a_token_without_the_scope_makes_no_tokens_and_that_is_noted(ada: User) -> None:
    program = client_of(ada, Scope.ACCOUNT_READ)

    answer = program.post(URL, wanted())

    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert names_of(ada) == ["test"]
    (noted,) = security(SecurityKind.ACCESS_REFUSED)
    assert (noted["row_id"], noted["details"]) == (
        token_called("test").pk,
        {"scope": "account:write"},
    )


def test_a_stale_login_makes_no_tokens(ada: User, settings: Settings) -> None:
    stale = timezone.now() - timedelta(seconds=settings.FRESH_LOGIN_SECONDS + 1)

    answer = logged_in_client_of(ada, proved_at=stale).post(URL, wanted())

    assert (answer.status_code, answer.json()["code"]) == (403, "reauthentication_required")
    assert names_of(ada) == []


def test_a_person_has_at_most_fifty_that_open_something(ada: User, login: APIClient) -> None:
    for number in range(50):
        issue_token(user=ada, name=f"token {number}")

    refused = login.post(URL, wanted())

    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_tokens")
    assert len(names_of(ada)) == 50
    assert logged_in_client_of(make_user("bob")).post(URL, wanted()).status_code == 201
    assert login.post(f"{URL}{token_called('token 7').pk}/revoke/").status_code == 200
    assert login.post(URL, wanted()).status_code == 201
    assert login.post(URL, wanted()).status_code == 409


def test_tokens_that_ran_out_do_not_count(ada: User, login: APIClient) -> None:
    for number in range(50):
        issue_token(user=ada, name=f"{number}", expires_at=timezone.now() - timedelta(seconds=1))

    assert login.post(URL, wanted()).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_many_at_once_do_not_pass_the_limit(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_tokens, "MOST_TOKENS", 3)
    ends = timezone.now() + timedelta(days=1)

    def make() -> str:
        return create_token(user=ada, name="x", scopes=[Scope.ACCOUNT_READ], expires_at=ends)[1]

    outcomes = at_once([make] * 8)

    assert sum(isinstance(outcome, str) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, TooManyTokensError) for outcome in outcomes) == 5
    assert names_of(ada) == ["x"] * 3


# --- Seeing them ------------------------------------------------------------------------------


def test_the_list_shows_the_persons_own_newest_first(ada: User) -> None:
    program, bob = client_of(ada, Scope.ACCOUNT_READ), make_user("bob")
    issue_token(user=ada, name="phone", scopes=[Scope.ARCHIVES_READ])
    issue_token(user=bob, name="of bob")

    rows = program.get(URL).json()["results"]

    assert [row["name"] for row in rows] == ["phone", "test"]
    assert [row["scopes"] for row in rows] == [["archives:read"], ["account:read"]]
    assert rows[0]["last_used_at"] is None
    assert rows[1]["last_used_at"] is not None
    assert set(rows[0]) == {
        "id", "name", "hint", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at",
    }  # fmt: skip
    assert program.get(f"{URL}{rows[0]['id']}/").json() == rows[0]


def test_more_tokens_cost_no_more_queries(
    ada: User, login: APIClient, django_assert_num_queries: Any
) -> None:
    issue_token(user=ada, name="one")
    # Savepoint, setting before, setting, the rows, setting after, release.
    with django_assert_num_queries(6):
        login.get(URL)
    for number in range(20):
        issue_token(user=ada, name=f"{number}")

    with django_assert_num_queries(6):
        assert len(login.get(URL).json()["results"]) == 21


# --- Ending them ------------------------------------------------------------------------------


def test_a_revoked_token_opens_nothing_and_the_first_time_stays(
    ada: User, login: APIClient
) -> None:
    secret = issue_token(user=ada, name="laptop")
    other = issue_token(user=ada, name="phone")
    token = token_called("laptop")

    answers = [login.post(f"{URL}{token.pk}/revoke/") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["revoked_at"] is not None
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["id"] == str(token.pk)
    assert client_with(secret).get("/api/v1/account/").status_code == 401
    assert client_with(other).get("/api/v1/account/").status_code == 200


def test_a_token_that_may_write_revokes_also_itself(ada: User) -> None:
    program = client_of(ada, Scope.ACCOUNT_WRITE)
    issue_token(user=ada, name="phone")

    assert program.post(f"{URL}{token_called('phone').pk}/revoke/").status_code == 200
    assert program.post(f"{URL}{token_called('test').pk}/revoke/").status_code == 200

    assert program.post(f"{URL}{token_called('phone').pk}/revoke/").status_code == 401


def test_a_token_that_may_only_read_revokes_nothing(ada: User) -> None:
    program = client_of(ada, Scope.ACCOUNT_READ)

    for path in (f"{URL}{token_called('test').pk}/revoke/", f"{URL}revoke-all/"):
        answer = program.post(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")

    assert token_called("test").revoked_at is None


@pytest.mark.django_db(transaction=True)
def test_a_strangers_token_is_not_there(ada: User) -> None:
    secret = issue_token(user=ada, name="laptop")
    token, bob = token_called("laptop"), logged_in_client_of(make_user("bob"))

    for answer in (
        bob.get(f"{URL}{token.pk}/"), bob.post(f"{URL}{token.pk}/revoke/"),
        bob.post(f"{URL}{NO_SUCH}/revoke/"), bob.post(f"{URL}not-an-id/revoke/"),
    ):  # fmt: skip
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    assert bob.get(URL).json()["results"] == []
    assert bearer_of(secret) is not None


def test_a_person_ends_all_of_their_own_at_once(ada: User, login: APIClient) -> None:
    secrets = [issue_token(user=ada, name=f"{number}") for number in range(3)]
    login.post(f"{URL}{token_called('0').pk}/revoke/")
    first = token_called("0").revoked_at
    of_bob = issue_token(user=make_user("bob"), name="of bob")

    answers = [login.post(f"{URL}revoke-all/") for _ in range(2)]

    assert [answer.json() for answer in answers] == [{"revoked": 2}, {"revoked": 0}]
    assert [bearer_of(secret) for secret in secrets] == [None] * 3
    assert token_called("0").revoked_at == first
    assert bearer_of(of_bob) is not None


@pytest.mark.django_db(transaction=True)
def test_many_who_revoke_one_at_once_agree(ada: User) -> None:
    issue_token(user=ada, name="laptop")
    token_id = token_called("laptop").pk

    outcomes = at_once(
        [lambda: access_tokens.revoke_token(user_id=ada.pk, token_id=token_id).revoked_at] * 8
    )

    assert set(outcomes) == {token_called("laptop").revoked_at}
    assert None not in outcomes


@pytest.mark.parametrize("path", [URL, f"{URL}{NO_SUCH}/", f"{URL}revoke-all/"])
def test_nobody_gets_in_without_a_token(path: str) -> None:
    for answer in (APIClient().get(path), APIClient().post(path)):
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


@pytest.mark.django_db(transaction=True, databases=["default", "operator"])
def test_a_closed_account_reaches_no_tokens(ada: User) -> None:
    program = client_of(ada)
    with as_operator("close it"):
        User.objects.filter(pk=ada.pk).update(account_status=AccountStatus.SUSPENDED)

    assert program.get(URL).status_code == 401
    assert program.post(f"{URL}revoke-all/").status_code == 401
    assert token_called("test").revoked_at is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/api/v1/account/restriction/"),
        ("delete", "/api/v1/account/restriction/"),
        ("post", "/api/v1/consents/"),
        ("post", "/api/v1/consents/withdraw/"),
        ("patch", "/api/v1/account/"),
    ],
)
def test_a_program_does_not_decide_for_its_person(method: str, path: str) -> None:
    program = client_of(make_user(), Scope.ACCOUNT_WRITE)

    answer = program.generic(method.upper(), path)

    assert (answer.status_code, answer.json()["code"]) == (403, "login_required")
