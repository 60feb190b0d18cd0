"""Erasure: asked for, cancelled, carried out, and gone on with after a kill."""

import json
import re
from datetime import timedelta
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from allauth.account.models import EmailAddress
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import erasing, erasure_ledger
from accounts.choices import AccountStatus, ErasureStatus, SessionEnd
from accounts.models import (
    DeviceSession,
    Erasure,
    ErasureRequest,
    PersonalAccessToken,
    User,
)
from accounts.replaying import Replay, Returned, replay_erasures, who_returned
from accounts.services.erasures import CONFIRMATION, cancel_erasure, request_erasure
from accounts.services.sessions import Device, begin_session
from accounts.services.subscriptions import apply_purchase
from accounts.tasks import carry_out_erasures
from accounts.tests.factories import client_of, logged_in_client_of, make_user
from accounts.tests.purchases import purchase_of
from audit.choices import SecurityKind
from audit.models import SecurityEvent
from common.encryption.errors import DecryptionError, DestroyedKeyError
from common.errors import ConflictError
from common.ids import uuid7
from common.privacy import delete_files, what_is_left
from common.tenancy import acting_as, as_operator
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

ERASURE = "/api/v1/account/erasure/"
CANCEL = f"{ERASURE}cancel/"
RECEIPT = f"{ERASURE}receipt/"


def asked(user: User) -> tuple[ErasureRequest, str]:
    return request_erasure(user_id=user.pk, confirmation=CONFIRMATION)


def grace_over(user: User) -> None:
    with as_operator("test"):
        ErasureRequest.objects.filter(user=user).update(due_at=timezone.now())


def status_of(user: User) -> str:
    return str(User.objects.get(pk=user.pk).account_status)


def requests_of(user: User) -> list[str]:
    with as_operator("test"):
        return list(
            ErasureRequest.objects.filter(user=user).order_by("pk").values_list("status", flat=True)
        )


def left_of(user_id: UUID) -> dict[str, int]:
    with as_operator("test"):
        return what_is_left([user_id]).get(user_id, {})


def kinds_of(user: User) -> list[str]:
    with as_operator("test"):
        events = SecurityEvent.objects.filter(user_id=user.pk).order_by("pk")
        return list(events.values_list("kind", flat=True))


# --- Asking -----------------------------------------------------------------------------------


def test_whoever_says_the_word_is_closed_at_once_and_told_when_it_is_due() -> None:
    ada = make_user()
    tokens = client_of(ada)

    answer = logged_in_client_of(ada).post(ERASURE, {"confirmation": CONFIRMATION})

    said = answer.json()
    assert answer.status_code == 202
    assert answer["Cache-Control"] == "private, no-store"
    assert sorted(said) == [
        "cancelled_at", "completed_at", "due_at", "id", "requested_at", "status", "token",
    ]  # fmt: skip
    assert said["status"] == ErasureStatus.WAITING
    with as_operator("test"):
        request = ErasureRequest.objects.get()
        assert PersonalAccessToken.objects.filter(revoked_at=None).count() == 0
    days = request.due_at - request.requested_at
    assert abs(days - timedelta(days=settings.ERASURE_GRACE_DAYS)) < timedelta(minutes=1)
    assert bytes(request.token_digest) != said["token"].encode()
    assert status_of(ada) == AccountStatus.DEACTIVATED
    assert tokens.get("/api/v1/account/").status_code == 401
    assert SecurityKind.ERASURE_REQUESTED in kinds_of(ada)


@pytest.mark.parametrize("body", [{}, {"confirmation": "delete_all_my_data"}])
def test_without_the_word_nothing_happens(body: dict[str, str]) -> None:
    ada = make_user()

    answer = logged_in_client_of(ada).post(ERASURE, body)

    assert (answer.status_code, answer.json()["code"]) == (400, "confirmation_missing")
    assert (status_of(ada), requests_of(ada)) == (AccountStatus.ACTIVE, [])


def test_a_token_and_an_old_login_cannot_ask() -> None:
    ada = make_user()
    old = timezone.now() - timedelta(seconds=settings.FRESH_LOGIN_SECONDS + 1)
    clients = {
        "login_required": client_of(ada),
        "reauthentication_required": logged_in_client_of(ada, proved_at=old),
    }

    for code, client in clients.items():
        answer = client.post(ERASURE, {"confirmation": CONFIRMATION})

        assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert (status_of(ada), requests_of(ada)) == (AccountStatus.ACTIVE, [])


