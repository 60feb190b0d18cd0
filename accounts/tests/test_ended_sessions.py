"""What is over stays over: ended logins, waiting ones, and what was asked for in them."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from accounts.choices import AccountStatus, Realm, Role, SessionEnd
from accounts.identity.adapter import AccountAdapter
from accounts.identity.sessions import DEVICE_SESSION, SessionStore
from accounts.models import DeviceSession, PersonalAccessToken, StoredSession, User
from accounts.services.access_tokens import issue_token
from accounts.services.sessions import end_sessions
from accounts.tests.factories import client_of, keep_session, make_user, operator_browser
from accounts.tests.phones import (
    ADDRESS,
    PASSWORD,
    Phone,
    code_in,
    deliver_mail,
    person_of,
    registered,
)
from accounts.tests.test_second_factors import totp, turn_on
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

ACCOUNT = "/api/v1/account/"
PAGE = "/accounts/password/change/"
NEW_PASSWORD = "a quite different horse"


def browser_of_person() -> Client:
    """A browser in which the person has logged in."""
    browser = Client()
    answer = browser.post("/accounts/login/", {"login": ADDRESS, "password": PASSWORD})
    assert answer.status_code == 302
    return browser


def change_on_page(browser: Client) -> int:
    words = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    return browser.post(PAGE, words).status_code


def thief_of(phone: Phone) -> Phone:
    return Phone("thief", access_token=phone.access_token)


def session_of(phone: Phone) -> int:
    return int(phone.call("get", "auth/session").status_code)


def set_ends(**columns: object) -> None:
    with connect_as_superuser() as database:
        for column, value in columns.items():
            database.execute(f"UPDATE accounts_devicesession SET {column} = %s", [value])


def revoke_all(user: User) -> int:
    with acting_as(user.pk):
        return end_sessions(user_id=user.pk, because=SessionEnd.REVOKED)


def meanwhile(monkeypatch: pytest.MonkeyPatch, method: str, user: User) -> None:
    """The next call of the store's method finds that the owner has ended every session."""
    original = getattr(SessionStore, method)

    def ended_first(store: SessionStore, *args: object, **named: object) -> object:
        monkeypatch.setattr(SessionStore, method, original)
        assert at_once([lambda: revoke_all(user)]) == [1]
        return original(store, *args, **named)

    monkeypatch.setattr(SessionStore, method, ended_first)


def waiting_tablet() -> tuple[User, str, Phone]:
    """A person with a second factor, its secret, and a tablet that is asked for the code."""
    phone = registered()
    secret = turn_on(phone)
    deliver_mail()
    tablet = Phone("tablet")
    assert tablet.log_in().status_code == 401
    return person_of(phone), secret, tablet


def answer_with_code(tablet: Phone, secret: str) -> int:
    answer = tablet.call("post", "auth/2fa/authenticate", {"code": totp(secret, 1)})
    return int(answer.status_code)


def set_standing(user: User, **columns: str) -> None:
    with as_operator("test"):
        User.objects.filter(pk=user.pk).update(**columns)


def save_in_admin(user: User, role: Role, status: AccountStatus) -> int:
    answer = operator_browser().post(
        f"/admin/accounts/user/{user.pk}/change/", {"role": role, "account_status": status}
    )
    return answer.status_code


# --- logins that are over ---


@pytest.mark.parametrize("columns", [("expires_at",), ("expires_at", "latest_at")])
def test_a_login_that_has_run_out_opens_nothing_by_any_key(columns: tuple[str, ...]) -> None:
    phone, browser = registered(), browser_of_person()
    assert session_of(phone) == 200
    assert browser.get("/accounts/").status_code == 200
    ends = list(StoredSession.objects.order_by("pk").values_list("expires_at", flat=True))

    set_ends(**dict.fromkeys(columns, timezone.now() - timedelta(days=1)))

    assert session_of(phone) == 410
    assert browser.get("/accounts/").status_code == 302
    assert change_on_page(browser) == 302
    assert User.objects.get().check_password(PASSWORD)
    now = list(StoredSession.objects.order_by("pk").values_list("expires_at", flat=True))
    assert now == ends


def test_a_stored_session_ends_no_later_than_its_login() -> None:
    registered()
    soon = timezone.now() + timedelta(hours=1)
    set_ends(expires_at=soon, latest_at=soon)
    store = SessionStore.of_login(DeviceSession.objects.get().pk)
    assert store is not None

    store["word"] = "saffron"
    store.save()

    assert StoredSession.objects.exclude(user=None).get().expires_at == soon


