"""The operator's pages of the change stream: what they show, who is told, what they cost."""

import re
import time
from datetime import UTC, datetime, timedelta
from html import unescape
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from accounts.services.access_tokens import issue_token
from accounts.tests.factories import make_user, operator_browser
from audit.choices import SecurityKind
from audit.exporting import export_events
from audit.models import ChangeEvent, ExportBatch, SecurityEvent, SecurityOrigin
from audit.recording import record
from audit.tests.streams import export_everything
from audit.times import first_key, made_at
from common import context
from common.context import Origin, request_context
from common.ids import uuid7
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

REASON = "ticket 4711 of the person"
MOST_QUERIES = 14
# Of a proxy, which has ids of another version.
FOREIGN = "8E0A4F6C1D2B4C3A9F5E7D6C5B4A3921"


@pytest.fixture
def ada() -> User:
    return make_user("ada")


@pytest.fixture
def bob() -> User:
    return make_user("bob")


@pytest.fixture
def browser() -> Client:
    """A browser in which an operator has logged in."""
    return operator_browser("grace", reason=REASON)


def listed(browser: Client, label: str, **query: str) -> list[Any]:
    """The rows of a list."""
    answer = browser.get(reverse(f"admin:audit_{label}_changelist"), query)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


def page(browser: Client, label: str, **query: str) -> str:
    answer = browser.get(reverse(f"admin:audit_{label}_changelist"), query)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def form(browser: Client, row: Any) -> Any:
    answer = browser.get(reverse(f"admin:audit_{row._meta.model_name}_change", args=[row.pk]))
    assert answer.status_code == 200
    return answer


def change_of(user: User, operation: str = "INSERT") -> ChangeEvent:
    with as_operator("test"):
        return ChangeEvent.objects.get(
            table_name="accounts_user", row_id=user.pk, operation=operation
        )


def suspend(user: User) -> None:
    with as_operator("they asked for it"):
        User.objects.filter(pk=user.pk).update(account_status="suspended")


def looks() -> list[tuple[UUID | None, str, UUID | None, str]]:
    with as_operator("test"):
        rows = SecurityEvent.objects.filter(kind=SecurityKind.OPERATOR_LOOKED).order_by("id")
        return list(rows.values_list("user_id", "subject", "row_id", "reason"))


# --- Changes ----------------------------------------------------------------------------------


def test_changes_are_listed_with_their_names_and_links(ada: User, browser: Client) -> None:
    suspend(ada)

    shown = page(browser, "changeevent", person="ada")

    assert "user-registration" in shown
    assert "profile-change" in shown
    assert "they asked for it" in shown
    assert f'href="{reverse("admin:accounts_user_change", args=[ada.pk])}">ada</a>' in shown
    assert "as\N{NO-BREAK SPACE}operator" in shown


def test_the_newest_change_comes_first(ada: User, browser: Client) -> None:
    suspend(ada)

    rows = listed(browser, "changeevent", person="ada")

    assert [row.operation for row in rows] == ["UPDATE", "INSERT"]


def test_a_form_shows_what_a_change_changed_side_by_side(ada: User, browser: Client) -> None:
    suspend(ada)

    answer = form(browser, change_of(ada, "UPDATE"))

    first, *others = answer.context["columns"]
    assert (first.name, first.before, first.after, first.changed) == (
        "account_status",
        "active",
        "suspended",
        True,
    )
    assert not any(column.changed or column.before != column.after for column in others)
    assert answer.content.decode().count("changed\n</span>") == 1


def test_of_words_a_form_says_only_that_they_changed(ada: User, browser: Client) -> None:
    with acting_as(ada.pk):
        User.objects.filter(pk=ada.pk).update(metadata={"diary": "I baked bread"})

    answer = form(browser, change_of(ada, "UPDATE"))

    column = next(column for column in answer.context["columns"] if column.changed)
    assert (column.name, column.before, column.after) == ("metadata", "(not kept)", "(not kept)")
    assert "bread" not in answer.content.decode()


