"""The gate before people's things: no page without a reason, and no look without a trace."""

import re
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connections
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, reverse
from psycopg import sql

from accounts.choices import Role
from accounts.identity.middleware import HOUSE_COOKIE
from accounts.identity.sessions import SessionStore
from accounts.models import PersonalAccessToken, User
from accounts.services.access_tokens import issue_token
from accounts.tests.factories import PASSWORD, make_operator, make_user, operator_browser
from audit import recording
from audit.middleware import FREE_PAGES
from audit.reasons import SESSION_KEY
from common.tenancy import LONGEST_REASON, acting_as, as_operator
from common.tests.connections import connect_as_superuser
from tests.events import changes, security, values
from tests.population import SESSION, populate

pytestmark = pytest.mark.django_db(
    transaction=True,
    databases=["default", "operator", "owner", "metrics"],
)

REASON = "Ticket 4711: ada asked for it"
MODELS = {f"{m._meta.app_label}_{m._meta.model_name}": m for m in admin.site._registry}


def names_of(patterns: list[URLPattern | URLResolver]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from names_of(pattern.url_patterns)
        elif pattern.name is not None:
            yield pattern.name


PAGES = sorted(set(names_of(admin.site.urls[0])) - FREE_PAGES)
FREE = sorted(name for name in FREE_PAGES if name is not None)


def row_of(model: type[Model]) -> Model:
    with as_operator("test"):
        found = model._base_manager.using("operator").first()
    assert found is not None, f"{model.__name__} has no row: tests/population.py makes one"
    return found


def address_of(page: str) -> str:
    """Where the page is, for a row of its model if it shows one."""
    if page == "view_on_site":
        with as_operator("test"):
            kind = ContentType.objects.get_for_model(User)
        return reverse("admin:view_on_site", args=[kind.pk, row_of(User).pk])
    if page == "autocomplete":
        asked = "app_label=accounts&model_name=personalaccesstoken&field_name=user&term=a"
        return f"{reverse('admin:autocomplete')}?{asked}"
    if page == "search":
        return f"{reverse('admin:search')}?s=ada"
    if page == "app_list":
        return reverse("admin:app_list", args=["accounts"])
    model, _, suffix = page.rpartition("_")
    if model in MODELS and suffix in ("change", "delete", "history"):
        return reverse(f"admin:{page}", args=[row_of(MODELS[model]).pk])
    return reverse(f"admin:{page}")


def everything() -> dict[str, object]:
    """What stands in every table but the stream's."""
    with connect_as_superuser() as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            " AND NOT starts_with(tablename, 'audit_')"
        ).fetchall()
        return {
            str(name): connection.execute(
                sql.SQL("SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {} t").format(
                    sql.Identifier(str(name))
                )
            ).fetchone()
            for (name,) in tables
        }


@pytest.fixture
def ada(tmp_path: Path) -> User:
    """A person with something on every page."""
    return populate(tmp_path, "ada")


@pytest.fixture
def hasty() -> Client:
    """A browser in which an operator has logged in and said nothing."""
    return operator_browser("hasty", reason="")


def token_of(user: User) -> PersonalAccessToken:
    return PersonalAccessToken.objects.filter(user=user).earliest("id")


def revoke(browser: Client, *tokens: PersonalAccessToken) -> Any:
    return browser.post(
        reverse("admin:accounts_personalaccesstoken_changelist"),
        {"action": "revoke", "_selected_action": [str(token.pk) for token in tokens]},
    )


def age_reason(browser: Client, minutes: float) -> None:
    """As if the reason had been given so long ago."""
    with as_operator("test"):
        session = SessionStore(browser.cookies[HOUSE_COOKIE].value)
        session[SESSION_KEY] = {
            **session[SESSION_KEY], "given_at": time.time() - minutes * 60,
        }  # fmt: skip
        session.save()


# --- Without a reason -------------------------------------------------------------------------


def test_the_pages_are_those_of_every_model() -> None:
    assert len(MODELS) >= 7
    for model in MODELS:
        suffixes = {page.removeprefix(f"{model}_") for page in PAGES if page.startswith(model)}
        assert suffixes >= {"changelist", "add", "change", "delete", "history"}, model
    assert {"autocomplete", "search", "view_on_site"} <= set(PAGES)