def test_a_key_made_for_an_ended_login_opens_nothing() -> None:
    user = make_user()
    login = keep_session(user)
    store = SessionStore()
    store.update({SESSION_KEY: str(user.pk), DEVICE_SESSION: str(login.pk)})
    revoke_all(user)
    store.create()

    assert StoredSession.objects.get().device_session_id == login.pk
    assert SessionStore(store.session_key).get(SESSION_KEY) is None
    assert SessionStore.of_login(login.pk) is None


def test_a_password_change_in_an_ended_session_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phone = registered()
    user, thief = person_of(phone), thief_of(phone)
    meanwhile(monkeypatch, "cycle_key", user)

    answer = thief.call(
        "post",
        "account/password/change",
        {"current_password": PASSWORD, "new_password": NEW_PASSWORD},
    )

    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_failed")
    assert not StoredSession.objects.exclude(user=None).exists()
    assert DeviceSession.objects.get().ended_because == SessionEnd.REVOKED
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert session_of(thief) == 410


# --- requests that are refused ---


def test_what_was_done_in_a_session_that_ended_meanwhile_is_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phone = registered()
    user, thief = person_of(phone), thief_of(phone)
    assert thief.call("post", "auth/reauthenticate", {"password": PASSWORD}).status_code == 200
    asked = thief.call("post", "account/email", {"email": "thief@example.org"})
    assert asked.status_code == 200, asked.content
    (*_, message) = deliver_mail()
    meanwhile(monkeypatch, "save", user)

    answer = thief.call("post", "auth/email/verify", {"key": code_in(message)})

    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_failed")
    assert list(EmailAddress.objects.values_list("email", "verified")) == [(ADDRESS, True)]


