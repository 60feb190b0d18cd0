import hashlib
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone
from psycopg import sql
from rest_framework.test import APIClient

from accounts.choices import Scope
from accounts.models import PersonalAccessToken, User
from accounts.services.access_tokens import issue_token, revoke_tokens
from accounts.tests.factories import make_user
from accounts.tokens import bearer_of, bearer_of_header
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser

ALIASES = ["default", "operator", "owner"]


@pytest.mark.django_db
def test_an_issued_token_opens_the_account_for_its_scopes() -> None:
    user = make_user()

    secret = issue_token(user=user, name="laptop", scopes=[Scope.ARCHIVES_READ])

    assert secret.startswith("cp_")
    assert len(secret) == 46
    bearer = bearer_of(secret)
    assert bearer is not None
    assert bearer.user == user
    assert bearer.scopes == {"archives:read"}
    token = PersonalAccessToken.objects.get()
    assert (bearer.token_id, bearer.session_id) == (token.pk, None)
    assert (token.name, token.hint, token.scopes) == ("laptop", secret[:9], ["archives:read"])
    assert bytes(token.digest) == hashlib.sha256(secret.encode()).digest()


@pytest.mark.django_db
def test_no_two_tokens_are_alike() -> None:
    user = make_user()

    assert len({issue_token(user=user, name="same") for _ in range(50)}) == 50


@pytest.mark.django_db(transaction=True)
def test_the_secret_stands_nowhere_in_the_database() -> None:
    user = make_user("ada")
    secret = issue_token(user=user, name="laptop")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert client.get("/api/v1/account/").status_code == 200

    with connect_as_superuser() as superuser:
        columns = superuser.execute(
            b"SELECT table_name, column_name FROM information_schema.columns"
            b" WHERE table_schema = 'public'"
        ).fetchall()
        found = [
            f"{table}.{column}"
            for table, column in columns
            for needle in (secret, secret[3:], secret[12:40], secret.encode().hex())
            if superuser.execute(
                sql.SQL("SELECT FROM {} WHERE strpos({}::text, %s) > 0").format(
                    sql.Identifier(str(table)), sql.Identifier(str(column))
                ),
                [needle],
            ).fetchone()
        ]

    assert len(columns) > 100
    assert found == []


@pytest.mark.django_db
def test_a_revoked_token_opens_nothing_and_the_first_revocation_counts() -> None:
    user = make_user()
    secret = issue_token(user=user, name="laptop")
    other = issue_token(user=user, name="phone")
    token = PersonalAccessToken.objects.get(name="laptop")

    with acting_as(user.pk):
        revoked = revoke_tokens(token_ids=[token.pk])
    token.refresh_from_db()
    first = token.revoked_at

    assert revoked == 1
    assert first is not None
    with acting_as(user.pk):
        assert revoke_tokens(token_ids=[token.pk]) == 0
    token.refresh_from_db()
    assert token.revoked_at == first
    assert bearer_of(secret) is None
    assert bearer_of(other) is not None


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_the_operator_revokes_tokens_of_many_people() -> None:
    secrets = [issue_token(user=make_user(), name="laptop") for _ in range(3)]
    tokens = list(PersonalAccessToken.objects.values_list("pk", flat=True))

    with as_operator("revoke what leaked"):
        revoked = revoke_tokens(token_ids=tokens[:2])

    assert revoked == 2
    assert [bearer_of(secret) is None for secret in secrets].count(True) == 2


@pytest.mark.django_db
def test_a_token_ends_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = timezone.now()
    secret = issue_token(user=make_user(), name="short", expires_at=moment + timedelta(hours=1))

    opened = []
    for seconds in (3599, 3600, 3601):
        monkeypatch.setattr(timezone, "now", lambda s=seconds: moment + timedelta(seconds=s))
        opened.append(bearer_of(secret) is not None)

    assert opened == [True, False, False]


@pytest.mark.django_db(transaction=True, databases=ALIASES)
@pytest.mark.parametrize("status", ["suspended", "deactivated", "deleted"])
def test_a_token_of_an_account_that_is_not_active_opens_nothing(status: str) -> None:
    user = make_user()
    secret = issue_token(user=user, name="laptop")

    with as_operator("suspend"):
        User.objects.filter(pk=user.pk).update(account_status=status)

    assert bearer_of(secret) is None
    assert PersonalAccessToken.objects.get().last_used_at is None


@pytest.mark.django_db
def test_the_last_use_is_noted_to_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = issue_token(user=make_user(), name="laptop")
    moment = timezone.now()

    noted = []
    for seconds in (0, 30, 59, 61, 100):
        monkeypatch.setattr(timezone, "now", lambda s=seconds: moment + timedelta(seconds=s))
        bearer_of(secret)
        noted.append(PersonalAccessToken.objects.get().last_used_at)

    later = moment + timedelta(seconds=61)
    assert noted == [moment, moment, moment, later, later]


@pytest.mark.django_db
def test_a_use_within_the_minute_costs_one_query(django_assert_num_queries: object) -> None:
    secret = issue_token(user=make_user(), name="laptop")
    bearer_of(secret)

    with django_assert_num_queries(1):  # type: ignore[operator]  # a fixture that is a function
        bearer_of(secret)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer cp_", "Bearer cp_unknown", "Basic {}", "Token {}", "{}"],
)
def test_another_header_opens_nothing(header: str) -> None:
    secret = issue_token(user=make_user(), name="laptop")

    assert bearer_of_header(header.format(secret)) is None
    assert bearer_of_header(f"Bearer {secret[:-1]}") is None
    assert bearer_of_header(f"bearer {secret}") is not None


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["Bearer cp_unknown", "Basic YTpi", "Bearer \x00", "cp_x"])
def test_a_wrong_token_is_a_401_that_does_not_repeat_it(header: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=header)

    answer = client.get("/api/v1/account/")

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Bearer realm="commonplace"'
    assert answer.json()["code"] == "authentication_failed"
    assert answer.json()["detail"] == "The token is unknown, expired or revoked."


@pytest.mark.django_db
@pytest.mark.parametrize("scopes", [[], ["archives:delete"]])
def test_a_token_without_or_with_unknown_scopes_is_not_issued(scopes: list[Scope]) -> None:
    user = make_user()

    with pytest.raises(IntegrityError, match="token_scopes"):
        issue_token(user=user, name="odd", scopes=scopes)

    assert not PersonalAccessToken.objects.exists()


@pytest.mark.django_db
def test_app_changes_nothing_else_of_a_token() -> None:
    issue_token(user=make_user(), name="laptop")
    for column in ("scopes", "digest", "expires_at", "user_id", "name"):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT has_column_privilege('accounts_personalaccesstoken', %s, 'UPDATE')",
                [column],
            )
            assert cursor.fetchone() == (False,)
