"""A person's way through the account, in a browser: from signing up to being erased."""

import base64
import hmac
import re
import shutil
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from accounts.choices import ConsentType
from accounts.exporting import run_export
from accounts.models import ExportRequest, User
from accounts.tests.phones import ADDRESS, PASSWORD, code_in, deliver_mail
from common.tenancy import acting_as

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDTHS = (390, 1440)
OTHER_PASSWORD = "staple battery horse correct"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="There is no chromium on this machine's PATH."),
    pytest.mark.django_db(transaction=True, databases=["default", "operator"]),
]


@dataclass
class Person:
    """Somebody in front of a browser, who notices what is wrong with a page."""

    page: Page
    site: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.context.on("console", self._listen)
        self.page.context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def sees(self, title: str) -> None:
        """A page with this title, which fits on a desk and on a phone, and names its fields."""
        expect(self.page.get_by_role("heading", level=1)).to_have_text(title)
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            assert self.page.evaluate(TOO_WIDE) <= 0, (title, width)
        assert self.page.evaluate(NAMELESS) == [], title
        assert self.complaints == []

    def opens(self, path: str) -> None:
        self.page.goto(self.site + path)

    def follows(self, name: str) -> None:
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def presses(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def fills(self, **values: str) -> None:
        for name, value in values.items():
            self.field(name).fill(value)

    def field(self, name: str) -> Locator:
        return self.page.locator(f"[name={name}]:visible")

    def is_told(self, sentence: str) -> None:
        expect(self.page.get_by_role("status")).to_contain_text(sentence)

    def logs_out(self) -> None:
        self.presses("Log out")
        expect(self.page.get_by_role("link", name="Sign in")).to_be_visible()

    def logs_in(self, password: str = PASSWORD) -> None:
        self.opens("/accounts/login/")
        self.sees("Sign In")
        self.fills(login=ADDRESS, password=password)
        self.presses("Sign In")

    def proves_themselves(self, password: str = PASSWORD) -> None:
        self.sees("Confirm Access")
        self.fills(password=password)
        self.presses("Confirm")


# By how much the page is wider than its window.
TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"
# Fields and buttons that a screen reader could not name.
NAMELESS = """
[...document.querySelectorAll('input:not([type=hidden]), select, textarea, button')]
    .filter(one => !(one.labels?.length || one.textContent.trim() || one.ariaLabel))
    .map(one => one.outerHTML)
"""


@pytest.fixture
def chromium(monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    # Playwright keeps an event loop in this thread, which Django takes for one of our own.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def ada(chromium: Browser, live_server: LiveServer, settings: Any) -> Person:
    settings.SITE_URL = live_server.url
    settings.PASSKEY_ORIGINS = [live_server.url]
    # A code counts once: with it the next one counts too, and nobody waits for half a minute.
    settings.MFA_TOTP_TOLERANCE = 1
    return person_in(chromium, live_server.url)


def person_in(chromium: Browser, site: str) -> Person:
    page = chromium.new_context().new_page()
    page.set_default_timeout(20_000)
    return Person(page, site)


def totp(secret: str, steps_ahead: int = 0) -> str:
    """RFC 6238: six digits, of the present thirty seconds or of later ones."""
    counter = struct.pack(">Q", int(time.time()) // 30 + steps_ahead)
    digest = hmac.digest(base64.b32decode(secret), counter, "sha1")
    offset = digest[-1] & 15
    (number,) = struct.unpack(">I", digest[offset : offset + 4])
    return f"{(number & 0x7FFFFFFF) % 1_000_000:06}"


def test_a_person_keeps_an_account_from_sign_up_to_erasure(ada: Person, chromium: Browser) -> None:
    signs_up(ada)
    ada.logs_out()
    ada.logs_in()
    ada.is_told("You are signed in.")
    secret, recovery_codes = turns_on_totp(ada)
    ada.logs_out()
    logs_in_with(ada, totp(secret, steps_ahead=1))
    adds_a_passkey(ada)
    ada.logs_out()
    signs_in_with_the_passkey(ada)
    looks_around(ada)
    revokes_another_device(ada, person_in(chromium, ada.site), recovery_codes[0])
    changes_the_password(ada)
    makes_a_token(ada)
    takes_an_export(ada)
    asks_to_be_erased_and_takes_it_back(ada)


def signs_up(ada: Person) -> None:
    ada.opens("/")
    ada.sees("Commonplace")
    ada.follows("Sign up")
    ada.sees("Sign Up")
    ada.fills(email=ADDRESS, password1=PASSWORD, full_name="Ada Lovelace")
    for kind in ConsentType:
        ada.field(f"consents-{kind.value}").check()
    with ada.page.context.expect_page() as opened:
        ada.page.get_by_role("link", name=re.compile("Read Privacy policy")).click()
    expect(opened.value.get_by_role("heading", level=1)).to_have_text("Privacy policy")
    opened.value.close()
    ada.presses("Sign Up")
    ada.sees("Enter Email Verification Code")
    (message,) = deliver_mail()
    ada.fills(code=code_in(message))
    ada.presses("Confirm")
    ada.sees("Your account")
    expect(ada.page.get_by_text("Ada Lovelace")).to_be_visible()


def turns_on_totp(ada: Person) -> tuple[str, list[str]]:
    ada.follows("Second factors and passkeys")
    ada.sees("Two-Factor Authentication")
    ada.follows("Activate")
    ada.proves_themselves()
    ada.sees("Activate Authenticator App")
    secret = ada.page.locator("#authenticator_secret").input_value()
    ada.fills(code=totp(secret))
    ada.presses("Activate")
    ada.sees("Recovery Codes")
    codes = ada.page.locator("#recovery_codes").input_value().split()
    assert len(codes) == 10
    return secret, codes


def logs_in_with(ada: Person, code: str) -> None:
    ada.logs_in()
    ada.sees("Two-Factor Authentication")
    ada.fills(code=code)
    ada.presses("Sign In")
    ada.sees("Your account")


def adds_a_passkey(ada: Person) -> None:
    devtools = ada.page.context.new_cdp_session(ada.page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "automaticPresenceSimulation": True}
    options |= {"hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    ada.follows("Second factors and passkeys")
    ada.follows("Add")
    ada.proves_themselves()
    ada.sees("Add Security Key")
    ada.fills(name="Ada's laptop")
    ada.field("passwordless").check()
    ada.presses("Add")
    ada.sees("Two-Factor Authentication")
    ada.follows("Manage")
    ada.sees("Passkeys and security keys")
    expect(ada.page.locator(".rows > li")).to_contain_text(
        re.compile("Ada's laptop.*Passkey", re.DOTALL)
    )


def signs_in_with_the_passkey(ada: Person) -> None:
    ada.opens("/accounts/login/")
    ada.presses("Sign in with a passkey")
    ada.sees("Your account")


def looks_around(ada: Person) -> None:
    ada.follows("Profile")
    ada.sees("Profile")
    ada.fills(given_name="Ada")
    ada.presses("Save")
    ada.is_told("Your profile is changed.")
    ada.follows("E-mail addresses")
    ada.sees("Email Addresses")
    ada.follows("Subscription")
    ada.sees("Subscription")
    ada.follows("Consents")
    ada.sees("Consents")
    ada.presses("Withdraw Medical disclaimer")
    ada.is_told("You have withdrawn your consent: Medical disclaimer.")
    ada.presses("Agree to Medical disclaimer")
    ada.is_told("You have agreed: Medical disclaimer.")


def revokes_another_device(ada: Person, elsewhere: Person, recovery_code: str) -> None:
    logs_in_with(elsewhere, recovery_code)
    ada.follows("Devices")
    ada.sees("Devices")
    rows = ada.page.locator(".rows > li")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("This one")
    ada.presses("Log out Chrome on Linux")
    ada.is_told("That device is logged out.")
    expect(rows).to_have_count(1)
    elsewhere.opens("/accounts/")
    elsewhere.sees("Sign In")


def changes_the_password(ada: Person) -> None:
    ada.follows("Password")
    ada.sees("Change Password")
    ada.fills(oldpassword=PASSWORD, password1=OTHER_PASSWORD, password2=OTHER_PASSWORD)
    ada.presses("Change Password")
    ada.is_told("Password successfully changed.")


def makes_a_token(ada: Person) -> None:
    ada.follows("Access tokens")
    ada.sees("Access tokens")
    ada.follows("Make a token")
    ada.proves_themselves(OTHER_PASSWORD)
    ada.sees("Make a token")
    ada.fills(name="Backup")
    ada.page.get_by_label("Read and search archives").check()
    ada.presses("Make it")
    ada.sees("Your token")
    assert re.fullmatch(r"cp_[\w-]{43}", ada.page.locator("#secret").inner_text())
    ada.follows("I have it")
    ada.presses("Revoke Backup")
    ada.is_told("The token Backup opens nothing any more.")


def takes_an_export(ada: Person) -> None:
    ada.follows("Privacy")
    ada.sees("Privacy")
    ada.presses("Make an export")
    ada.is_told("Your export is being made.")
    user_id = User.objects.get().pk
    with acting_as(user_id):
        export_id = ExportRequest.objects.get().pk
    run_export(export_id, user_id)
    ada.page.reload()
    with ada.page.expect_download() as download:
        ada.presses("Download")
    with ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert archive.namelist()


def asks_to_be_erased_and_takes_it_back(ada: Person) -> None:
    ada.follows("Erase everything")
    ada.sees("Erase everything")
    ada.fills(confirmation="DELETE_ALL_MY_DATA")
    ada.presses("Erase everything")
    ada.sees("Your account is closed")
    token = ada.page.locator("#secret").inner_text()
    ada.logs_in(OTHER_PASSWORD)
    ada.sees("Account Inactive")
    ada.opens("/accounts/privacy/erasure/cancel/")
    ada.sees("Take an erasure back")
    ada.fills(token=token)
    ada.presses("Take it back")
    ada.sees("Welcome back")
    assert User.objects.get().is_active
