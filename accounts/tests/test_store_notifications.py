"""What a store says counts once, in whatever order and however often it says it."""

import json
import threading
import time
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.errors import InvalidReceiptError
from accounts.models import ReceivedNotification, Subscription, User
from accounts.periods import settle
from accounts.selectors.subscriptions import is_premium
from accounts.services.subscriptions import apply_purchase, start_free_subscription
from accounts.stores.checks import OF_SERVICE_ACCOUNT, check_stores
from accounts.stores.contract import StorePurchase
from accounts.tests.consents import agree_to_everything
from accounts.tests.factories import client_of, make_user
from accounts.tests.purchases import local_store, periods_of, purchase_of, rows_of
from common.tenancy import as_operator
from common.tests.connections import connect_as_superuser
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

ROUTE = "/api/v1/subscription/notifications/local/"
FREE, PREMIUM = "free", "premium"


@pytest.fixture
def ada() -> User:
    ada = make_user("ada")
    start_free_subscription(user_id=ada.pk)
    return ada


def tell(purchase: StorePurchase | None, *, notification_id: str = "") -> tuple[int, str]:
    """What the store is answered: nobody is logged in."""
    body = local_store().sign_notification(purchase, notification_id=notification_id)
    answer = APIClient().post(ROUTE, body)
    return answer.status_code, answer.json().get("outcome", answer.json().get("code"))


def noted() -> list[tuple[str, str]]:
    rows = ReceivedNotification.objects.order_by("id")
    return [(row.notification_id, row.outcome) for row in rows]


def test_a_message_about_a_known_purchase_changes_it(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))
    end = timezone.now() + timedelta(days=60)

    # The store need not know whose it is.
    answer = tell(purchase_of(None, ends_at=end), notification_id="n1")

    assert answer == (200, "applied")
    assert rows_of(ada)[-1].ends_at == end
    assert noted() == [("n1", "applied")]


def test_a_message_may_come_before_the_receipt(ada: User) -> None:
    purchase = purchase_of(ada)

    assert tell(purchase) == (200, "applied")
    assert is_premium(ada) is True
    apply_purchase(user_id=ada.pk, purchase=purchase)
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active")]


def test_a_message_about_nobody_is_taken_and_changes_nothing(ada: User) -> None:
    assert tell(purchase_of(None), notification_id="n1") == (200, "unknown_account")
    assert tell(purchase_of(None), notification_id="n1") == (200, "unknown_account")

    assert noted() == [("n1", "unknown_account")]
    assert periods_of(ada) == [(FREE, "active")]
    apply_purchase(user_id=ada.pk, purchase=purchase_of(None))
    assert is_premium(ada) is True


def test_a_message_about_an_erased_account_is_about_nobody(ada: User) -> None:
    with as_operator("test"):
        User.objects.filter(pk=ada.pk).update(account_status="deleted")

    assert tell(purchase_of(ada)) == (200, "unknown_account")
    assert periods_of(ada) == [(FREE, "active")]


def test_a_message_about_no_purchase_is_taken(ada: User) -> None:
    assert tell(None, notification_id="test") == (200, "ignored")
    assert noted() == [("test", "ignored")]


def test_a_message_that_is_repeated_is_treated_once(ada: User) -> None:
    first = tell(purchase_of(ada), notification_id="n1")
    # The same message never says something else; that it is not read again is to be seen.
    again = tell(purchase_of(ada, revoked=True), notification_id="n1")

    assert (first, again) == ((200, "applied"), (200, "applied"))
    assert is_premium(ada) is True
    assert noted() == [("n1", "applied")]


def test_eight_deliveries_at_once_are_treated_once(ada: User) -> None:
    purchase = purchase_of(ada)

    answers = at_once([lambda: tell(purchase, notification_id="n1")] * 8)

    assert answers == [(200, "applied")] * 8
    assert noted() == [("n1", "applied")]
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active")]


@pytest.mark.parametrize("purchase", [None, purchase_of(None)])
def test_eight_deliveries_of_what_is_about_nobody_are_noted_once(
    purchase: StorePurchase | None,
) -> None:
    answers = at_once([lambda: tell(purchase, notification_id="n1")] * 8)

    outcome = "unknown_account" if purchase else "ignored"
    assert answers == [(200, outcome)] * 8
    assert noted() == [("n1", outcome)]