def test_of_many_who_ask_at_once_one_is_heard() -> None:
    ada = make_user()

    answers = at_once([lambda: asked(ada)] * 6)

    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [getattr(error, "code", error) for error in refused] == ["erasure_under_way"] * 5
    assert requests_of(ada) == [ErasureStatus.WAITING]


# --- Cancelling -------------------------------------------------------------------------------


def test_the_token_opens_the_account_again_and_no_login_is_needed() -> None:
    ada = make_user()
    _, token = asked(ada)

    answer = APIClient().post(CANCEL, {"token": token})

    assert answer.status_code == 204
    assert (status_of(ada), requests_of(ada)) == (AccountStatus.ACTIVE, [ErasureStatus.CANCELLED])
    assert logged_in_client_of(ada).get(ERASURE).json()["status"] == ErasureStatus.CANCELLED
    assert SecurityKind.ERASURE_CANCELLED in kinds_of(ada)


def test_a_wrong_token_and_a_used_one_cancel_nothing() -> None:
    ada = make_user()
    _, token = asked(ada)
    refused = APIClient().post(CANCEL, {"token": "guessed"})
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_erasure")
    assert status_of(ada) == AccountStatus.DEACTIVATED
    cancel_erasure(token=token)
    _, second = asked(User.objects.get(pk=ada.pk))

    assert APIClient().post(CANCEL, {"token": token}).status_code == 404

    assert requests_of(ada) == [ErasureStatus.CANCELLED, ErasureStatus.WAITING]
    assert status_of(ada) == AccountStatus.DEACTIVATED
    assert second != token


def test_when_the_grace_is_over_nothing_can_be_cancelled() -> None:
    ada = make_user()
    _, token = asked(ada)
    grace_over(ada)

    assert APIClient().post(CANCEL, {"token": token}).status_code == 404

    assert (status_of(ada), requests_of(ada)) == (
        AccountStatus.DEACTIVATED,
        [ErasureStatus.WAITING],
    )


def test_what_the_house_did_since_is_not_undone_by_cancelling() -> None:
    ada = make_user()
    _, token = asked(ada)
    with as_operator("test"):
        User.objects.filter(pk=ada.pk).update(account_status=AccountStatus.SUSPENDED)

    cancel_erasure(token=token)

    assert status_of(ada) == AccountStatus.SUSPENDED


# --- Carrying out -----------------------------------------------------------------------------


def test_before_it_is_due_and_once_it_is_cancelled_nothing_is_erased() -> None:
    ada, bob = make_user("ada"), make_user("bob")
    asked(ada)
    _, token = asked(bob)
    cancel_erasure(token=token)
    grace_over(bob)

    carry_out_erasures.apply(throw=True)

    assert requests_of(ada) == [ErasureStatus.WAITING]
    assert requests_of(bob) == [ErasureStatus.CANCELLED]
    assert set(User.objects.values_list("username", flat=True)) == {"ada", "bob"}


def test_the_user_stays_as_a_number_and_the_ledger_and_the_receipt_say_what_went() -> None:
    ada, bob = make_user("ada"), make_user("bob")
    client_of(ada), client_of(bob)
    _, token = asked(ada)
    assert APIClient().post(RECEIPT, {"token": token}).status_code == 404
    grace_over(ada)

    for _ in range(2):
        carry_out_erasures.apply(throw=True)

    gone = User.objects.get(pk=ada.pk)
    assert re.fullmatch(r"erased-[0-9a-f]{32}", gone.username)
    assert (gone.account_status, gone.metadata) == (AccountStatus.DELETED, {})
    assert not gone.has_usable_password()
    assert left_of(ada.pk) == {}
    assert left_of(bob.pk) == {"accounts_personalaccesstoken": 1, "accounts_user": 1}
    with as_operator("test"):
        (entry,) = Erasure.objects.all()
    assert entry.user_id == ada.pk
    assert entry.summary == {"accounts_personalaccesstoken": 1, "accounts_user": 1}
    receipt = APIClient().post(RECEIPT, {"token": token}).json()
    assert receipt["deleted"] == entry.summary
    assert receipt["user_id"] == str(ada.pk)
    assert {line["table"] for line in receipt["kept"]} >= {"audit_change_event"}
    assert receipt["signature"] == erasure_ledger.signature_of(receipt)
    assert receipt["signature"] != erasure_ledger.signature_of(receipt | {"user_id": str(bob.pk)})
    with default_storage.open(f"erasures/{ada.pk}.done.json") as file:
        assert json.load(file) == receipt
    assert default_storage.exists(f"erasures/{ada.pk}.json")
    assert kinds_of(ada).count(SecurityKind.PERSON_ERASED) == 2
    assert requests_of(ada) == [ErasureStatus.COMPLETED]


