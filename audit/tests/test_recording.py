"""What happened is noted outside the transaction that it happened in, and where from apart."""

import json
import logging
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, transaction
from django.http import HttpRequest
from django.test import RequestFactory

from accounts.models import User
from accounts.tests.factories import make_user
from audit.choices import SecurityKind
from audit.middleware import OriginMiddleware, origin_of
from audit.models import Activity, SecurityEvent, SecurityOrigin
from audit.recording import record, record_for_each
from audit.tests.streams import export_everything, files_of_stream
from common import context
from common.ids import uuid7
from common.tenancy import acting_as, as_operator

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

KIND = SecurityKind.DATA_EXPORTED


def events() -> list[SecurityEvent]:
    with as_operator("test"):
        return list(SecurityEvent.objects.order_by("id"))


def origins() -> list[tuple[str | None, str]]:
    with as_operator("test"):
        return list(SecurityOrigin.objects.order_by("id").values_list("address", "agent"))


def test_an_event_stays_although_its_request_is_rolled_back() -> None:
    ada = make_user("ada")

    with acting_as(ada.pk):
        User.objects.filter(pk=ada.pk).update(metadata={"a": 1})
        record(KIND, user_id=ada.pk, details={"messages": 3})
        transaction.set_rollback(True)

    (event,) = events()
    assert (event.kind, event.user_id, event.details) == (KIND, ada.pk, {"messages": 3})
    ada.refresh_from_db()
    assert ada.metadata == {}


def test_an_event_says_who_in_which_request_and_why() -> None:
    ada, operator = make_user("ada"), uuid7()

    with context.request_context() as first:
        context.person_id.set(ada.pk)
        record(KIND, user_id=ada.pk, subject="dedup_conversation", row_id=operator)
    with context.request_context() as second, as_operator("ticket 7", operator):
        record(SecurityKind.OPERATOR_LOOKED, user_id=ada.pk)
    record(SecurityKind.LOGIN_FAILED)

    by_ada, by_operator, by_nobody = events()
    assert (by_ada.actor_id, by_ada.role, by_ada.request_id) == (ada.pk, "app", first)
    assert (by_ada.subject, by_ada.row_id) == ("dedup_conversation", operator)
    assert (by_operator.actor_id, by_operator.role) == (operator, "operator")
    assert (by_operator.request_id, by_operator.reason) == (second, "ticket 7")
    assert (by_nobody.user_id, by_nobody.actor_id, by_nobody.request_id) == (None, None, "")


def test_one_thing_done_to_many_is_an_event_for_each() -> None:
    people = [make_user().pk for _ in range(3)]

    record_for_each(SecurityKind.OPERATOR_LOOKED, people, required=True)
    record_for_each(SecurityKind.OPERATOR_LOOKED, [])

    assert [event.user_id for event in events()] == people


UNWRITABLE: list[dict[str, Any]] = [
    {"details": {"wish": "my secret wish"}},
    {"details": {"wish": "my secret\0wish"}},
    {"details": {"wish": "my secret \ud800"}},
    {"details": {"secret": float("nan")}},
    {"details": {"secret": object()}},
    {"subject": "my secret subject " * 10},
    {"row_id": "my secret row"},
    {"kind": "my secret kind"},
]