def test_without_a_reason_every_page_asks_for_one_and_does_nothing(
    ada: User, hasty: Client
) -> None:
    before, told = everything(), changes()
    operator = User.objects.get(username="hasty")
    come_in = len(security())

    for page in PAGES:
        address = address_of(page)
        for answer in (hasty.get(address), hasty.head(address)):
            assert answer.status_code == 302, page
            asked = urlsplit(answer["Location"])
            assert asked.path == reverse("admin:reason")
            assert parse_qs(asked.query) == {"next": [address]}
        for verb in ("post", "put", "patch", "delete", "options"):
            answer = getattr(hasty, verb)(
                address, *([{"post": "yes", "_save": "1"}] if verb == "post" else [])
            )
            assert answer.status_code == 403, (verb, page)
            assert "Nothing was done" in answer.content.decode()

    assert everything() == before
    assert changes() == told
    noted = security()[come_in:]
    assert values(noted, "kind", "user_id", "actor_id", "role", "reason", "details") == [
        ("operator_refused", None, operator.pk, "operator", "admin", {"page": page})
        for page in PAGES
        for _ in range(5)
    ]


def test_pages_that_show_nothing_of_anybody_need_none(ada: User, hasty: Client) -> None:
    shown = {}
    for page in FREE:
        if page != "logout":
            shown[page] = hasty.get(address_of(page))
    shown["logout"] = hasty.post(reverse("admin:logout"))

    expected = dict.fromkeys(FREE, 200) | {"login": 302}
    assert {page: answer.status_code for page, answer in shown.items()} == expected
    for page, answer in shown.items():
        for word in (r"\bada\b", str(ada.pk), SESSION, "How are you"):
            assert not re.search(word, answer.content.decode()), (page, word)
    assert security("operator_looked") == []


def test_an_action_without_a_reason_revokes_nothing(ada: User, hasty: Client) -> None:
    answer = revoke(hasty, token_of(ada))

    assert answer.status_code == 403
    assert token_of(ada).revoked_at is None
    assert security("operator_acted") == []


def test_who_is_no_operator_never_comes_to_the_reason(ada: User) -> None:
    ada.set_password(PASSWORD)
    with acting_as(ada.pk):
        ada.save(update_fields=["password"])
    plain, demoted = Client(), operator_browser("hal", reason="")
    plain.post(reverse("admin:login"), {"username": "ada", "password": PASSWORD})
    with as_operator("demote"):
        User.objects.filter(username="hal").update(role=Role.USER)

    for client in (Client(), plain, demoted):
        for answer in (
            client.get(reverse("admin:reason")),
            client.post(reverse("admin:reason"), {"reason": REASON}),
            client.get(address_of("accounts_user_changelist")),
            client.post(address_of("accounts_user_changelist"), {"action": "revoke"}),
        ):
            assert answer.status_code == 302
            assert urlsplit(answer["Location"]).path == reverse("admin:login")
    assert security("reason_given", "operator_looked", "operator_refused") == []


# --- The reason -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("ticket 47", "Ensure this value has at least 10 characters (it has 9)."),
        ("  ticket 47   ", "Ensure this value has at least 10 characters (it has 9)."),
        ("x" * (LONGEST_REASON + 1), "Ensure this value has at most 300 characters (it has 301)."),
        ("", "This field is required."),
        (" " * 20, "This field is required."),
        ("ticket\0 4711 of ada", "Null characters are not allowed."),
    ],
)
def test_a_reason_that_is_none_is_refused_with_a_sentence(
    hasty: Client, reason: str, sentence: str
) -> None:
    answer = hasty.post(reverse("admin:reason"), {"reason": reason, "next": "/admin/"})

    assert answer.status_code == 200
    assert sentence in unescape(answer.content.decode())
    assert security("reason_given") == []
    assert hasty.get(address_of("accounts_user_changelist")).status_code == 302


