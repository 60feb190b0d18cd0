"""What a person is told of their account: their own events, newest first, and who did it."""

import json
import time
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.urls import reverse

from accounts.choices import Scope
from accounts.models import PersonalAccessToken, User
from accounts.services.access_tokens import issue_token, revoke_tokens
from accounts.tests.factories import PASSWORD, client_of, make_operator, make_user, operator_browser
from audit.choices import SecurityKind
from audit.models import Activity
from audit.recording import record
from common.context import request_context
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser
from tests.events import changes, security

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

URL = "/api/v1/activity/"
AGENT = "Lynx/2.9 of the test"
REASON = "Ticket 4711: ada asked for it"


@pytest.fixture
def ada() -> User:
    return make_user("ada")


def told(client: Any, **query: Any) -> list[dict[str, Any]]:
    answer = client.get(URL, query)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["event"] for row in rows]


def note_logins(user: User, count: int) -> None:
    for _ in range(count):
        record(SecurityKind.LOGIN_SUCCEEDED, user_id=user.pk, actor_id=user.pk)


# --- Whose events, in which order -------------------------------------------------------------


def test_each_sees_their_own_newest_first(ada: User) -> None:
    bob = make_user("bob")
    adas, bobs = client_of(ada, Scope.ACCOUNT_READ), client_of(bob)
    note_logins(ada, 1)

    rows = told(adas)

    assert names(rows) == [
        "session-activity", "accounts-personalaccesstoken-added", "user-registration",
    ]  # fmt: skip
    assert names(told(bobs)) == ["accounts-personalaccesstoken-added", "user-registration"]
    assert {row["id"] for row in rows} & {row["id"] for row in told(bobs)} == set()
    token = PersonalAccessToken.objects.get(user=ada)
    (change,) = changes("accounts_personalaccesstoken")[:1]
    assert rows[1] == {
        "id": str(change["id"]),
        "at": change["at"].isoformat().replace("+00:00", "Z"),
        "event": "accounts-personalaccesstoken-added",
        # By no request of theirs.
        "by": "house",
        "kind": "change",
        "subject": "accounts_personalaccesstoken",
        "row_id": str(token.pk),
        "operation": "INSERT",
        "changed": None,
        "old": None,
        "new": change["new"],
        "details": None,
        "request_id": "",
        "address": None,
        "agent": "",
    }


def test_an_event_carries_the_id_of_its_answer(ada: User) -> None:
    refused = client_of(ada, Scope.ARCHIVES_READ).get("/api/v1/account/")

    (row, *_) = told(client_of(ada), kind="access_refused")

    assert row["request_id"] == refused["X-Request-ID"] == refused.json()["request_id"]


@pytest.mark.parametrize("size", [1, 3, 4])
def test_pages_hold_each_event_of_both_kinds_once(ada: User, size: int) -> None:
    client = client_of(ada)
    for number in range(5):
        issue_token(user=ada, name=f"t{number}")
        note_logins(ada, 1 + number % 2)

    found, following = [], f"{URL}?page_size={size}"
    pages = 0
    while following:
        page = client.get(following).json()
        found += page["results"]
        following, pages = page["next"], pages + 1

    expected = [*changes(), *security()]
    assert len(expected) == 14
    assert [row["id"] for row in found] == sorted(
        (str(event["id"]) for event in expected), reverse=True
    )
    assert pages == -(-14 // size)
    # The kinds take turns, so that pages end between one and the other.
    kinds = [row["kind"] == "change" for row in found]
    assert sum(one != other for one, other in pairwise(kinds)) >= 9


def test_nobody_reads_on_with_a_strangers_page(ada: User) -> None:
    note_logins(ada, 3)
    following = client_of(ada).get(f"{URL}?page_size=1").json()["next"]

    page = client_of(make_user("bob")).get(following).json()

    assert {row["event"] for row in page["results"]} <= {"user-registration"}
    assert page["results"] == []


# --- Filters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"kind": "login_succeeded"}, ["session-activity"]),
        ({"kind": "login_failed"}, []),
        (
            {"kind": "change"},
            ["accounts-personalaccesstoken-changed", *["accounts-personalaccesstoken-added"] * 2,
             "user-registration"],
        ),
        ({"operation": "UPDATE"}, ["accounts-personalaccesstoken-changed"]),
        ({"operation": "DELETE"}, []),
        ({"subject": "accounts_user"}, ["user-registration"]),
        ({"subject": "nothing"}, []),
        ({"subject": "accounts_personalaccesstoken", "operation": "INSERT"},
         ["accounts-personalaccesstoken-added"] * 2),
        ({"row_id": "00000000-0000-0000-0000-000000000000"}, []),
        ({"at_from": "2999-01-01T00:00:00Z"}, []),
        ({"at_before": "2020-01-01T00:00:00Z"}, []),
    ],
)  # fmt: skip
def test_each_filter_leaves_what_it_says(
    ada: User, query: dict[str, str], expected: list[str]
) -> None:
    client = client_of(ada)
    issue_token(user=ada, name="old")
    with acting_as(ada.pk):
        revoke_tokens(token_ids=[PersonalAccessToken.objects.get(name="old").pk])
    note_logins(ada, 1)

    assert names(told(client, **query)) == expected


