"""The pages for people: what each shows to whom, and what its buttons do."""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import HASH_SESSION_KEY
from django.test import Client
from django.urls import URLPattern, reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.choices import AccountStatus, ConsentSource, ConsentType, Scope, Tier
from accounts.models import (
    Consent,
    DeviceSession,
    ErasureRequest,
    ExportRequest,
    PersonalAccessToken,
    Subscription,
    User,
)
from accounts.pages.browsers import browser_named
from accounts.pages.documents import Block, blocks_of
from accounts.pages.urls import urlpatterns
from accounts.services.access_tokens import issue_token
from accounts.tests.factories import make_operator, operator_browser
from accounts.tests.phones import ADDRESS, PASSWORD, Phone, code_in, deliver_mail, registered
from accounts.tests.providers import SETTINGS
from common.ids import uuid7
from common.tenancy import acting_as, as_operator

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

CONSENTS = {f"consents-{kind.value}": "1" for kind in ConsentType}
SIGN_UP = {"email": ADDRESS, "password1": PASSWORD, **CONSENTS}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

OURS = [
    "account-home",
    "account-profile",
    "account-subscription",
    "account-sessions",
    "account-consents",
    "account-tokens",
    "account-privacy",
]
PERSONAL = [
    *OURS,
    "account_email",
    "account_change_password",
    "mfa_index",
    "mfa_list_webauthn",
    "socialaccount_connections",
]
PROVED = [
    "account-token-new",
    "account-erasure",
    "mfa_activate_totp",
    "mfa_add_webauthn",
]
PUBLIC = [
    "account_login",
    "account_signup",
    "account_reset_password",
    "account_inactive",
    "account-erasure-cancel",
]


def signed_up(email: str = ADDRESS, **extra: Any) -> Client:
    """A browser whose person has signed up and confirmed the address, on the pages."""
    browser = Client(headers={"User-Agent": FIREFOX}, **extra)
    begun = browser.post(reverse("account_signup"), {**SIGN_UP, "email": email})
    assert begun.status_code == 302, begun.context["form"].errors
    (message,) = deliver_mail()
    confirmed = browser.post(begun["Location"], {"code": code_in(message)})
    assert (confirmed.status_code, confirmed["Location"]) == (302, reverse("account-home"))
    # What it is told by then has been read.
    assert browser.get(reverse("account-home")).status_code == 200
    return browser


def prove(browser: Client) -> None:
    answer = browser.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert answer.status_code == 302


def owner_of(browser: Client) -> User:
    user: User = User.objects.get(pk=UUID(browser.session["_auth_user_id"]))
    return user


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def said(answer: Any) -> list[str]:
    """What the browser is told after a button, on the page it is sent to."""
    return [str(message) for message in answer.context["messages"]]


def test_a_person_signs_up_on_the_page_and_is_in() -> None:
    browser = signed_up()

    home = browser.get(reverse("account-home"))

    assert home.status_code == 200
    user = owner_of(browser)
    with acting_as(user.pk):
        assert set(Consent.objects.values_list("type", "given")) == {
            (kind.value, True) for kind in ConsentType
        }
        assert EmailAddress.objects.get().verified
        assert Subscription.objects.get().tier == Tier.FREE


def test_personal_pages_are_for_whoever_is_logged_in() -> None:
    browser = signed_up()

    for name in PERSONAL:
        page = reverse(name)
        mine, nobodys = browser.get(page), Client().get(page)

        assert mine.status_code == 200, name
        assert 'class="side"' in mine.content.decode(), name
        assert mine["X-Frame-Options"] == "DENY", name
        assert (nobodys.status_code, nobodys["Location"]) == (302, f"/accounts/login/?next={page}")
        # allauth's own leave it to the browser.
        assert name not in OURS or "no-store" in mine["Cache-Control"], name


def test_personal_pages_know_accounts_of_providers(settings: Any) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = SETTINGS
    browser = signed_up()
    prove(browser)

    assert browser.get(reverse("socialaccount_connections")).status_code == 200


def test_what_a_stolen_session_must_not_reach_asks_for_a_fresh_proof() -> None:
    browser, proved = signed_up(), signed_up("somebody.else@example.org")
    prove(proved)

    for name in PROVED:
        page = reverse(name)
        asked = browser.get(page)

        expected = f"/accounts/reauthenticate/?next={page.replace('/', '%2F')}"
        assert (asked.status_code, asked.get("Location")) == (302, expected), name
        assert proved.get(page).status_code == 200, name