def test_of_a_person_without_an_account_the_id_is_shown(ada: User, browser: Client) -> None:
    with connect_as_superuser() as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM accounts_user WHERE id = %s", [ada.pk])

    shown = page(browser, "changeevent", person=str(ada.pk))

    assert f">{ada.pk}</span>" in shown
    assert reverse("admin:accounts_user_change", args=[ada.pk]) + '">ada' not in shown


def test_the_emptying_of_a_table_is_shown(browser: Client) -> None:
    with connect_as_superuser() as connection:
        connection.execute("TRUNCATE accounts_personalaccesstoken")

    (row,) = listed(
        browser, "changeevent", operation="TRUNCATE", table_name="accounts_personalaccesstoken"
    )

    assert "All rows of the table were deleted at once" in form(browser, row).content.decode()


# --- Filters and search -----------------------------------------------------------------------


@pytest.mark.parametrize("named", ["ada", "ADA", " ada "])
def test_a_person_is_found_by_name_and_nobody_else_is_shown(
    named: str, ada: User, bob: User, browser: Client
) -> None:
    rows = listed(browser, "changeevent", person=named)

    assert {row.user_id for row in rows} == {ada.pk}


def test_a_person_is_found_by_id(ada: User, bob: User, browser: Client) -> None:
    rows = listed(browser, "changeevent", person=str(bob.pk))

    assert {row.user_id for row in rows} == {bob.pk}


@pytest.mark.parametrize("named", ["nobody", "\u0000", "x" * 151, "0" * 32])
def test_somebody_unknown_has_no_events(named: str, ada: User, browser: Client) -> None:
    assert listed(browser, "changeevent", person=named) == []


def test_events_are_found_by_who_caused_them(ada: User, bob: User, browser: Client) -> None:
    with acting_as(ada.pk):
        issue_token(user=ada, name="laptop")

    rows = listed(browser, "changeevent", actor="ada")

    assert {row.actor_id for row in rows} == {ada.pk}
    assert {row.table_name for row in rows} == {"accounts_personalaccesstoken"}
    assert listed(browser, "changeevent", actor="bob") == []


def test_changes_are_found_by_table_and_operation(ada: User, browser: Client) -> None:
    issue_token(user=ada, name="laptop")
    suspend(ada)

    tokens = listed(browser, "changeevent", table_name="accounts_personalaccesstoken")
    updates = listed(browser, "changeevent", operation="UPDATE", person="ada")

    assert [row.operation for row in tokens] == ["INSERT"]
    assert [row.table_name for row in updates] == ["accounts_user"]


def test_the_tables_to_choose_from_are_those_that_are_captured(browser: Client) -> None:
    shown = page(browser, "changeevent")

    assert re.findall(r'<option value="(\w+_\w+)"', shown) == [
        "accounts_biometrickey",
        "accounts_consent",
        "accounts_datakey",
        "accounts_erasurerequest",
        "accounts_exportrequest",
        "accounts_personalaccesstoken",
        "accounts_subscription",
        "accounts_user",
        "dedup_artifact",
        "dedup_conversation",
        "dedup_import",
    ]


def test_events_are_found_by_time(ada: User, browser: Client) -> None:
    at = change_of(ada).at.astimezone(UTC)
    before, after = (at + timedelta(minutes=minutes) for minutes in (-2, 2))
    written = "%Y-%m-%dT%H:%M"

    def found(**query: datetime) -> bool:
        given = {name: f"{moment:{written}}" for name, moment in query.items()}
        return bool(listed(browser, "changeevent", person="ada", **given))

    assert found(**{"from": before})
    assert found(**{"from": before, "until": after})
    assert not found(**{"from": after})
    assert not found(until=before)


def test_a_time_that_is_none_finds_nothing_and_says_so(ada: User, browser: Client) -> None:
    shown = page(browser, "changeevent", **{"from": "yesterday"})

    assert "Enter a valid date/time." in shown
    assert "user-registration" not in shown