def test_filters_by_row_and_by_time_meet_exactly(ada: User) -> None:
    client = client_of(ada)
    note_logins(ada, 2)
    rows = told(client)
    middle = rows[1]

    assert [row["id"] for row in told(client, at_from=middle["at"])] == [
        row["id"] for row in rows[:2]
    ]
    assert [row["id"] for row in told(client, at_before=middle["at"])] == [
        row["id"] for row in rows[2:]
    ]
    assert names(told(client, row_id=str(ada.pk))) == ["user-registration"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "marzipan"), ("kind", "CHANGE"), ("operation", "insert"), ("row_id", "marzipan"),
        ("at_from", "yesterday"), ("at_before", "2026-13-01"), ("subject", "a\0b"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_is_refused(ada: User, name: str, value: str) -> None:
    client = client_of(ada)

    answer = client.get(URL, {name: value})

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_input"
    assert [error["field"] for error in answer.json()["errors"]] == [name]


@pytest.mark.parametrize("cursor", ["marzipan", "cD1tYXJ6aXBhbg=="])
def test_a_cursor_that_is_none_of_ours_is_refused(ada: User, cursor: str) -> None:
    answer = client_of(ada).get(f"{URL}?cursor={cursor}")

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        ((Scope.ACCOUNT_READ,), 200),
        ((Scope.ARCHIVES_READ,), 403),
        ((Scope.ARCHIVES_READ, Scope.ARCHIVES_WRITE), 403),
    ],
)
def test_it_needs_the_scope_of_the_account(
    ada: User, scopes: tuple[Scope, ...], status: int
) -> None:
    assert client_of(ada, *scopes).get(URL).status_code == status


# --- Who did it -------------------------------------------------------------------------------


def test_own_acts_are_ones_own_and_those_of_the_house_are_not(ada: User) -> None:
    client = client_of(ada)
    with as_operator("sweep: tests"):
        User.objects.filter(pk=ada.pk).update(account_status="suspended")
        User.objects.filter(pk=ada.pk).update(account_status="active")
    operator_browser("grace", reason=REASON).post(
        reverse("admin:accounts_user_change", args=[ada.pk]),
        {"role": "admin", "account_status": "active"},
    )
    gone = client_of(ada)
    with request_context(), acting_as(ada.pk):
        revoke_tokens(token_ids=[PersonalAccessToken.objects.latest("id").pk])
    assert gone.get(URL).status_code == 401
    # Whoever becomes an operator has no token left from before.
    assert client.get(URL).status_code == 401

    found = [(row["event"], row["by"]) for row in told(client_of(ada))]

    assert found == [
        ("accounts-personalaccesstoken-added", "house"),
        ("token-refused", "somebody"),
        ("token-refused", "somebody"),
        ("accounts-personalaccesstoken-changed", "you"),
        ("accounts-personalaccesstoken-added", "house"),
        ("accounts-personalaccesstoken-changed", "operator"),
        ("profile-change", "operator"),
        ("secrets-revealed", "operator"),
        ("operator-looked", "operator"),
        ("profile-change", "house"),
        ("profile-change", "house"),
        ("accounts-personalaccesstoken-added", "house"),
        # Nobody was anybody yet.
        ("user-registration", "somebody"),
    ]