@pytest.mark.parametrize("providers", [{}, SETTINGS])
@pytest.mark.parametrize("name", PUBLIC)
def test_pages_to_come_in_by_are_for_everybody(
    name: str, providers: dict[str, Any], settings: Any
) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = providers
    answer = Client().get(reverse(name))

    assert answer.status_code == 200
    assert answer["X-Frame-Options"] == "DENY"
    policy = answer["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert b"<label" in answer.content or name == "account_inactive"


def routes_of_ours() -> list[tuple[str, str]]:
    """Name and path of each page that is not allauth's."""
    values = {"kind": "privacy_policy"}
    return [
        (
            str(pattern.name),
            reverse(
                str(pattern.name),
                kwargs={key: values.get(key, uuid7()) for key in pattern.pattern.converters},
            ),
        )
        for pattern in urlpatterns
        if isinstance(pattern, URLPattern)
    ]


def test_nobody_sees_or_presses_anything_but_what_is_public() -> None:
    public = {"account-consent", "account-erasure-cancel"}

    for name, path in routes_of_ours():
        answers = [Client().get(path), Client().post(path)]
        if name in public:
            assert [answer.status_code for answer in answers] == [200, 200], name
        else:
            to_login = f"/accounts/login/?next={path}"
            assert [answer.get("Location") for answer in answers] == [to_login] * 2, name


def test_whoever_comes_in_through_a_provider_only_proves_themselves_by_logging_in() -> None:
    browser = signed_up()
    user = owner_of(browser)
    with acting_as(user.pk):
        user.set_unusable_password()
        user.save(update_fields=["password"])
    session = browser.session
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()

    just_logged_in = browser.get(reverse("account-erasure"))
    with acting_as(user.pk):
        DeviceSession.objects.update(proved_at=timezone.now() - timedelta(minutes=6))
    later = browser.get(reverse("account-erasure"))
    refused = browser.post(reverse("account-erasure"), {"confirmation": "DELETE_ALL_MY_DATA"})

    assert just_logged_in.status_code == 200
    assert (later.status_code, refused.status_code) == (403, 403)
    assert "Sign in again" in text_of(later)
    user.refresh_from_db()
    assert user.account_status == AccountStatus.ACTIVE


def test_no_page_runs_a_script_of_its_own() -> None:
    """What is between script tags is data; code comes from files, as a strict policy wants it."""
    browser = signed_up()
    prove(browser)

    for name in [*PERSONAL, *PROVED]:
        page = browser.get(reverse(name)).content.decode()
        assert not re.search(r"<script(?![^>]*(src=|application/json))", page), name
        assert not re.search(r"<[^>]+\s(on[a-z]+|style)=", page), name


# --- Signing up -------------------------------------------------------------------------------


def test_signing_up_asks_for_each_text_with_a_way_to_read_it() -> None:
    page = text_of(Client().get(reverse("account_signup")))

    for kind in ConsentType:
        assert re.search(rf'name="consents-{kind.value}" value="1" required', page)
        assert f'href="/accounts/consents/{kind.value}/"' in page
    first, second = re.findall(r'<fieldset class="group">(.*?)</fieldset>', page)
    assert re.findall(r'name="consents-(\w+)"', first) == [
        "terms_of_service", "privacy_policy", "healthcare_consultation",
    ]  # fmt: skip
    assert re.findall(r'name="consents-(\w+)"', second) == [
        "medical_disclaimer", "emergency_care_limitation",
    ]  # fmt: skip


def test_without_every_consent_nobody_is_made_and_what_was_ticked_stays() -> None:
    some = {"consents-privacy_policy": "1"}

    answer = Client().post(
        reverse("account_signup"), {"email": ADDRESS, "password1": PASSWORD, **some}
    )

    assert answer.status_code == 200
    page = text_of(answer)
    assert re.search(r'name="consents-privacy_policy" value="1" required checked', page)
    assert len(re.findall(r'name="consents-\w+" value="1" required checked', page)) == 1
    assert "Read these texts, and tick every one of them." in page
    assert not User.objects.exists()
    assert deliver_mail() == []


@pytest.mark.parametrize("kind", ConsentType.values)
def test_everybody_can_read_a_text(kind: str) -> None:
    answer = Client().get(reverse("account-consent", args=[kind]))

    assert answer.status_code == 200
    assert f"<h1>{ConsentType(kind).label}</h1>" in text_of(answer)
    assert "Version 1" in text_of(answer)


def test_there_is_no_other_text() -> None:
    answer = Client().get(reverse("account-consent", args=["cookie_policy"]))

    assert answer.status_code == 404
    assert "Nothing is here" in text_of(answer)


# --- Who does not come in ---------------------------------------------------------------------


def log_in(browser: Client, login: str = ADDRESS, password: str = PASSWORD) -> Any:
    return browser.post(reverse("account_login"), {"login": login, "password": password})


def test_operators_are_shown_to_their_own_door() -> None:
    operator = make_operator("grace")
    browser = Client()

    answer = log_in(browser, operator.username)

    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:login"))
    assert browser.get(reverse("account-home")).status_code == 302
    assert not DeviceSession.objects.exists()


def test_an_operator_stays_logged_in_on_pages_that_are_for_nobody() -> None:
    operator = operator_browser()

    assert operator.get("/").status_code == 200
    assert operator.get("/nothing/").status_code == 404
    assert operator.get(reverse("account-consent", args=["privacy_policy"])).status_code == 200

    assert operator.get(reverse("admin:index")).status_code == 200


def test_whose_account_is_closed_is_told_so_and_stays_outside() -> None:
    browser = signed_up()
    user = owner_of(browser)
    with as_operator("test"):
        User.objects.filter(pk=user.pk).update(account_status=AccountStatus.DEACTIVATED)
    elsewhere = Client()

    answer = log_in(elsewhere)

    assert (answer.status_code, answer["Location"]) == (302, reverse("account_inactive"))
    assert "This account is inactive" in text_of(elsewhere.get(answer["Location"]))
    assert elsewhere.get(reverse("account-home")).status_code == 302
    assert browser.get(reverse("account-home")).status_code == 302


def test_who_tries_too_often_gets_a_page_that_says_so(settings: Any) -> None:
    signed_up()
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "login": "1/1h/ip"}
    browser = Client()

    log_in(browser, password="wrong")
    refused = log_in(browser)

    assert refused.status_code == 429
    assert "Too many attempts" in text_of(refused)
    assert 'class="brand"' in refused.content.decode()
    assert browser.get(reverse("account-home")).status_code == 302


