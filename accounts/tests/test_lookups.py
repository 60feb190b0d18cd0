"""Accounts are found through an index, and a profile is read in two questions."""

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from accounts.models import DeviceSession, User
from accounts.tests.phones import ADDRESS, Phone, registered
from common.encryption.data_keys import cache
from common.tests.connections import connect_as_superuser

pytestmark = pytest.mark.django_db(transaction=True)

FILL = """
    INSERT INTO accounts_user (username, password, role, account_status, metadata)
    SELECT 'filled-' || n, '', 'user', 'active', '{}' FROM generate_series(1, 5000) n;
    INSERT INTO account_emailaddress (user_id, email, verified, "primary")
    SELECT id, 'sealed-' || username, true, true FROM accounts_user WHERE username ~ '^filled';
    INSERT INTO socialaccount_socialaccount (
        user_id, provider, uid, last_login, date_joined, extra_data)
    SELECT id, 'google', username, now(), now(), '{}' FROM accounts_user
    WHERE username ~ '^filled';
    ANALYZE accounts_user, account_emailaddress, socialaccount_socialaccount
"""


@pytest.fixture
def phone() -> Phone:
    return registered(full_name="Ada Lovelace")


@pytest.fixture
def many(phone: Phone) -> None:
    with connect_as_superuser() as database:
        database.execute(FILL)


def plan_of(rows: QuerySet[EmailAddress] | QuerySet[SocialAccount] | QuerySet[User]) -> str:
    return rows.explain()


@pytest.mark.parametrize("lookup", ["email", "email__iexact", "email__in"])
def test_an_address_is_found_through_an_index(many: None, lookup: str) -> None:
    value = [ADDRESS] if lookup.endswith("__in") else ADDRESS
    rows = EmailAddress.objects.filter(**{lookup: value}).select_related("user")

    plan = plan_of(rows)

    assert "Index Scan using account_emailaddress_" in plan or "unique_verified_email" in plan
    assert "Seq Scan" not in plan
    assert [row.email for row in rows] == [ADDRESS]


def test_a_subject_of_a_provider_is_found_through_an_index(many: None) -> None:
    rows = SocialAccount.objects.filter(provider="google", uid="filled-77").select_related("user")

    plan = plan_of(rows)

    assert "Index Scan using socialaccount_socialaccount_provider_uid" in plan
    assert "Seq Scan" not in plan
    assert rows.get().user.username == "filled-77"


def test_a_profile_is_read_in_two_questions_and_three_at_first(phone: Phone) -> None:
    phone.call("get", "/api/v1/account/")

    with CaptureQueriesContext(connection) as warm:
        answer = phone.call("get", "/api/v1/account/")
    cache.clear()
    with CaptureQueriesContext(connection) as cold:
        phone.call("get", "/api/v1/account/")

    assert answer.json()["full_name"] == "Ada Lovelace"
    assert (len(warm), len(cold)) == (2, 3)
    assert DeviceSession.objects.count() == 1