def test_security_events_are_found_by_kind_and_by_thing(ada: User, browser: Client) -> None:
    record(SecurityKind.SECRETS_REVEALED, user_id=ada.pk, subject="dedup_message")
    record(SecurityKind.LOGIN_FAILED, user_id=ada.pk)

    by_kind = listed(browser, "securityevent", kind="secrets_revealed")
    by_thing = listed(browser, "securityevent", subject="dedup_message")

    assert [row.subject for row in by_kind] == ["dedup_message"]
    assert [row.kind for row in by_thing] == ["secrets_revealed"]


def test_a_kind_that_is_none_finds_nothing(ada: User, browser: Client) -> None:
    record(SecurityKind.LOGIN_FAILED, user_id=ada.pk)

    assert listed(browser, "securityevent", kind="login_failed' OR 1=1") == []


@pytest.mark.parametrize("made_by", ["us", "others"])
def test_events_of_a_request_are_found_by_its_id(
    made_by: str, ada: User, bob: User, browser: Client
) -> None:
    request_key = str(uuid7()) if made_by == "us" else FOREIGN
    with request_context(request_key):
        suspend(ada)
        record(SecurityKind.LOGIN_FAILED, user_id=bob.pk)

    changes = listed(browser, "changeevent", q=f" {request_key} ")
    events = listed(browser, "securityevent", q=request_key)

    assert [(row.row_id, row.operation) for row in changes] == [(ada.pk, "UPDATE")]
    assert [(row.user_id, row.kind) for row in events] == [(bob.pk, "login_failed")]


def test_a_request_id_of_others_is_sought_as_far_back_as_the_filter_says(
    ada: User, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with request_context(FOREIGN):
        suspend(ada)
    in_a_year = datetime.now(UTC) + timedelta(days=365)
    begin = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M}"
    monkeypatch.setattr("audit.admin.events.timezone", SimpleNamespace(now=lambda: in_a_year))

    usual = listed(browser, "changeevent", q=FOREIGN)
    wide = listed(browser, "changeevent", q=FOREIGN, **{"from": begin})

    assert usual == []
    assert [row.operation for row in wide] == ["UPDATE"]


def test_events_of_a_row_are_found_by_its_id(ada: User, bob: User, browser: Client) -> None:
    suspend(ada)

    rows = listed(browser, "changeevent", q=str(ada.pk))

    assert [row.operation for row in rows] == ["UPDATE", "INSERT"]
    assert {row.row_id for row in rows} == {ada.pk}


def test_an_event_is_found_by_its_own_id(ada: User, browser: Client) -> None:
    event = change_of(ada)

    assert listed(browser, "changeevent", q=str(event.pk)) == [event]


@pytest.mark.parametrize("words", ["nothing like it", "%", "🍞"])
def test_words_that_are_no_id_find_nothing(words: str, ada: User, browser: Client) -> None:
    assert listed(browser, "changeevent", q=words) == []


def test_a_key_says_when_it_was_made() -> None:
    moment = datetime(2026, 11, 21, 14, 3, 5, 123000, tzinfo=UTC)

    assert made_at(uuid7()) is not None
    assert first_key(moment).int >> 80 == int(moment.timestamp() * 1000)
    assert made_at(UUID(int=first_key(moment).int | 7 << 76 | 0b10 << 62)) == moment
    assert made_at(UUID(int=4711)) is None


# --- Security events --------------------------------------------------------------------------


def test_a_security_event_shows_its_origin_while_it_is_kept(ada: User, browser: Client) -> None:
    token = context.origin.set(Origin("192.0.2.7", "<b>curl</b>"))
    record(SecurityKind.LOGIN_FAILED, user_id=ada.pk, details={"attempts": 3, "code": "wrong"})
    context.origin.reset(token)
    (event,) = listed(browser, "securityevent", kind="login_failed")

    shown = form(browser, event).content.decode()

    assert "192.0.2.7" in shown
    assert "&lt;b&gt;curl&lt;/b&gt;" in shown
    assert "attempts" in shown
    assert "192.0.2.7" in page(browser, "securityevent", kind="login_failed")