# --- Profile ----------------------------------------------------------------------------------


def test_a_person_corrects_their_names() -> None:
    browser = signed_up()
    user = owner_of(browser)

    changed = browser.post(
        reverse("account-profile"),
        {"username": user.username, "full_name": "Ada Lovelace", "given_name": "Ada"},
        follow=True,
    )

    assert said(changed) == ["Your profile is changed."]
    with acting_as(user.pk):
        user.refresh_from_db()
        names = (user.full_name, user.given_name, user.family_name)
    assert names == ("Ada Lovelace", "Ada", None)


def test_a_username_that_is_taken_is_refused_beside_its_field() -> None:
    browser = signed_up()
    user = owner_of(browser)
    other = owner_of(signed_up("somebody.else@example.org"))

    answer = browser.post(reverse("account-profile"), {"username": other.username.upper()})

    assert answer.context["form"].errors == {"username": ["Choose another username."]}
    assert User.objects.get(pk=user.pk).username == user.username


# --- Devices ----------------------------------------------------------------------------------


def test_devices_are_named_and_this_one_is_told_apart() -> None:
    browser = signed_up()
    phone = Phone("Ada's phone")
    phone.log_in()

    page = text_of(browser.get(reverse("account-sessions")))

    assert 'Firefox on Linux</strong> <span class="badge good">This one</span>' in page
    assert "Ada&#x27;s phone</strong>" in page
    assert page.count(">This one<") == 1


def test_a_device_is_logged_out_from_another_one() -> None:
    browser, other = signed_up(), Client()
    log_in(other)
    login = DeviceSession.objects.latest("pk")

    answer = browser.post(reverse("account-session-revoke", args=[login.pk]), follow=True)

    assert said(answer) == ["That device is logged out."]
    assert other.get(reverse("account-home")).status_code == 302
    assert browser.get(reverse("account-home")).status_code == 200


def test_every_other_device_is_logged_out_at_once() -> None:
    browser, others = signed_up(), [Client(), Client()]
    for other in others:
        log_in(other)

    answer = browser.post(reverse("account-sessions-revoke-others"), follow=True)

    assert said(answer) == ["Every other device is logged out: 2 of them."]
    assert [other.get(reverse("account-home")).status_code for other in others] == [302, 302]
    assert browser.get(reverse("account-home")).status_code == 200