def test_messages_out_of_order_end_in_what_was_said_last(ada: User) -> None:
    now = timezone.now()
    bought = purchase_of(ada, purchased_at=now, stated_at=now)
    renewed = replace(
        bought, ends_at=now + timedelta(days=60), stated_at=now + timedelta(minutes=2)
    )
    stopped = replace(renewed, renews=False, stated_at=now + timedelta(minutes=3))

    outcomes = [tell(one)[1] for one in (stopped, bought, renewed, stopped)]

    assert outcomes == ["applied", "outdated", "outdated", "outdated"]
    row = rows_of(ada)[-1]
    assert (row.ends_at, row.renews) == (renewed.ends_at, False)


def test_a_refund_that_overtakes_the_purchase_opens_nothing(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))
    now = timezone.now()
    later = purchase_of(ada, purchased_at=now, stated_at=now + timedelta(minutes=1), revoked=True)

    assert tell(later) == (200, "applied")
    assert tell(replace(later, revoked=False, stated_at=now)) == (200, "outdated")

    assert is_premium(ada) is False
    assert periods_of(ada)[-1] == (FREE, "active")


@pytest.mark.parametrize("known", [True, False])
def test_a_purchase_that_was_taken_back_before_it_was_handed_in_opens_nothing(
    ada: User,
    known: bool,  # noqa: FBT001 - as parametrized
) -> None:
    bought = purchase_of(ada if known else None)
    later = replace(bought, revoked=True, stated_at=bought.stated_at + timedelta(seconds=1))
    tell(later)

    with pytest.raises(InvalidReceiptError):
        apply_purchase(user_id=ada.pk, purchase=bought)

    assert tell(bought)[1] == ("outdated" if known else "unknown_account")
    assert periods_of(ada) == [(FREE, "active")]


def test_neither_does_it_after_its_owner_was_erased_and_came_back(ada: User) -> None:
    bought = purchase_of(None)
    apply_purchase(user_id=ada.pk, purchase=bought)
    later = replace(bought, revoked=True, stated_at=bought.stated_at + timedelta(seconds=1))
    assert tell(later) == (200, "applied")
    with as_operator("test"):
        Subscription.objects.filter(user=ada).delete()
    bob = make_user("bob")
    start_free_subscription(user_id=bob.pk)

    with pytest.raises(InvalidReceiptError):
        apply_purchase(user_id=bob.pk, purchase=bought)

    assert periods_of(bob) == [(FREE, "active")]


def test_what_was_said_of_an_earlier_period_or_purchase_does_not_hold_for_this_one(
    ada: User,
) -> None:
    former = purchase_of(None, purchased_at=timezone.now() - timedelta(days=30))
    renewed = replace(former, purchased_at=timezone.now())
    # The refund of what is over is heard of last.
    tell(replace(former, revoked=True, stated_at=timezone.now() + timedelta(hours=1)))
    tell(purchase_of(None, "purchase-2", revoked=True))

    apply_purchase(user_id=ada.pk, purchase=renewed)

    assert is_premium(ada) is True


def test_a_refund_that_was_undone_counts_for_nothing(ada: User) -> None:
    bought = purchase_of(None)
    later = bought.stated_at + timedelta(seconds=1)
    # The later word comes first.
    tell(replace(bought, stated_at=later + timedelta(seconds=1)))
    tell(replace(bought, revoked=True, stated_at=later))

    apply_purchase(user_id=ada.pk, purchase=bought)

    assert is_premium(ada) is True