def test_an_operators_look_tells_neither_who_nor_why_nor_where_from(ada: User) -> None:
    client = client_of(ada)
    make_user("bob")
    browser = operator_browser("grace", reason=REASON)
    browser.defaults |= {"REMOTE_ADDR": "198.51.100.9", "HTTP_USER_AGENT": AGENT}
    grace = User.objects.get(username="grace")
    change = browser.get(reverse("admin:accounts_user_change", args=[ada.pk]))
    listed = browser.get(reverse("admin:accounts_user_changelist"))
    acted = browser.post(
        reverse("admin:accounts_personalaccesstoken_changelist"),
        {
            "action": "revoke",
            "_selected_action": [str(PersonalAccessToken.objects.get(user=ada).pk)],
        },
    )
    assert [answer.status_code for answer in (change, listed, acted)] == [200, 200, 302]
    assert {row["actor_id"] for row in security("operator_looked")} == {grace.pk}
    # The token was the one that ada asked with.
    answer = client_of(ada).get(URL)

    rows = [row for row in answer.json()["results"] if row["by"] == "operator"]
    assert [(row["event"], row["subject"], row["row_id"], row["details"]) for row in rows] == [
        ("accounts-personalaccesstoken-changed", "accounts_personalaccesstoken",
         str(PersonalAccessToken.objects.filter(user=ada).earliest("id").pk), None),
        ("operator-acted", "accounts_personalaccesstoken", None,
         {"action": "revoke", "chosen": 1}),
        ("operator-looked", "accounts_user", None, {"listed": 3}),
        ("secrets-revealed", "accounts_user", str(ada.pk), {"fields": ["names", "addresses"]}),
        ("operator-looked", "accounts_user", str(ada.pk), {}),
    ]  # fmt: skip
    assert {(row["address"], row["agent"]) for row in rows} == {(None, "")}
    text = answer.content.decode()
    for word in (str(grace.pk), "grace", REASON, "4711", "198.51.100.9", AGENT):
        assert word not in text
    assert client.get(URL).status_code == 401


def test_ones_own_login_shows_its_address_and_program(ada: User) -> None:
    grace = make_operator("grace")
    browser = Client()
    for password in ("wrong", PASSWORD):
        browser.post(
            reverse("admin:login"),
            {"username": "grace", "password": password, "next": "/admin/"},
            REMOTE_ADDR="192.0.2.44",
            headers={"User-Agent": AGENT},
        )

    (row,) = told(client_of(grace), kind="login_succeeded")

    assert (row["event"], row["address"], row["agent"]) == (
        "session-activity", "192.0.2.44", AGENT,
    )  # fmt: skip
    assert told(client_of(ada), kind="login_succeeded") == []


def test_ones_own_login_is_ones_own(ada: User) -> None:
    operator_browser("grace")
    grace = User.objects.get(username="grace")

    (row,) = told(client_of(grace), kind="login_succeeded")

    assert row["by"] == "you"


def test_a_failed_login_was_somebodys_and_shows_where_from(ada: User) -> None:
    grace = make_operator("grace")
    Client().post(
        reverse("admin:login"),
        {"username": "grace", "password": "wrong"},
        REMOTE_ADDR="192.0.2.44",
        headers={"User-Agent": AGENT},
    )

    (row,) = told(client_of(grace), kind="login_failed")

    assert row["by"] == "somebody"
    assert (row["address"], row["agent"]) == ("192.0.2.44", AGENT)


def test_a_refused_token_shows_where_it_was_used(ada: User) -> None:
    stolen = client_of(ada)
    with acting_as(ada.pk):
        revoke_tokens(token_ids=[PersonalAccessToken.objects.get().pk])
    stolen.get(URL, REMOTE_ADDR="203.0.113.5", headers={"User-Agent": "curl/8"})

    (row,) = told(client_of(ada), kind="token_refused")

    assert (row["by"], row["address"], row["agent"]) == ("somebody", "203.0.113.5", "curl/8")