def test_nobody_logs_out_a_strangers_device() -> None:
    browser, stranger = signed_up(), signed_up("stranger@example.org")
    with acting_as(owner_of(browser).pk):
        login = DeviceSession.objects.visible_to(owner_of(browser).pk).get()

    answer = stranger.post(reverse("account-session-revoke", args=[login.pk]))

    assert answer.status_code == 404
    assert browser.get(reverse("account-home")).status_code == 200


# --- Consents ---------------------------------------------------------------------------------


def test_a_consent_is_withdrawn_and_given_again() -> None:
    browser = signed_up()
    user = owner_of(browser)
    kind = ConsentType.MEDICAL_DISCLAIMER

    withdrawn = browser.post(reverse("account-consent-withdraw", args=[kind]), follow=True)
    home = text_of(browser.get(reverse("account-home")))
    given = browser.post(
        reverse("account-consent-accept", args=[kind]), {"version": "1"}, follow=True
    )

    assert said(withdrawn) == ["You have withdrawn your consent: Medical disclaimer."]
    assert "Not agreed" in text_of(withdrawn)
    assert "There is a text you have not agreed to" in home
    assert said(given) == ["You have agreed: Medical disclaimer."]
    assert "Not agreed" not in text_of(given)
    with acting_as(user.pk):
        rows = Consent.objects.filter(type=kind).order_by("pk")
        assert [(row.given, row.source) for row in rows] == [
            (True, ConsentSource.REGISTRATION),
            (False, ConsentSource.PAGE),
            (True, ConsentSource.PAGE),
        ]


@pytest.mark.parametrize("version", ["2", "one", ""])
def test_nobody_agrees_to_a_version_that_was_not_shown(version: str) -> None:
    browser = signed_up()
    kind = ConsentType.MEDICAL_DISCLAIMER
    browser.post(reverse("account-consent-withdraw", args=[kind]))

    answer = browser.post(
        reverse("account-consent-accept", args=[kind]), {"version": version}, follow=True
    )

    sentence = said(answer)[-1]
    assert sentence in {
        "Show the current text and ask again: see errors.",
        "Say which version was shown.",
    }
    with acting_as(owner_of(browser).pk):
        assert not Consent.objects.filter(type=kind).latest("pk").given


# --- Tokens -----------------------------------------------------------------------------------

TOKEN = {"name": "Backup", "scopes": ["archives:read"], "days": "30"}


def test_a_token_is_made_and_its_secret_shown_this_once() -> None:
    browser = signed_up()
    user = owner_of(browser)
    prove(browser)

    made = browser.post(reverse("account-token-new"), TOKEN)
    again = text_of(browser.get(reverse("account-tokens")))

    found = re.search(r"cp_[\w-]{43}", made.content.decode())
    assert found
    assert "no-store" in made["Cache-Control"]
    assert found[0] not in again
    assert "Backup" in again
    with acting_as(user.pk):
        token = PersonalAccessToken.objects.get()
    assert token.scopes == [Scope.ARCHIVES_READ]
    assert token.expires_at is not None
    assert timedelta(days=29) < token.expires_at - timezone.now() <= timedelta(days=30)


def test_no_token_is_made_without_a_fresh_proof() -> None:
    browser = signed_up()

    answer = browser.post(reverse("account-token-new"), TOKEN)
    prove(browser)
    back = browser.get(reverse("account-tokens"))

    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert "You have none" in text_of(back)
    with acting_as(owner_of(browser).pk):
        assert not PersonalAccessToken.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"), [("name", ""), ("scopes", []), ("scopes", ["everything"]), ("days", "9999")]
)
def test_a_token_that_is_not_described_is_not_made(field: str, value: Any) -> None:
    browser = signed_up()
    prove(browser)

    answer = browser.post(reverse("account-token-new"), {**TOKEN, field: value})

    assert list(answer.context["form"].errors) == [field]
    with acting_as(owner_of(browser).pk):
        assert not PersonalAccessToken.objects.exists()


def test_tokens_last_as_long_as_the_house_allows(settings: Any) -> None:
    browser = signed_up()
    prove(browser)

    def offered() -> list[str]:
        return re.findall(
            r'<option value="(\d*)"', browser.get(reverse("account-token-new")).content.decode()
        )

    settings.TOKEN_LONGEST_DAYS = 90
    assert offered() == ["7", "30", "90"]
    settings.TOKEN_LONGEST_DAYS = 3
    assert offered() == ["3"]
    settings.TOKEN_LONGEST_DAYS = 0
    assert offered() == ["7", "30", "90", "180", "365", ""]