@pytest.mark.parametrize("reason", ["x" * 10, "é" * LONGEST_REASON, "ten <b>&\n'\"; --"])
def test_a_reason_is_kept_as_it_was_given(hasty: Client, reason: str) -> None:
    answer = hasty.post(reverse("admin:reason"), {"reason": reason})

    operator = User.objects.get(username="hasty")
    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:index"))
    assert values(security("reason_given"), "actor_id", "role", "reason", "user_id") == [
        (operator.pk, "operator", reason, None)
    ]
    assert hasty.get(address_of("accounts_user_changelist")).status_code == 200
    assert {row["reason"] for row in security("operator_looked")} == {reason}


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)",
        "https:///evil.example", "http:evil.example", "\x08//evil.example", "/\t/evil.example",
        "ftp://testserver/", "",
    ],
)  # fmt: skip
def test_it_leads_to_no_other_host(hasty: Client, wanted: str) -> None:
    answer = hasty.post(reverse("admin:reason"), {"reason": REASON, "next": wanted})

    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:index"))


def test_it_leads_to_where_the_operator_wanted(ada: User, hasty: Client) -> None:
    wanted = f"{reverse('admin:accounts_user_changelist')}?q=a%22d%3Ca"
    asked = hasty.get(wanted)["Location"]
    page = hasty.get(asked)
    assert page.status_code == 200
    assert f'name="next" value="{wanted}"' in page.content.decode().replace("&quot;", '"')

    answer = hasty.post(reverse("admin:reason"), {"reason": REASON, "next": wanted})

    assert answer["Location"] == wanted
    assert hasty.get(answer["Location"]).status_code == 200


@pytest.mark.parametrize(("minutes", "status"), [(-0.2, 200), (0.2, 302), (10_000, 302)])
def test_a_reason_holds_for_a_while(ada: User, minutes: float, status: int) -> None:
    browser = operator_browser("grace", reason=REASON)
    assert browser.get(address_of("accounts_user_changelist")).status_code == 200
    looks = len(security("operator_looked"))

    age_reason(browser, settings.OPERATOR_REASON_MINUTES + minutes)

    assert browser.get(address_of("accounts_user_changelist")).status_code == status
    assert (len(security("operator_looked")) > looks) == (status == 200)