@pytest.mark.parametrize("method", ["cycle_key", "save"])
def test_what_a_browser_did_in_a_session_that_ended_meanwhile_is_undone(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    phone = registered()
    user = person_of(phone)
    phone.log_out()
    browser = browser_of_person()
    if method == "save":
        # Its key stays: only the save after the page can tell.
        monkeypatch.setattr(SessionStore, "cycle_key", lambda _store: None)
    meanwhile(monkeypatch, method, user)

    status = change_on_page(browser)

    assert status == 401
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert browser.get("/accounts/").status_code == 302


# --- logins that wait ---


def test_a_waiting_login_ends_with_its_password() -> None:
    user, secret, tablet = waiting_tablet()
    finder = Phone("finder")
    finder.call("post", "auth/password/request", {"email": ADDRESS})
    (message,) = deliver_mail()
    body = {"key": code_in(message), "password": NEW_PASSWORD}
    assert finder.call("post", "auth/password/reset", body).status_code == 401

    assert answer_with_code(tablet, secret) == 401

    assert tablet.access_token == ""
    assert not DeviceSession.objects.filter(user=user, ended_at=None).exists()
    assert answer_with_code(tablet, secret) in {401, 409}


def late(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """The next login, whose password was right, finds at its end that this was done meanwhile."""
    original = AccountAdapter.login

    def login(adapter: AccountAdapter, request: HttpRequest, user: User) -> None:
        monkeypatch.setattr(AccountAdapter, "login", original)
        for outcome in at_once([action]):
            assert not isinstance(outcome, Exception), outcome
        original(adapter, request, user)

    monkeypatch.setattr(AccountAdapter, "login", login)


def reset() -> None:
    finder = Phone("finder")
    finder.call("post", "auth/password/request", {"email": ADDRESS})
    body = {"key": code_in(deliver_mail()[-1]), "password": NEW_PASSWORD}
    assert finder.call("post", "auth/password/reset", body).status_code == 401


def test_a_login_with_the_former_password_is_refused_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registered()
    thief, sessions = Phone("thief"), DeviceSession.objects.count()
    late(monkeypatch, reset)

    assert thief.log_in().status_code == 403

    assert thief.access_token == ""
    assert DeviceSession.objects.count() == sessions
    assert not DeviceSession.objects.filter(ended_at=None).exists()
    assert Phone("owner").log_in(password=NEW_PASSWORD).status_code == 200


def test_a_login_during_a_suspension_is_refused_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = person_of(registered())
    thief, sessions = Phone("thief"), DeviceSession.objects.count()
    late(monkeypatch, lambda: set_standing(user, account_status=AccountStatus.SUSPENDED))

    assert thief.log_in().status_code == 403

    set_standing(user, account_status=AccountStatus.ACTIVE)
    assert thief.access_token == ""
    assert DeviceSession.objects.count() == sessions


@pytest.mark.parametrize(
    "columns",
    [
        {"account_status": AccountStatus.SUSPENDED},
        {"account_status": AccountStatus.DEACTIVATED},
        {"role": Role.ADMIN},
    ],
)
def test_a_waiting_login_of_somebody_whose_standing_changed_is_refused(
    columns: dict[str, str],
) -> None:
    user, secret, tablet = waiting_tablet()
    before = DeviceSession.objects.count()
    set_standing(user, **columns)

    assert answer_with_code(tablet, secret) == 403

    set_standing(user, account_status=AccountStatus.ACTIVE, role=Role.USER)
    assert DeviceSession.objects.count() == before
    assert tablet.access_token == ""
    assert session_of(tablet) == 401


def test_a_waiting_login_goes_on_with_the_password_it_began_with() -> None:
    _, secret, tablet = waiting_tablet()

    assert answer_with_code(tablet, secret) == 200
    assert tablet.call("get", ACCOUNT).status_code == 200


def test_a_waiting_login_in_a_browser_is_refused_after_a_suspension() -> None:
    user, secret, _ = waiting_tablet()
    browser = browser_of_person()
    set_standing(user, account_status=AccountStatus.SUSPENDED)
    before = DeviceSession.objects.count()

    answer = browser.post("/accounts/2fa/authenticate/", {"code": totp(secret, 1)})

    assert (answer.status_code, answer["Location"]) == (302, "/accounts/inactive/")
    assert DeviceSession.objects.count() == before


# --- what operators change ---


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (Role.USER, AccountStatus.SUSPENDED),
        (Role.USER, AccountStatus.DEACTIVATED),
        (Role.ADMIN, AccountStatus.ACTIVE),
    ],
)
def test_another_standing_ends_what_was_open(role: Role, status: AccountStatus) -> None:
    phone = registered()
    user, browser = person_of(phone), browser_of_person()
    client = client_of(user)
    other = client_of(make_user("grace"))

    answer = save_in_admin(user, role, status)

    assert answer == 302
    ended = set(DeviceSession.objects.filter(user=user).values_list("ended_because", flat=True))
    assert ended == {SessionEnd.ACCOUNT_CLOSED}
    assert not StoredSession.objects.filter(user=user).exists()
    assert not PersonalAccessToken.objects.filter(user=user, revoked_at=None).exists()
    set_standing(user, account_status=AccountStatus.ACTIVE, role=Role.USER)
    assert phone.call("get", ACCOUNT).status_code == 401
    assert phone.refresh().status_code == 400
    assert browser.get("/accounts/").status_code == 302
    assert client.get(ACCOUNT).status_code == 401
    assert other.get(ACCOUNT).status_code == 200


def test_a_form_that_changes_nothing_ends_nothing() -> None:
    phone = registered()
    client = client_of(person_of(phone))

    assert save_in_admin(person_of(phone), Role.USER, AccountStatus.ACTIVE) == 302

    assert phone.call("get", ACCOUNT).status_code == 200
    assert client.get(ACCOUNT).status_code == 200


def test_an_operator_who_becomes_a_person_again_leaves_the_admin() -> None:
    browser = operator_browser("alan", role=Role.ADMIN)
    with as_operator("test"):
        alan: User = User.objects.get(username="alan")
        assert StoredSession.objects.filter(user=alan, realm=Realm.HOUSE).exists()

    assert save_in_admin(alan, Role.USER, AccountStatus.ACTIVE) == 302

    set_standing(alan, role=Role.ADMIN)
    assert browser.get("/admin/").status_code == 302


def test_what_fails_after_the_change_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    phone = registered()
    user = person_of(phone)
    issue_token(user=user, name="kept")

    def fail(**_: object) -> int:
        raise RuntimeError("no")

    monkeypatch.setattr("accounts.services.users.revoke_tokens_of", fail)
    browser = operator_browser()
    browser.raise_request_exception = False
    answer = browser.post(
        f"/admin/accounts/user/{user.pk}/change/",
        {"role": Role.USER, "account_status": AccountStatus.SUSPENDED},
    )

    assert answer.status_code == 500
    user.refresh_from_db()
    assert user.account_status == AccountStatus.ACTIVE
    assert phone.call("get", ACCOUNT).status_code == 200
