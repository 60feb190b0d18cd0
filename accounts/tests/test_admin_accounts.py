"""Accounts in the admin: what is sealed is read by superadmins only, and every look is noted."""

import pytest
from django.test import Client

from accounts.choices import Role
from accounts.models import DeviceSession, User
from accounts.tests.factories import operator_browser
from accounts.tests.phones import ADDRESS, Phone, person_of, registered
from audit.choices import SecurityKind
from tests.events import security

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

USERS = "/admin/accounts/user/"


@pytest.fixture
def phone() -> Phone:
    return registered(full_name="Ada Lovelace", given_name="Ada", family_name="Lovelace")


def form_of(browser: Client, user: User) -> str:
    return browser.get(f"{USERS}{user.pk}/change/").content.decode()


def test_a_superadmin_reads_names_and_addresses_and_that_is_noted(phone: Phone) -> None:
    user = person_of(phone)
    browser = operator_browser(role=Role.SUPERADMIN)

    page = form_of(browser, user)

    assert "Ada Lovelace" in page
    assert ADDRESS in page
    (noted,) = security(SecurityKind.SECRETS_REVEALED)
    assert (noted["user_id"], noted["row_id"], noted["reason"]) == (
        user.pk,
        user.pk,
        "to look after the test",
    )


def test_an_admin_reads_neither_and_sees_the_account(phone: Phone) -> None:
    user = person_of(phone)
    browser = operator_browser(role=Role.ADMIN)

    page = form_of(browser, user)

    assert user.username in page
    assert "Lovelace" not in page
    assert ADDRESS not in page
    assert security(SecurityKind.SECRETS_REVEALED) == []


def test_a_list_shows_nothing_that_is_sealed(phone: Phone) -> None:
    browser = operator_browser()

    page = browser.get(USERS).content.decode()

    assert person_of(phone).username in page
    assert "Lovelace" not in page
    assert ADDRESS not in page


def test_a_whole_address_finds_its_account(phone: Phone) -> None:
    user = person_of(phone)
    browser = operator_browser()

    def finds(term: str) -> bool:
        return user.username in browser.get(USERS, {"q": term}).content.decode()

    assert finds(ADDRESS.upper())
    assert not finds("ada@")
    assert not finds("somebody@example.org")


def test_who_is_found_by_an_address_can_see_that_it_was_read(phone: Phone) -> None:
    user = person_of(phone)
    browser = operator_browser(role=Role.SUPERADMIN)

    browser.get(USERS, {"q": "somebody@example.org"})
    browser.get(USERS, {"q": ADDRESS})

    (noted,) = security(SecurityKind.SECRETS_REVEALED)
    assert (noted["user_id"], noted["details"]) == (user.pk, {"fields": ["addresses"]})


def test_an_admin_finds_nobody_by_an_address(phone: Phone) -> None:
    browser = operator_browser(role=Role.ADMIN)

    page = browser.get(USERS, {"q": ADDRESS}).content.decode()

    assert person_of(phone).username not in page
    assert security(SecurityKind.SECRETS_REVEALED) == []


def test_an_operator_ends_a_session(phone: Phone) -> None:
    session = DeviceSession.objects.get()
    browser = operator_browser()

    answer = browser.post(
        "/admin/accounts/devicesession/",
        {"action": "end", "_selected_action": [str(session.pk)]},
    )

    assert answer.status_code == 302
    assert phone.call("get", "/api/v1/account/").status_code == 401


def test_sessions_of_one_person_that_an_operator_ends_together_are_one_event(phone: Phone) -> None:
    assert Phone("tablet").log_in().status_code == 200
    chosen = [str(session.pk) for session in DeviceSession.objects.all()]
    browser = operator_browser()

    browser.post("/admin/accounts/devicesession/", {"action": "end", "_selected_action": chosen})

    assert len(chosen) == 2
    assert not DeviceSession.objects.filter(ended_at=None).exists()
    (noted,) = security(SecurityKind.SESSION_ENDED)
    assert noted["details"] == {"because": "revoked", "sessions": 2}


@pytest.mark.parametrize(
    "path", ["account/emailaddress", "mfa/authenticator", "socialaccount/socialaccount"]
)
def test_the_tables_of_identities_have_no_pages(path: str) -> None:
    assert operator_browser().get(f"/admin/{path}/").status_code == 404