# --- What it costs ----------------------------------------------------------------------------


@pytest.mark.parametrize("events", [1, 40])
def test_a_page_costs_the_same_however_much_is_on_it(
    ada: User, django_assert_num_queries: Any, events: int
) -> None:
    client = client_of(ada)
    note_logins(ada, events)
    client.get(URL)

    with django_assert_num_queries(5):
        assert len(told(client)) == events + 2


PEOPLE, EVENTS = 1000, 50_000
# People take turns, over months that have partitions of their own and one that has none.
MANY = f"""
    SELECT n, at, overlay(audit_first_id(at)::text placing lpad(to_hex(n), 12, '0') from 25)::uuid
               AS id,
           ('00000000-0000-7000-8000-' || lpad((n % {PEOPLE})::text, 12, '0'))::uuid AS person
    FROM generate_series(1, {EVENTS}) AS n,
         LATERAL (SELECT now() + make_interval(mins => n * 2) - interval '35 days' AS at)
"""
PERSON = UUID("00000000-0000-7000-8000-000000000042")


def fill_stream() -> None:
    """Afterwards the stream has many events of both kinds, and the planner knows of them."""
    with connect_as_superuser() as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(f"CREATE TEMP TABLE many AS {MANY}".encode())
        superuser.execute(
            "INSERT INTO audit_change_event"
            " (id, at, table_name, row_id, operation, new, user_id, role, request_id, reason)"
            " SELECT id, at, 'dedup_import', id, 'INSERT', '{}', person, 'app', '', ''"
            f" FROM many WHERE n / {PEOPLE} % 2 = 0".encode()
        )
        superuser.execute(
            "INSERT INTO audit_security_event"
            " (id, at, kind, user_id, actor_id, role, request_id, reason, subject, details)"
            " SELECT id, at, 'login_succeeded', person, person, 'app', '', '', '', '{}'"
            f" FROM many WHERE n / {PEOPLE} % 2 = 1".encode()
        )
        superuser.execute(
            "INSERT INTO audit_security_origin (id, user_id, address, agent)"
            f" SELECT id, person, '192.0.2.1', 'x' FROM many WHERE n / {PEOPLE} % 2 = 1".encode()
        )
        for table in ("change_event", "security_event", "security_origin"):
            superuser.execute(f"ANALYZE audit_{table}".encode())


def scans_of(**wanted: Any) -> list[dict[str, Any]]:
    """How `app` finds the person's first page: the scans that met a row."""
    with acting_as(PERSON):
        rows = Activity.objects.visible_to(PERSON).filter(**wanted).order_by("-id")[:51]
        plan = json.loads(rows.explain(format="json", analyze=True))
    return [
        node
        for node in nodes_of(plan[0]["Plan"])
        if "Relation Name" in node and node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    ]


def nodes_of(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(below for child in node.get("Plans", []) for below in nodes_of(child))]


@pytest.mark.parametrize(
    "wanted",
    [{}, {"kind": "login_succeeded"}, {"subject": "dedup_import"}, {"operation": "INSERT"}],
    ids=str,
)
def test_a_page_is_found_by_indexes_among_many_events(wanted: dict[str, str]) -> None:
    fill_stream()

    scans = scans_of(**wanted)

    assert len({node["Relation Name"] for node in scans}) >= 3
    assert [node["Relation Name"] for node in scans if node["Node Type"] == "Seq Scan"] == []
    # What is read is the person's alone.
    read = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in scans
    )
    assert read <= 3 * EVENTS / PEOPLE


def test_a_page_among_many_events_is_quick() -> None:
    fill_stream()
    with connect_as_superuser() as superuser:
        superuser.execute(
            "INSERT INTO accounts_user (id, username, password, role, account_status, metadata)"
            " VALUES (%s, 'ada', '!', 'user', 'active', '{}')",
            [PERSON],
        )
    client = client_of(User.objects.get(pk=PERSON))
    client.get(URL)

    started = time.perf_counter()
    found = told(client, page_size=200)
    seconds = time.perf_counter() - started

    assert len(found) == EVENTS / PEOPLE + 2
    assert seconds < 1