def test_a_token_is_revoked_by_its_owner_only() -> None:
    browser, stranger = signed_up(), signed_up("stranger@example.org")
    user = owner_of(browser)
    issue_token(user=user, name="Backup")
    with acting_as(user.pk):
        token = PersonalAccessToken.objects.get()
    path = reverse("account-token-revoke", args=[token.pk])

    refused = stranger.post(path)
    with acting_as(user.pk):
        assert PersonalAccessToken.objects.get().revoked_at is None
    revoked = browser.post(path, follow=True)

    assert refused.status_code == 404
    assert said(revoked) == ["The token Backup opens nothing any more."]
    with acting_as(user.pk):
        assert PersonalAccessToken.objects.get().revoked_at is not None


# --- Privacy ----------------------------------------------------------------------------------


def test_an_export_is_asked_for_once_at_a_time() -> None:
    browser = signed_up()
    user = owner_of(browser)
    prove(browser)

    asked = browser.post(reverse("account-export"), follow=True)
    again = browser.post(reverse("account-export"), follow=True)

    assert said(asked) == ["Your export is being made. It will be here in a while."]
    assert said(again) == ["Wait until the one before is ready."]
    with acting_as(user.pk):
        assert ExportRequest.objects.count() == 1


def test_an_export_that_is_not_ready_or_not_theirs_is_not_downloaded() -> None:
    browser, stranger = signed_up(), signed_up("stranger@example.org")
    for each in (browser, stranger):
        prove(each)
    browser.post(reverse("account-export"))
    with acting_as(owner_of(browser).pk):
        path = reverse("account-export-download", args=[ExportRequest.objects.get().pk])

    assert stranger.post(path).status_code == 404
    assert said(browser.post(path, follow=True))[-1].startswith("Wait until it is ready")
    with acting_as(owner_of(browser).pk):
        assert ExportRequest.objects.get().link_digest is None


def test_processing_is_restricted_and_goes_on_again() -> None:
    browser = signed_up()
    user = owner_of(browser)
    prove(browser)

    restricted = browser.post(reverse("account-restrict"), follow=True)
    user.refresh_from_db()
    since = user.processing_restricted_at
    lifted = browser.post(reverse("account-restriction-lift"), follow=True)
    user.refresh_from_db()

    assert since is not None
    assert "Work with them again" in text_of(restricted)
    assert user.processing_restricted_at is None
    assert said(lifted) == ["Your things are worked with again."]


def test_whoever_asks_to_be_erased_is_out_and_holds_what_takes_it_back() -> None:
    browser = signed_up()
    user = owner_of(browser)
    prove(browser)

    asked = browser.post(reverse("account-erasure"), {"confirmation": "DELETE_ALL_MY_DATA"})
    outside = browser.get(reverse("account-home"))
    found = re.search(r'id="secret">([\w-]+)<', asked.content.decode())
    assert found
    back = Client().post(reverse("account-erasure-cancel"), {"token": found[1]})

    assert "Your account is closed" in text_of(asked)
    assert "no-store" in asked["Cache-Control"]
    assert outside.status_code == 302
    assert "Welcome back" in text_of(back)
    user.refresh_from_db()
    assert user.account_status == AccountStatus.ACTIVE
    assert log_in(Client())["Location"] == reverse("account-home")


def test_nothing_is_erased_without_the_word_or_a_fresh_proof() -> None:
    browser = signed_up()
    path = reverse("account-erasure")

    unproved = browser.post(path, {"confirmation": "DELETE_ALL_MY_DATA"})
    prove(browser)
    misspelt = browser.post(path, {"confirmation": "delete all my data"})

    assert unproved["Location"].startswith("/accounts/reauthenticate/")
    assert misspelt.context["form"].errors == {
        "confirmation": ["Type DELETE_ALL_MY_DATA, exactly so."]
    }
    user = owner_of(browser)
    assert user.account_status == AccountStatus.ACTIVE
    with acting_as(user.pk):
        assert not ErasureRequest.objects.exists()
    assert browser.get(reverse("account-home")).status_code == 200


def test_a_code_that_is_nobodys_takes_nothing_back() -> None:
    answer = Client().post(reverse("account-erasure-cancel"), {"token": "x" * 43})

    assert answer.context["form"].errors == {"token": ["Nothing was cancelled."]}


# --- Forgery ----------------------------------------------------------------------------------


def strict(browser: Client) -> Client:
    """The same person's browser, led by another site: it has the cookies and no token."""
    forged = Client(enforce_csrf_checks=True)
    forged.cookies = browser.cookies
    return forged