@pytest.mark.parametrize("values", UNWRITABLE)
def test_what_cannot_be_written_stops_nothing_and_is_logged_without_the_values(
    values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    ada = make_user("ada")
    given = {"kind": KIND, "user_id": ada.pk, **values}

    with acting_as(ada.pk):
        record(given.pop("kind"), **given)
        User.objects.filter(pk=ada.pk).update(metadata={"a": 1})

    assert events() == []
    ada.refresh_from_db()
    assert ada.metadata == {"a": 1}
    (line,) = [line for line in caplog.records if line.levelno == logging.ERROR]
    assert "could not be written" in line.getMessage()
    told = logging.Formatter().format(line).replace("my secret kind", "")
    assert "secret" not in told
    record(KIND, user_id=ada.pk)
    assert len(events()) == 1


def test_what_must_be_noted_stops_what_cannot_be() -> None:
    ada = make_user("ada")

    with pytest.raises(DatabaseError), transaction.atomic():
        record_for_each(KIND, [ada.pk], details={"wish": "a wish"}, required=True)

    assert events() == []


def test_where_a_request_came_from_is_in_one_table_only() -> None:
    ada = make_user("ada")
    token = context.origin.set(context.Origin("192.0.2.77", "a strange browser"))
    record(SecurityKind.LOGIN_SUCCEEDED, user_id=ada.pk, actor_id=ada.pk)
    with as_operator("ticket 7", operator := uuid7()):
        record(SecurityKind.OPERATOR_LOOKED, user_id=ada.pk)
    context.origin.reset(token)
    record(SecurityKind.LOGGED_OUT, user_id=ada.pk)
    export_everything()

    assert origins() == [("192.0.2.77", "a strange browser")] * 2
    written = b"".join(file.read_bytes() for file in files_of_stream())
    assert b"login" in written or b"session-activity" in written
    assert b"192.0.2.77" not in written
    assert b"browser" not in written
    kept = json.dumps([[str(value) for value in vars(event).values()] for event in events()])
    assert "192.0.2.77" not in kept
    with acting_as(ada.pk):
        shown = list(
            Activity.objects.exclude(kind="change").order_by("id").values_list("kind", "address")
        )
    # Where an operator sat is for the house to know.
    assert shown == [
        ("login_succeeded", "192.0.2.77"),
        ("operator_looked", None),
        ("logged_out", None),
    ]
    with as_operator("test"):
        assert SecurityOrigin.objects.order_by("id").last().user_id == operator  # type: ignore[union-attr]


def request_from(address: str, **headers: str) -> HttpRequest:
    return RequestFactory().get("/", REMOTE_ADDR=address, headers=headers)


@pytest.mark.parametrize(
    ("behind_proxy", "forwarded", "address"),
    [
        (False, "203.0.113.9", "198.51.100.1"),
        (False, None, "198.51.100.1"),
        (True, "203.0.113.9", "203.0.113.9"),
        (True, "10.0.0.1, 203.0.113.9", "203.0.113.9"),
        (True, "spoofed, 203.0.113.9", "203.0.113.9"),
        (True, "203.0.113.9, garbage", ""),
        (True, "", "198.51.100.1"),
        (True, None, "198.51.100.1"),
        (True, "2001:DB8::1", "2001:db8::1"),
        (True, "203.0.113.9:5678", "203.0.113.9"),
        (True, "[2001:db8::1]:443", "2001:db8::1"),
        (True, "[2001:db8::1]", "2001:db8::1"),
        (True, "203.0.113.9:port", ""),
        (True, "::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
def test_a_forwarded_address_is_believed_behind_a_proxy_only(
    settings: Any, *, behind_proxy: bool, forwarded: str | None, address: str
) -> None:
    settings.BEHIND_PROXY = behind_proxy
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}

    assert origin_of(request_from("198.51.100.1", **headers)).address == address


@pytest.mark.parametrize(
    ("address", "agent", "kept"),
    [
        ("", "a browser", [(None, "a browser")]),
        ("", "", []),
        ("no address", "a browser", [(None, "a browser")]),
        ("192.0.2.7:8080", "", [("192.0.2.7", "")]),
        ("192.0.2.7'; DROP TABLE x", "", []),
        ("\0", "", []),
        ("fe80::1%eth0", "", [("fe80::1", "")]),
        ("::ffff:192.0.2.7", "", [("192.0.2.7", "")]),
        ("192.0.2.7", "x" * 5000, [("192.0.2.7", "x" * 300)]),
        ("192.0.2.7", "é" * 400, [("192.0.2.7", "é" * 300)]),
        ("192.0.2.7", "a\0browser", [("192.0.2.7", "abrowser")]),
        ("192.0.2.7", "a\ud800browser", [("192.0.2.7", "a?browser")]),
        ("192.0.2.7", "%s {} $1 '", [("192.0.2.7", "%s {} $1 '")]),
    ],
)
def test_whatever_a_client_says_of_itself_the_event_is_written(
    address: str, agent: str, kept: list[tuple[str | None, str]]
) -> None:
    def answer(request: HttpRequest) -> Any:
        record(SecurityKind.LOGIN_FAILED)

    request = request_from(address)
    request.META["HTTP_USER_AGENT"] = agent

    OriginMiddleware(answer)(request)

    assert len(events()) == 1
    assert origins() == kept
    assert context.origin.get() == context.Origin()


def test_an_event_of_an_unknown_person_is_shown_to_nobody() -> None:
    record(SecurityKind.LOGIN_FAILED)

    with acting_as(UUID(int=0)):
        assert Activity.objects.count() == 0