def somebody_waits() -> bool:
    """For a lock that another transaction holds."""
    with connect_as_superuser() as superuser:
        waiting = superuser.execute(
            "SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return waiting.rowcount > 0


def test_a_refund_that_comes_while_the_receipt_is_written_is_not_lost(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought = purchase_of(None)
    later = replace(bought, revoked=True, stated_at=bought.stated_at + timedelta(seconds=1))
    begun, heard = threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> int:
        begun.set()
        # Until the message is through, or waits for us.
        while not heard.is_set() and not somebody_waits():
            time.sleep(0.01)
        return settle(*arguments)

    monkeypatch.setattr("accounts.services.subscriptions.settle", slowly)

    def refund() -> tuple[int, str]:
        assert begun.wait(60)
        try:
            return tell(later)
        finally:
            heard.set()

    def buy() -> None:
        apply_purchase(user_id=ada.pk, purchase=bought)
        # What the message does then is not slowed down.
        heard.set()

    answers = at_once([buy, refund])

    assert answers == [None, (200, "applied")]
    assert is_premium(ada) is False


def test_messages_in_any_order_at_once_end_in_what_was_said_last(ada: User) -> None:
    now = timezone.now()
    said = [
        purchase_of(
            ada,
            purchased_at=now,
            stated_at=now + timedelta(minutes=number),
            ends_at=now + timedelta(days=30 + number),
        )
        for number in range(8)
    ]

    answers = at_once([lambda one=one: tell(one) for one in said])  # type: ignore[misc]

    assert {status for status, _ in answers} == {200}  # type: ignore[misc]
    assert rows_of(ada)[-1].ends_at == said[-1].ends_at
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active")]


def test_a_purchase_that_was_over_when_it_was_told_is_outdated(ada: User) -> None:
    assert tell(purchase_of(ada, ends_at=timezone.now())) == (200, "outdated")
    assert periods_of(ada) == [(FREE, "active")]


@pytest.mark.parametrize(
    "body",
    [{}, [], {"signedPayload": "x"}, {"signedPayload": None}, {"signedPayload": {"a": 1}}, "x"],
)
def test_what_the_store_did_not_sign_is_refused(ada: User, body: Any) -> None:
    answer = APIClient().post(ROUTE, body)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_notification")
    assert noted() == []


def test_a_receipt_is_no_message_and_another_key_is_not_the_stores(ada: User) -> None:
    purchase = purchase_of(ada)
    receipt = {"signedPayload": local_store().sign_receipt(purchase)}
    forged = replace(local_store(), key=b"another key of thirty-two bytes!")

    for body in (receipt, forged.sign_notification(purchase)):
        assert APIClient().post(ROUTE, body).json()["code"] == "invalid_notification"
    assert noted() == []
    assert periods_of(ada) == [(FREE, "active")]


def test_a_message_of_a_store_that_is_not_configured_is_refused(settings: Any) -> None:
    for name in ("apple", "google"):
        answer = APIClient().post(f"/api/v1/subscription/notifications/{name}/", {})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_store")
    body = local_store().sign_notification(None)
    settings.STORE_LOCAL = False
    assert APIClient().post(ROUTE, body).status_code == 404


def test_a_store_that_lacks_something_is_told_at_start(settings: Any, tmp_path: Path) -> None:
    assert check_stores(None) == []

    settings.APPLE_BUNDLE_ID = settings.GOOGLE_PACKAGE_NAME = "com.example.commonplace"
    settings.APPLE_ROOT_CERTIFICATES = [str(tmp_path / "none.cer")]
    settings.GOOGLE_SERVICE_ACCOUNT = '{"client_email": "x"}'
    told = [problem.id for problem in check_stores(None)]
    assert told == ["accounts.E003", "accounts.E004", "accounts.E005", "accounts.E006"]

    root = tmp_path / "root.cer"
    root.touch()
    settings.APPLE_ROOT_CERTIFICATES, settings.APPLE_APP_ID = [str(root)], 7
    settings.GOOGLE_SERVICE_ACCOUNT = json.dumps(dict.fromkeys(OF_SERVICE_ACCOUNT, "x"))
    settings.GOOGLE_PUSH_ACCOUNT = "pusher@example.com"
    assert check_stores(None) == []


# --- Signing for development ------------------------------------------------------------------


def signed(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("sign_receipt", *arguments, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue().split()[-1].rstrip(".")


def test_a_receipt_that_was_signed_by_command_makes_premium(ada: User) -> None:
    agree_to_everything(ada)
    receipt, purchase_id = signed("--user", "ada", "--plan", "yearly", "--days", "365")

    answer = client_of(ada).post(
        "/api/v1/subscription/receipts/", {"provider": "local", "receipt": receipt}
    )
    assert (answer.status_code, answer.json()["plan"]) == (200, "yearly")

    revoked, _ = signed("--user", "ada", "--purchase", purchase_id, "--revoked", "--notification")
    assert APIClient().post(ROUTE, json.loads(revoked)).json() == {"outcome": "applied"}
    assert is_premium(ada) is False


@pytest.mark.parametrize("arguments", [["--user", "nobody"], ["--user", "ada", "--days", "-1"]])
def test_nothing_is_signed_for_nobody_or_for_no_time(ada: User, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        signed(*arguments)


def test_production_signs_nothing(ada: User, settings: Any) -> None:
    settings.STORE_LOCAL = False

    with pytest.raises(CommandError, match="STORE_LOCAL"):
        signed("--user", "ada")