def test_without_an_origin_a_security_event_says_so(ada: User, browser: Client) -> None:
    record(SecurityKind.LOGIN_FAILED, user_id=ada.pk)
    with as_operator("test"):
        assert not SecurityOrigin.objects.filter(user_id=ada.pk).exists()
    (event,) = listed(browser, "securityevent", kind="login_failed")

    assert "Not known: it did not come over the network" in form(browser, event).content.decode()


# --- Files ------------------------------------------------------------------------------------


def test_files_of_the_stream_are_listed_and_shown(ada: User, browser: Client) -> None:
    (first, *_) = export_everything()

    shown = page(browser, "exportbatch")
    alone = form(browser, first).content.decode()

    assert first.stored_as in shown
    assert "Written" in shown
    assert bytes(first.sha256 or b"").hex() in alone
    assert bytes(first.head or b"").hex() in alone


def test_a_file_is_found_by_its_number(ada: User, bob: User, browser: Client) -> None:
    batches = export_everything()
    suspend(ada)
    batches += export_everything()

    assert listed(browser, "exportbatch", q=str(batches[-1].sequence)) == batches[-1:]


def test_a_file_that_is_planned_is_marked(ada: User, browser: Client) -> None:
    export_events()
    with connect_as_superuser() as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE audit_export_batch SET written_at = NULL, head = NULL, sha256 = NULL"
        )

    assert "Planned: the next export writes it" in page(browser, "exportbatch")


# --- Who may, and who is told -----------------------------------------------------------------


def test_nothing_of_the_stream_is_added_changed_or_deleted(ada: User, browser: Client) -> None:
    record(SecurityKind.LOGIN_FAILED, user_id=ada.pk)
    export_everything()
    with as_operator("test"):
        rows = [
            model._base_manager.order_by("id").first()
            for model in (ChangeEvent, SecurityEvent, ExportBatch)
        ]

    for row in rows:
        assert row is not None
        name, table = f"admin:audit_{row._meta.model_name}", row._meta.db_table
        # Refusals are events too.
        before = everything(table, up_to=row.pk)
        refusals = [
            browser.post(reverse(f"{name}_add"), {}),
            browser.post(reverse(f"{name}_change", args=[row.pk]), {"request_id": "other"}),
            browser.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}),
            browser.post(
                reverse(f"{name}_changelist"),
                {"action": "delete_selected", "_selected_action": [str(row.pk)]},
            ),
        ]

        assert [refusal.status_code for refusal in refusals[:3]] == [403, 403, 403], name
        assert everything(table, up_to=row.pk) == before


def everything(table: str, *, up_to: UUID) -> list[tuple[object, ...]]:
    with connect_as_superuser() as connection:
        return connection.execute(
            f"SELECT * FROM {table} WHERE id <= %s ORDER BY id", [up_to]
        ).fetchall()


@pytest.mark.parametrize("label", ["changeevent", "securityevent", "exportbatch"])
def test_without_a_reason_no_event_is_shown(label: str, ada: User) -> None:
    browser = operator_browser("grace", reason="")

    answer = browser.get(reverse(f"admin:audit_{label}_changelist"))

    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("admin:reason"))
    assert looks() == []


def test_a_list_leaves_a_look_at_each_person_in_it(ada: User, bob: User, browser: Client) -> None:
    page(browser, "changeevent", table_name="accounts_user")

    seen = looks()
    assert {person for person, *_ in seen} >= {ada.pk, bob.pk}
    assert len(seen) == len({person for person, *_ in seen})
    assert {look[1:] for look in seen} == {("audit_change_event", None, REASON)}


def test_a_list_of_one_person_leaves_no_look_at_others(
    ada: User, bob: User, browser: Client
) -> None:
    page(browser, "changeevent", person="bob")

    assert looks() == [(bob.pk, "audit_change_event", None, REASON)]