def state_of(user: User) -> Any:
    with acting_as(user.pk):
        user.refresh_from_db()
        return (
            user.username,
            user.account_status,
            user.processing_restricted_at,
            user.password,
            DeviceSession.objects.going_on(timezone.now()).count(),
            Consent.objects.count(),
            ExportRequest.objects.count(),
            ErasureRequest.objects.count(),
            sorted(PersonalAccessToken.objects.values_list("name", "revoked_at")),
        )


def test_what_another_site_sends_changes_nothing() -> None:
    browser = signed_up()
    user = owner_of(browser)
    prove(browser)
    log_in(Client())
    issue_token(user=user, name="Backup")
    with acting_as(user.pk):
        token = PersonalAccessToken.objects.get()
        login = DeviceSession.objects.latest("pk")
    before = state_of(user)
    forms: dict[str, dict[str, Any]] = {
        reverse("account-profile"): {"username": "mallory"},
        reverse("account-session-revoke", args=[login.pk]): {},
        reverse("account-sessions-revoke-others"): {},
        reverse("account-consent-withdraw", args=["privacy_policy"]): {},
        reverse("account-consent-accept", args=["privacy_policy"]): {"version": "1"},
        reverse("account-token-new"): TOKEN,
        reverse("account-token-revoke", args=[token.pk]): {},
        reverse("account-export"): {},
        reverse("account-restrict"): {},
        reverse("account-erasure"): {"confirmation": "DELETE_ALL_MY_DATA"},
        reverse("account_logout"): {},
        reverse("account_change_password"): {
            "oldpassword": PASSWORD,
            "password1": "mallory's password",
            "password2": "mallory's password",
        },
    }

    answers = {path: strict(browser).post(path, form) for path, form in forms.items()}

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        forms, 403
    )
    assert "The form was too old" in text_of(answers[reverse("account-erasure")])
    assert state_of(user) == before
    assert browser.get(reverse("account-home")).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["account-sessions-revoke-others", "account-export", "account-restrict"],
)
def test_a_link_presses_no_button(name: str) -> None:
    browser = signed_up()
    prove(browser)
    before = state_of(owner_of(browser))

    answer = browser.get(reverse(name))

    assert answer.status_code == 302
    assert state_of(owner_of(browser)) == before


# --- Mail -------------------------------------------------------------------------------------


def test_a_mail_with_a_code_names_nobody() -> None:
    Phone().sign_up(full_name="Ada Lovelace")

    (message,) = deliver_mail()

    assert message.subject == "Your code for Commonplace"
    body = str(message.body)
    assert code_in(message) in body.splitlines()
    assert "Ada" not in body
    assert ADDRESS not in body
    assert "user-" not in body


def test_a_mail_about_a_change_says_what_and_when() -> None:
    phone = registered()
    phone.call(
        "post",
        "account/password/change",
        {"current_password": PASSWORD, "new_password": "another fine long password"},
    )

    (message,) = deliver_mail()

    assert message.subject == "Your password was changed"
    assert "the password of your account was changed" in str(message.body)
    assert f"{timezone.now():%Y}" in str(message.body)
    assert ADDRESS not in str(message.body)


# --- What pages make of what they are given -----------------------------------------------------

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 "


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        (f"{WINDOWS}Chrome/150.0 Safari/537.36", "Chrome on Windows"),
        (f"{WINDOWS}Chrome/150.0 Safari/537.36 Edg/150.0", "Edge on Windows"),
        (f"{IPHONE}Version/18.0 Mobile/15E148 Safari/604.1", "Safari on an iPhone"),
        ("Commonplace/1 (Ada's iPhone)", "iPhone"),
        ("curl/8", ""),
    ],
)
def test_a_browser_is_called_what_people_call_it(agent: str, name: str) -> None:
    assert browser_named(agent) == name


def test_a_text_is_shown_as_headings_paragraphs_and_lists() -> None:
    text = "# Terms\n\nOne\ntwo.\n \n- a\n- b\n  and c\n\n## <b>More</b>"

    assert blocks_of(text) == [
        Block("heading", ["Terms"]),
        Block("paragraph", ["One", "two."]),
        Block("list", ["a", "b and c"]),
        Block("heading", ["<b>More</b>"]),
    ]


@given(st.text(alphabet="ab#-* \n"))
def test_no_word_of_a_text_is_lost(text: str) -> None:
    shown = " ".join(block.text for block in blocks_of(text))

    assert re.findall("[ab]+", shown) == re.findall("[ab]+", text)