def test_the_receipt_goes_after_its_time_and_the_ledger_stays() -> None:
    ada = make_user()
    _, token = asked(ada)
    grace_over(ada)
    carry_out_erasures.apply(throw=True)
    with as_operator("test"):
        ErasureRequest.objects.update(receipt_until=timezone.now())

    carry_out_erasures.apply(throw=True)

    assert APIClient().post(RECEIPT, {"token": token}).status_code == 404
    with as_operator("test"):
        assert ErasureRequest.objects.get().receipt is None
        assert Erasure.objects.count() == 1


def test_nobody_changes_or_deletes_what_the_ledger_says() -> None:
    ada = make_user()
    asked(ada)
    grace_over(ada)
    carry_out_erasures.apply(throw=True)

    with pytest.raises(Exception, match="permission denied"), as_operator("test"):
        Erasure.objects.update(summary={})
    with pytest.raises(Exception, match="permission denied"), as_operator("test"):
        Erasure.objects.all().delete()


class Killed(BaseException):
    """As if the process had ended."""


@pytest.fixture
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was killed is followed at once."""
    monkeypatch.setattr(erasing, "PATIENCE", timedelta(0))


@pytest.mark.usefixtures("_patience")
@pytest.mark.parametrize(
    ("module", "place"),
    [
        (erasing, "destroy_keys"),
        (erasing, "delete_files"),
        (erasing, "blank_user"),
        (erasing, "complete"),
        (erasure_ledger, "signed_receipt"),
        (erasure_ledger, "record"),
    ],
)
def test_killed_anywhere_it_goes_on_and_ends_the_same(
    module: ModuleType, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = make_user()
    client_of(ada)
    _, token = asked(ada)
    grace_over(ada)

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, place, kill)
        with pytest.raises(Killed):
            erasing.carry_out_due()
    # Listed at once, whatever else was done.
    assert default_storage.exists(f"erasures/{ada.pk}.json")
    assert ada.pk in erasure_ledger.erased_by_files()
    carry_out_erasures.apply(throw=True)

    assert left_of(ada.pk) == {}
    receipt = APIClient().post(RECEIPT, {"token": token}).json()
    assert receipt["deleted"] == {"accounts_personalaccesstoken": 1, "accounts_user": 1}
    with as_operator("test"):
        assert Erasure.objects.get().summary == receipt["deleted"]


def test_what_another_worker_is_at_is_left_to_it() -> None:
    ada, bob = make_user(), make_user()
    for user in (ada, bob):
        asked(user)
        grace_over(user)
    first = erasing.claim_next(timezone.now())
    assert first is not None

    assert erasing.carry_out_due() == 1

    assert requests_of(ada) == [ErasureStatus.IN_PROGRESS]
    erasing.carry_out(first)
    assert erasing.carry_out_due() == 0
    assert {*requests_of(ada), *requests_of(bob)} == {ErasureStatus.COMPLETED}


@pytest.mark.usefixtures("_patience")
@pytest.mark.parametrize("problem", [OSError("no such disk"), ConflictError("reading")])
def test_one_that_fails_is_tried_again_and_stops_nobody_else(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob, carol = make_user(), make_user(), make_user()
    for user in (ada, bob):
        asked(user)
        grace_over(user)

    tried = []

    def fail(user_id: UUID) -> int:
        tried.append(user_id)
        if user_id == ada.pk:
            raise problem
        return delete_files(user_id)

    monkeypatch.setattr(erasing, "delete_files", fail)

    assert erasing.carry_out_due() == 1

    assert requests_of(ada) == [ErasureStatus.IN_PROGRESS]
    assert requests_of(bob) == [ErasureStatus.COMPLETED]
    asked(carol)
    grace_over(carol)
    # Whoever never was tried comes before whoever failed, however long that one has waited.
    assert erasing.carry_out_due() == 1
    assert tried == [ada.pk, bob.pk, carol.pk, ada.pk]
    monkeypatch.setattr(erasing, "delete_files", delete_files)
    assert erasing.carry_out_due() == 1
    assert requests_of(ada) == [ErasureStatus.COMPLETED]


def test_a_task_whose_time_is_over_begins_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for user in (make_user(), make_user()):
        asked(user)
        grace_over(user)

    def stop(*_: Any) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(erasing, "delete_files", stop)

    with pytest.raises(SoftTimeLimitExceeded):
        erasing.carry_out_due()

    with as_operator("test"):
        assert ErasureRequest.objects.filter(status=ErasureStatus.IN_PROGRESS).count() == 1


def test_whoever_cannot_be_told_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = make_user()
    asked(ada)
    grace_over(ada)

    def unreadable(*_: Any) -> None:
        raise DecryptionError

    monkeypatch.setattr(erasing, "send_notice", unreadable)

    assert erasing.carry_out_due() == 1
    assert requests_of(ada) == [ErasureStatus.COMPLETED]


@pytest.mark.usefixtures("_patience")
def test_two_workers_at_the_same_person_end_well() -> None:
    ada = make_user()
    client_of(ada)
    asked(ada)
    grace_over(ada)
    request = erasing.claim_next(timezone.now())
    assert request is not None

    outcomes = at_once([lambda: erasing.carry_out(request)] * 3)
    erasing.carry_out_due()

    # Of an archive only one at a time takes rows away.
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert {getattr(error, "code", error) for error in failed} <= {"archive_busy"}
    assert requests_of(ada) == [ErasureStatus.COMPLETED]
    assert left_of(ada.pk) == {}
    with as_operator("test"):
        assert Erasure.objects.count() == 1


# --- Who pays ---------------------------------------------------------------------------------


def test_a_subscription_that_goes_on_costing_comes_first() -> None:
    ada = make_user()
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))
    client = logged_in_client_of(ada)

    answer = client.post(ERASURE, {"confirmation": CONFIRMATION})

    assert (answer.status_code, answer.json()["code"]) == (409, "subscription_active")
    assert (status_of(ada), requests_of(ada)) == (AccountStatus.ACTIVE, [])
    later = timezone.now() + timedelta(seconds=1)
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, renews=False, stated_at=later))
    assert client.post(ERASURE, {"confirmation": CONFIRMATION}).status_code == 202


# --- What was sealed, and where they were logged in -------------------------------------------


def test_sessions_end_at_once_and_what_was_sealed_is_unreadable_before_anything_is_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ada = make_user()
    with acting_as(ada.pk):
        ada.full_name = "Ada King"
        ada.save(update_fields=["full_name"])
        EmailAddress.objects.get_or_create(user=ada, email="ada@example.org", primary=True)
        begin_session(user_id=ada.pk, method="password", device=Device())
    asked(ada)
    with as_operator("test"):
        (session,) = DeviceSession.objects.filter(user=ada)
    assert session.ended_because == SessionEnd.ACCOUNT_CLOSED
    grace_over(ada)

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    monkeypatch.setattr(erasing, "erasing_steps", kill)
    with pytest.raises(Killed):
        erasing.carry_out_due()

    with acting_as(ada.pk), pytest.raises(DestroyedKeyError):
        str(User.objects.get(pk=ada.pk).full_name)
    left = left_of(ada.pk)
    assert (left["accounts_devicesession"], left["account_emailaddress"]) == (1, 1)
    monkeypatch.undo()
    monkeypatch.setattr(erasing, "PATIENCE", timedelta(0))
    assert erasing.carry_out_due() == 1
    assert left_of(ada.pk) == {}


# --- Replaying --------------------------------------------------------------------------------


def test_of_those_in_the_ledger_each_who_is_there_is_told_with_rows_and_files() -> None:
    ada, bob, carol = make_user("ada"), make_user("bob"), make_user("carol")
    client_of(ada), client_of(ada), client_of(carol)
    for name in (f"exports/{bob.pk}/a.zip", f"artifacts/{bob.pk}/ab/c", f"artifacts/{carol.pk}/d"):
        default_storage.save(name, ContentFile(b"x"))
    for name in (f"exports-{bob.pk}-b.zip", f"exports-{carol.pk}-e.zip", "exports-none"):
        default_storage.save(f"drafts/{name}", ContentFile(b"x"))
    for user_id in (ada.pk, bob.pk, uuid7()):
        erasure_ledger.put_in_ledger_file(user_id)

    told = replay_erasures(dry_run=True)

    assert told == Replay(
        3,
        [
            Returned(ada.pk, {"accounts_personalaccesstoken": 2, "accounts_user": 1}),
            Returned(bob.pk, {"accounts_user": 1, "files": 3}),
        ],
    )


def test_each_table_is_asked_once_however_many_were_erased() -> None:
    people = [make_user().pk for _ in range(4)]

    def queries(user_ids: list[UUID]) -> int:
        with CaptureQueriesContext(connections["operator"]) as captured:
            assert [one.user_id for one in who_returned(user_ids)] == user_ids
        return len(captured)

    assert queries(people) == queries(people[:1])