def test_a_form_leaves_a_look_at_its_person(ada: User, bob: User, browser: Client) -> None:
    event = change_of(ada)

    form(browser, event)

    assert looks() == [(ada.pk, "audit_change_event", event.pk, REASON)]


# --- Cost -------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["changeevent", "securityevent", "exportbatch"])
def test_a_list_costs_the_same_queries_however_many_rows_it_has(
    label: str, ada: User, browser: Client
) -> None:
    happen(2)
    page(browser, label)
    few = queries_of(browser, label)
    happen(12)

    many = queries_of(browser, label)

    assert len(many) == len(few)
    assert len(many) <= MOST_QUERIES


@pytest.mark.parametrize("label", ["changeevent", "securityevent", "exportbatch"])
def test_a_list_counts_nothing_however_long_it_is(label: str, ada: User, browser: Client) -> None:
    happen(2)

    counting = [
        query for query in queries_of(browser, label) if "COUNT(" in query and "audit_" in query
    ]

    assert counting == []


def test_the_pages_of_a_long_list_follow_each_other(browser: Client) -> None:
    for number in range(60):
        record(SecurityKind.LOGIN_FAILED, details={"number": number})

    numbers = [
        [
            row.details["number"]
            for row in listed(browser, "securityevent", kind="login_failed", p=p)
        ]
        for p in ("1", "2", "3")
    ]

    assert numbers == [list(range(59, 9, -1)), list(range(9, -1, -1)), []]


def happen(times: int) -> None:
    for _ in range(times):
        person = make_user()
        record(SecurityKind.LOGIN_FAILED, user_id=person.pk)
        export_everything()


def queries_of(browser: Client, label: str) -> list[str]:
    # What the role may do is asked once in a process.
    page(browser, label)
    with CaptureQueriesContext(connections["operator"]) as captured:
        page(browser, label)
    return [query["sql"] for query in captured.captured_queries]


# --- The reason in the header -----------------------------------------------------------------


def header(browser: Client, address: str = "/admin/audit/exportbatch/") -> str:
    return unescape(browser.get(address).content.decode())


def test_the_header_shows_the_reason_and_how_long_it_holds(browser: Client) -> None:
    shown = header(browser)

    assert f"{REASON} · 30 min" in shown
    assert 'href="/admin/reason/?next=%2Fadmin%2Faudit%2Fexportbatch%2F"' in shown


def test_the_minutes_that_a_reason_holds_go_by(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time() + 21.5 * 60
    monkeypatch.setattr("audit.admin.header.time", SimpleNamespace(time=lambda: later))

    shown = header(browser)

    assert f"{REASON} · 9 min" in shown


def test_the_header_says_that_no_reason_was_given() -> None:
    browser = operator_browser("grace", reason="")

    assert "No reason given" in header(browser, reverse("admin:index"))


def test_a_reason_in_the_header_is_text_and_cut_where_it_is_long() -> None:
    browser = operator_browser("grace", reason="<script>alert(1)</script> " + "and so on " * 20)

    shown = browser.get("/admin/audit/exportbatch/").content.decode()

    assert "<script>alert(1)" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt; and so on and… · 30 min" in shown


def test_the_account_menu_leads_to_another_reason(browser: Client) -> None:
    shown = header(browser)

    assert "Give another reason" in shown
    assert reverse("admin:password_change") in shown


def test_the_reason_page_leads_back_to_where_one_was(browser: Client) -> None:
    shown = header(browser, "/admin/reason/?next=%2Fadmin%2Faudit%2Fexportbatch%2F")

    assert 'href="/admin/reason/?next=%2Fadmin%2Faudit%2Fexportbatch%2F"' in shown


def test_who_is_not_logged_in_sees_no_reason() -> None:
    shown = header(Client(), reverse("admin:login"))

    assert "No reason given" not in shown