def test_a_form_that_is_sent_too_late_changes_nothing(ada: User) -> None:
    browser = operator_browser("grace", reason=REASON)
    age_reason(browser, settings.OPERATOR_REASON_MINUTES + 1)
    before, told = everything(), changes()

    answers = [
        revoke(browser, token_of(ada)),
        browser.post(
            reverse("admin:accounts_user_change", args=[ada.pk]),
            {"role": "superadmin", "account_status": "suspended"},
        ),
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert (everything(), changes()) == (before, told)
    assert values(security("operator_refused"), "details", "reason") == [
        ({"page": "accounts_personalaccesstoken_changelist"}, "admin"),
        ({"page": "accounts_user_change"}, "admin"),
    ]
    # With a reason the same form is done.
    browser.post(reverse("admin:reason"), {"reason": REASON})
    assert revoke(browser, token_of(ada)).status_code == 302
    assert token_of(ada).revoked_at is not None


def test_two_operators_reasons_do_not_mix(ada: User) -> None:
    browsers = {
        name: operator_browser(name, reason=f"Ticket of {name}") for name in ("grace", "hopper")
    }
    page = reverse("admin:accounts_user_change", args=[ada.pk])

    for name in ("grace", "hopper", "grace"):
        assert browsers[name].get(page).status_code == 200

    people = {name: User.objects.get(username=name).pk for name in browsers}
    assert values(security("operator_looked"), "actor_id", "reason") == [
        (people[name], f"Ticket of {name}") for name in ("grace", "hopper", "grace")
    ]


@pytest.mark.parametrize("leaves", [True, False])
def test_the_next_operator_at_a_browser_gives_their_own(ada: User, leaves: bool) -> None:  # noqa: FBT001 - a case
    browser = operator_browser("grace", reason=REASON)
    make_operator("hopper")
    if leaves:
        browser.post(reverse("admin:logout"))

    browser.post(
        reverse("admin:login"), {"username": "hopper", "password": PASSWORD, "next": "/admin/"}
    )

    page = address_of("accounts_user_changelist")
    assert browser.get(page)["Location"].startswith(reverse("admin:reason"))
    assert security("operator_looked") == []


# --- With a reason ----------------------------------------------------------------------------


def test_with_a_reason_every_page_opens_and_its_looks_are_noted(ada: User) -> None:
    browser = operator_browser("grace", reason=REASON)
    grace = User.objects.get(username="grace")
    opened = {"changelist": 200, "change": 200, "history": 200, "add": 403, "delete": 403}

    for model, kind in MODELS.items():
        for suffix, status in opened.items():
            before = len(security("operator_looked"))
            row = row_of(kind)
            answer = browser.get(address_of(f"{model}_{suffix}"))
            assert answer.status_code == status, (model, suffix)
            noted = security("operator_looked")[before:]
            for look in noted:
                assert (look["actor_id"], look["role"], look["reason"], look["request_id"]) == (
                    grace.pk, "operator", REASON, answer["X-Request-ID"],
                )  # fmt: skip
                assert look["subject"] == kind._meta.db_table
            owner = row.pk if isinstance(row, User) else getattr(row, "user_id", None)
            if suffix in ("change", "history") and owner is not None:
                assert (owner, row.pk) in values(noted, "user_id", "row_id"), (model, suffix)
            if suffix == "changelist" and owner is not None:
                assert {look["row_id"] for look in noted} == {None}
                assert owner in {look["user_id"] for look in noted}, model


def test_a_list_of_many_owners_tells_each_of_them_in_one_statement() -> None:
    people = [make_user(f"person-{number}") for number in range(12)]
    for user in people:
        for name in ("laptop", "phone"):
            issue_token(user=user, name=name)
    browser = operator_browser("grace", reason=REASON)
    came_in = len(security())

    with CaptureQueriesContext(connections["operator_trace"]) as queries:
        answer = browser.get(reverse("admin:accounts_personalaccesstoken_changelist"))

    assert answer.status_code == 200
    assert len(queries) == 1
    noted = security()[came_in:]
    assert {row["user_id"] for row in noted} == {user.pk for user in people}
    assert len(noted) == len(people)
    assert {(row["kind"], row["subject"], row["row_id"]) for row in noted} == {
        ("operator_looked", "accounts_personalaccesstoken", None)
    }
    assert [row["details"] for row in noted] == [{"listed": 24}] * len(people)


def test_only_those_are_told_whose_rows_were_listed(ada: User) -> None:
    make_user("bob")
    browser = operator_browser("grace", reason=REASON)

    browser.get(reverse("admin:accounts_user_changelist"), {"q": "bob"})
    browser.get(reverse("admin:accounts_user_changelist"), {"q": "no such person"})

    bob = User.objects.get(username="bob")
    # That there is nobody of the name is seen too.
    assert values(security("operator_looked"), "user_id", "details") == [
        (bob.pk, {"listed": 1}), (None, {"listed": 0}),
    ]  # fmt: skip


def test_no_page_names_people_to_whoever_completes_a_word(ada: User) -> None:
    browser = operator_browser("grace", reason=REASON)

    answer = browser.get(address_of("autocomplete"))

    assert answer.status_code == 404
    assert "ada" not in answer.content.decode()
    assert security("operator_looked") == []


def test_a_search_over_the_site_shows_nobodys_things(ada: User) -> None:
    browser = operator_browser("grace", reason=REASON)

    for more in ("", "&extended=1"):
        answer = browser.get(f"{address_of('search')}{more}")
        assert answer.status_code == 200
        assert str(ada.pk) not in answer.content.decode()
        assert SESSION not in answer.content.decode()


def test_a_row_that_is_not_there_is_no_look(ada: User) -> None:
    browser = operator_browser("grace", reason=REASON)

    answer = browser.get(reverse("admin:accounts_user_change", args=[UUID(int=0)]))

    assert answer.status_code == 302
    assert security("operator_looked") == []


def test_the_reason_reaches_everything_that_an_action_changes(ada: User) -> None:
    bob = make_user("bob")
    issue_token(user=bob, name="phone")
    browser = operator_browser("grace", reason=REASON)
    grace = User.objects.get(username="grace")
    before = len(changes())

    answer = revoke(browser, token_of(ada), token_of(bob))

    assert answer.status_code == 302
    noted = changes()[before:]
    assert values(noted, "table_name", "row_id", "user_id", "changed") == [
        ("accounts_personalaccesstoken", token_of(user).pk, user.pk, ["revoked_at"])
        for user in (ada, bob)
    ]
    acted = security("operator_acted")
    assert {row["user_id"] for row in acted} == {ada.pk, bob.pk}
    assert {str(row["details"]) for row in acted} == {"{'action': 'revoke', 'chosen': 2}"}
    assert set(values([*noted, *acted], "actor_id", "role", "reason", "request_id")) == {
        (grace.pk, "operator", REASON, answer["X-Request-ID"])
    }


def test_everybody_is_told_of_an_action_on_many() -> None:
    people = make_people(1200)
    browser = operator_browser("grace", reason=REASON)

    answer = browser.post(
        reverse("admin:accounts_personalaccesstoken_changelist"),
        {
            "action": "revoke",
            "select_across": "1",
            "_selected_action": [str(PersonalAccessToken.objects.latest("id").pk)],
        },
    )

    assert answer.status_code == 302
    told = values(security("operator_acted"), "user_id", "details")
    assert sorted(user_id for user_id, _ in told) == sorted(people)
    assert {str(details) for _, details in told} == {"{'action': 'revoke', 'chosen': 1200}"}
    assert not PersonalAccessToken.objects.filter(revoked_at=None).exists()


def make_people(number: int) -> list[UUID]:
    """The ids of so many people with a token each."""
    users = [User(username=f"person-{at}") for at in range(number)]
    with as_operator("test"):
        User.objects.bulk_create(users)
        PersonalAccessToken.objects.bulk_create(
            PersonalAccessToken(
                user=user,
                name="token",
                digest=user.pk.bytes * 2,
                hint="cp_x",
                scopes=["account:read"],
            )
            for user in users
        )
    return [user.pk for user in users]


def test_the_reason_reaches_a_change_by_a_form(ada: User) -> None:
    browser = operator_browser("grace", reason=REASON)
    grace = User.objects.get(username="grace")
    before = len(changes())

    answer = browser.post(
        reverse("admin:accounts_user_change", args=[ada.pk]),
        {"role": "user", "account_status": "suspended"},
    )

    assert answer.status_code == 302
    said = (grace.pk, "operator", REASON, answer["X-Request-ID"])
    assert values(changes()[before:], "name", "actor_id", "role", "reason", "request_id") == [
        ("profile-change", *said),
        # Whose account is closed has no token left.
        ("accounts-personalaccesstoken-changed", *said),
    ]


# --- Without a trace --------------------------------------------------------------------------


class NoTrace:
    """Connections of which none can be had."""

    def __getitem__(self, alias: str) -> Any:
        raise OperationalError("the trace is away")


@pytest.fixture
def traceless(ada: User, monkeypatch: pytest.MonkeyPatch) -> Client:
    browser = operator_browser("grace", reason=REASON)
    browser.raise_request_exception = False
    monkeypatch.setattr(recording, "connections", NoTrace())
    return browser


def test_without_a_trace_nothing_is_shown(ada: User, traceless: Client) -> None:
    for model, kind in MODELS.items():
        row = row_of(kind)
        if not isinstance(row, User) and getattr(row, "user_id", None) is None:
            # It belongs to the house.
            continue
        for suffix in ("changelist", "change", "history"):
            answer = traceless.get(address_of(f"{model}_{suffix}"))
            assert answer.status_code == 500, (model, suffix)
            assert "ada" not in answer.content.decode()
            assert str(row.pk) not in answer.content.decode()
    assert security("operator_looked") == []


def test_without_a_trace_nothing_is_done(ada: User, traceless: Client) -> None:
    before, told = everything(), changes()

    answers = [
        revoke(traceless, token_of(ada)),
        traceless.post(
            reverse("admin:accounts_user_change", args=[ada.pk]),
            {"role": "superadmin", "account_status": "active"},
        ),
    ]

    assert [answer.status_code for answer in answers] == [500, 500]
    assert (everything(), changes()) == (before, told)


def test_without_a_trace_a_login_still_works(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    make_operator("hopper")
    monkeypatch.setattr(recording, "connections", NoTrace())

    answer = Client().post(
        reverse("admin:login"), {"username": "hopper", "password": PASSWORD, "next": "/admin/"}
    )

    assert answer.status_code == 302
