"""Subscriptions: one at a time, always one, and premium for what a store says was paid."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.api.permissions import HasPremium
from accounts.choices import Plan, Scope, SubscriptionProvider, SubscriptionStatus, Tier
from accounts.errors import InvalidReceiptError, PremiumRequiredError, ReceiptOfAnotherAccountError
from accounts.models import Subscription, User
from accounts.selectors.subscriptions import is_premium, opens_premium, renewing_subscription
from accounts.services.subscriptions import apply_purchase, start_free_subscription
from accounts.tests.consents import agree_to_everything
from accounts.tests.factories import client_of, make_user
from accounts.tests.purchases import local_store, periods_of, purchase_of, rows_of, run_out
from accounts.tokens import Bearer
from common.ids import uuid7
from common.tenancy import acting_as
from common.tests.connections import connect_as_superuser, raw_app

pytestmark = pytest.mark.django_db

ROUTE = "/api/v1/subscription/"
FREE, PREMIUM = "free", "premium"


@pytest.fixture
def ada() -> User:
    """Somebody who registered as everybody does."""
    ada = make_user("ada")
    agree_to_everything(ada)
    start_free_subscription(user_id=ada.pk)
    return ada


def receipt_of(*arguments: Any, **values: Any) -> dict[str, str]:
    purchase = purchase_of(*arguments, **values)
    return {"provider": "local", "receipt": local_store().sign_receipt(purchase)}


def shown(user: User) -> dict[str, Any]:
    answer = client_of(user).get(ROUTE)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_a_person_begins_with_a_free_year(ada: User) -> None:
    subscription = shown(ada)

    assert subscription["tier"] == FREE
    assert (subscription["status"], subscription["provider"]) == ("active", "system")
    assert (subscription["plan"], subscription["premium"]) == ("", False)
    (row,) = rows_of(ada)
    assert row.ends_at - row.starts_at == timedelta(days=365)
    assert abs(timezone.now() - row.starts_at) < timedelta(minutes=1)


def test_to_start_again_changes_nothing(ada: User) -> None:
    before = rows_of(ada)

    again = start_free_subscription(user_id=ada.pk)

    assert again == before[0]
    assert periods_of(ada) == [(FREE, "active")]


def test_who_has_none_yet_is_told_so() -> None:
    answer = client_of(make_user()).get(ROUTE)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_receipt_makes_premium_and_ends_what_was_free(ada: User) -> None:
    answer = client_of(ada).post(f"{ROUTE}receipts/", receipt_of(ada, plan=Plan.YEARLY))

    assert answer.status_code == 200
    assert answer.json() == shown(ada)
    assert answer.json()["premium"] is True
    assert (answer.json()["tier"], answer.json()["plan"]) == (PREMIUM, "yearly")
    free, bought = rows_of(ada)
    assert (free.status, bought.status) == ("expired", "active")
    assert free.ends_at == bought.starts_at
    assert bought.updated_at >= free.starts_at
    assert is_premium(ada) is True


def test_the_same_receipt_again_answers_the_same(ada: User) -> None:
    client, receipt = client_of(ada), receipt_of(ada)

    first = client.post(f"{ROUTE}receipts/", receipt)
    again = client.post(f"{ROUTE}receipts/", receipt)

    assert first.json() == again.json()
    assert (first.status_code, again.status_code) == (200, 200)
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active")]


def test_a_key_that_is_repeated_is_answered_from_memory(ada: User) -> None:
    client, receipt = client_of(ada), receipt_of(ada)
    key = {"Idempotency-Key": "buy-1"}

    first = client.post(f"{ROUTE}receipts/", receipt, headers=key)
    again = client.post(f"{ROUTE}receipts/", receipt, headers=key)
    other = client.post(f"{ROUTE}receipts/", receipt_of(ada, "other"), headers=key)

    assert first.json() == again.json()
    assert again["Idempotent-Replayed"] == "true"
    assert other.json()["code"] == "idempotency_key_reused"


def test_without_consents_nobody_buys() -> None:
    bob = make_user("bob")
    start_free_subscription(user_id=bob.pk)

    answer = client_of(bob).post(f"{ROUTE}receipts/", receipt_of(bob))

    assert (answer.status_code, answer.json()["code"]) == (403, "consent_required")
    assert len(answer.json()["errors"]) == 5
    assert periods_of(bob) == [(FREE, "active")]


@pytest.mark.parametrize("receipt", ["", "x", "a.b.c", "e30.e30.e30", 7, None, "x" * 20_001])
def test_what_is_no_receipt_is_refused(ada: User, receipt: Any) -> None:
    body = {"provider": "local", "receipt": receipt}

    answer = client_of(ada).post(f"{ROUTE}receipts/", body)

    assert answer.status_code == 400
    assert answer.json()["code"] in {"invalid_receipt", "invalid_input"}
    assert periods_of(ada) == [(FREE, "active")]


def test_a_receipt_with_another_signature_is_refused(ada: User) -> None:
    forged = replace(local_store(), key=b"another key of thirty-two bytes!").sign_receipt(
        purchase_of(ada)
    )
    message = local_store().sign_notification(purchase_of(ada))["signedPayload"]

    for text in (forged, message):
        answer = client_of(ada).post(f"{ROUTE}receipts/", {"provider": "local", "receipt": text})

        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_receipt")
    assert periods_of(ada) == [(FREE, "active")]


def test_a_store_that_is_not_configured_takes_nothing(ada: User, settings: Any) -> None:
    client = client_of(ada)

    for provider in ("apple", "google"):
        answer = client.post(f"{ROUTE}receipts/", {"provider": provider, "receipt": "x"})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_store")
    receipt = receipt_of(ada)
    settings.STORE_LOCAL = False
    assert client.post(f"{ROUTE}receipts/", receipt).json()["code"] == "unknown_store"
    system = client.post(f"{ROUTE}receipts/", {"provider": "system", "receipt": "x"})
    assert system.json()["code"] == "invalid_input"
    assert periods_of(ada) == [(FREE, "active")]


def test_a_receipt_that_names_another_account_is_refused(ada: User) -> None:
    bob = make_user("bob")

    answer = client_of(ada).post(f"{ROUTE}receipts/", receipt_of(bob))

    assert (answer.status_code, answer.json()["code"]) == (409, "receipt_of_another_account")
    assert periods_of(ada) == [(FREE, "active")]


@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=400)])
def test_a_purchase_stays_with_the_account_that_brought_it_first(
    ada: User, later: timedelta
) -> None:
    """Also one that names nobody, and also when it comes back renewed."""
    bob = make_user("bob")
    start_free_subscription(user_id=bob.pk)
    apply_purchase(user_id=ada.pk, purchase=purchase_of(None))
    renewed = purchase_of(None, ends_at=timezone.now() + timedelta(days=30) + later)

    with pytest.raises(ReceiptOfAnotherAccountError):
        apply_purchase(user_id=bob.pk, purchase=renewed)

    assert periods_of(bob) == [(FREE, "active")]
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active")]


@pytest.mark.parametrize("values", [{"ends_at": timezone.now()}, {"revoked": True}])
def test_a_purchase_that_was_over_before_is_no_purchase(ada: User, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidReceiptError):
        apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, **values))

    assert periods_of(ada) == [(FREE, "active")]


def test_a_renewal_makes_the_same_subscription_longer(ada: User) -> None:
    first = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))
    end = timezone.now() + timedelta(days=60)

    renewed = apply_purchase(
        user_id=ada.pk, purchase=purchase_of(ada, ends_at=end, plan=Plan.YEARLY)
    )

    assert (renewed.pk, renewed.starts_at) == (first.pk, first.starts_at)
    assert (renewed.ends_at, renewed.plan) == (end, "yearly")
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active")]


def test_what_will_not_be_renewed_opens_premium_until_its_end(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))

    row = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, renews=False))
    assert (row.status, row.renews) == ("active", False)
    assert row.cancelled_at is not None
    assert is_premium(ada) is True
    again = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, renews=True))
    assert (again.renews, again.cancelled_at) == (True, None)


def test_a_refund_ends_premium_at_once(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))

    left = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, revoked=True))

    assert (left.tier, left.status) == (FREE, "active")
    assert is_premium(ada) is False
    _, bought, free = rows_of(ada)
    assert (bought.status, bought.renews) == ("cancelled", False)
    assert bought.ends_at == free.starts_at


def test_a_refund_that_is_reversed_opens_premium_again(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, revoked=True))

    back = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))

    assert (back.tier, back.status, back.cancelled_at) == (PREMIUM, "active", None)
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active"), (FREE, "expired")]


def test_a_purchase_that_comes_back_after_its_end_begins_anew(ada: User) -> None:
    first = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))
    run_out(ada)
    start_free_subscription(user_id=ada.pk)
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "expired"), (FREE, "active")]

    back = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))

    assert (back.pk, back.status) == (first.pk, "active")
    assert back.starts_at > first.starts_at
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active"), (FREE, "expired")]


def test_a_second_purchase_waits_and_then_follows(ada: User) -> None:
    first = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "first"))

    after = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "second", plan=Plan.YEARLY))
    assert after == first
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active"), (PREMIUM, "pending")]

    next_one = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "first", revoked=True))
    assert (next_one.plan, next_one.status) == ("yearly", "active")
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "cancelled"), (PREMIUM, "active")]
    assert is_premium(ada) is True


def test_a_purchase_that_waited_and_was_refunded_never_follows(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "first"))
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "second"))
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "second", revoked=True))

    left = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "first", revoked=True))

    assert left.tier == FREE
    assert periods_of(ada)[1:] == [
        (PREMIUM, "cancelled"), (PREMIUM, "cancelled"), (FREE, "active"),
    ]  # fmt: skip


def test_a_purchase_that_waited_and_ran_out_never_follows(ada: User) -> None:
    now = timezone.now()
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "first"))
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "second"))
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "second", ends_at=now))

    left = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "first", ends_at=now))

    assert left.tier == FREE
    assert periods_of(ada)[1:] == [(PREMIUM, "expired"), (PREMIUM, "expired"), (FREE, "active")]


def test_a_purchase_that_takes_the_place_of_another_is_the_same_subscription(ada: User) -> None:
    first = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "old"))

    changed = apply_purchase(
        user_id=ada.pk, purchase=purchase_of(ada, "new", replaces="old", plan=Plan.YEARLY)
    )

    assert (changed.pk, changed.plan) == (first.pk, "yearly")
    with acting_as(ada.pk):
        assert Subscription.objects.get(pk=first.pk).external_id == "new"
    assert periods_of(ada) == [(FREE, "expired"), (PREMIUM, "active")]


@pytest.mark.parametrize("older", ["stated", "bought"])
def test_what_was_said_earlier_changes_nothing(ada: User, older: str) -> None:
    """An old period that is stated once more, such as to refund it, leaves the running one."""
    now = timezone.now()
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, purchased_at=now))
    before = rows_of(ada)
    ago = now - timedelta(days=31)
    times: dict[str, Any] = {
        "stated": {"purchased_at": now, "stated_at": ago},
        "bought": {"purchased_at": ago, "stated_at": now + timedelta(hours=1)},
    }[older]

    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, revoked=True, **times))

    assert [row.__dict__ | {"_state": 0} for row in rows_of(ada)] == [
        row.__dict__ | {"_state": 0} for row in before
    ]
    assert is_premium(ada) is True


def test_what_the_store_calls_it_is_sealed_and_found_by_a_keyed_hash(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, "2000000123456789"))

    with acting_as(ada.pk), connection.cursor() as cursor:
        cursor.execute("SELECT s::text FROM accounts_subscription s")
        kept = str(cursor.fetchall())
        assert Subscription.objects.get(tier=PREMIUM).external_id == "2000000123456789"
    assert "2000000123456789" not in kept
    assert b"2000000123456789".hex() not in kept


# --- Cancelling -------------------------------------------------------------------------------


def test_what_is_free_cannot_be_cancelled(ada: User) -> None:
    answer = client_of(ada).post(f"{ROUTE}cancel/")

    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_cancel")
    assert periods_of(ada) == [(FREE, "active")]


def test_a_local_purchase_is_cancelled_here_and_lasts_until_its_end(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))
    client = client_of(ada)

    answer = client.post(f"{ROUTE}cancel/")

    assert answer.status_code == 200
    assert (answer.json()["renews"], answer.json()["premium"]) == (False, True)
    assert answer.json()["cancelled_at"] is not None
    assert client.post(f"{ROUTE}cancel/").json()["code"] == "nothing_to_cancel"


def test_what_a_store_sold_is_cancelled_there(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, provider=SubscriptionProvider.APPLE))

    answer = client_of(ada).post(f"{ROUTE}cancel/")

    assert (answer.status_code, answer.json()["code"]) == (409, "cancel_in_store")
    assert rows_of(ada)[-1].renews is True


def test_what_the_store_will_charge_again_is_told_to_whoever_erases(ada: User) -> None:
    def renewing() -> Subscription | None:
        with acting_as(ada.pk):
            return renewing_subscription(ada.pk)

    assert renewing() is None
    bought = apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))
    assert renewing() == bought
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, renews=False))
    assert renewing() is None


# --- Premium ----------------------------------------------------------------------------------


class Asked:
    """What a permission looks at; no product has a page for premium alone."""

    def __init__(self, user: User) -> None:
        self.auth = Bearer(user, frozenset(Scope), token_id=uuid7())


def subscription(tier: Tier, status: SubscriptionStatus, seconds: int) -> Subscription:
    now = timezone.now()
    ends_at = now + timedelta(seconds=seconds)
    return Subscription(tier=tier, status=status, starts_at=now, ends_at=ends_at)


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("status", list(SubscriptionStatus))
@pytest.mark.parametrize("seconds", [-1, 60])
def test_premium_is_premium_and_active_and_not_over(
    tier: Tier, status: SubscriptionStatus, seconds: int
) -> None:
    expected = (tier, status, seconds) == (Tier.PREMIUM, SubscriptionStatus.ACTIVE, 60)

    assert opens_premium(subscription(tier, status, seconds)) is expected


def test_the_permission_lets_in_whoever_has_premium(ada: User) -> None:
    with pytest.raises(PremiumRequiredError) as refused:
        HasPremium().has_permission(Asked(ada), None)  # type: ignore[arg-type]
    assert (refused.value.code, refused.value.status) == ("premium_required", 403)

    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))

    assert HasPremium().has_permission(Asked(ada), None) is True  # type: ignore[arg-type]


def test_premium_asks_one_question(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))

    with CaptureQueriesContext(connection) as queries:
        assert is_premium(ada) is True

    assert len([query for query in queries if "accounts_" in query["sql"]]) == 1


def test_a_subscription_that_is_nobodys_is_no_premium() -> None:
    assert is_premium(make_user()) is False


# --- What the database guarantees -------------------------------------------------------------

INSERT = """
    INSERT INTO accounts_subscription (user_id, tier, plan, status, provider, starts_at, ends_at,
        renews, external_digest, purchased_at, stated_at)
    VALUES (%s, 'premium', 'monthly', %s, 'apple', '2026-01-01'::timestamptz + %s::interval,
        '2026-02-01'::timestamptz + %s::interval, true, sha256(%s::bytea), now(), now())
"""


def insert(raw: Any, user_id: UUID, *, status: str = "active", after: str = "0 d") -> None:
    raw.execute(INSERT, [user_id, status, after, after, str(uuid7())])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", ["active", "expired", "cancelled"])
@pytest.mark.parametrize("after", ["0 d", "30 d", "-30 d"])
def test_the_database_refuses_periods_that_overlap(status: str, after: str) -> None:
    ada = make_user("ada")

    with raw_app(ada.pk) as raw:
        insert(raw, ada.pk)
        with pytest.raises(psycopg.errors.ExclusionViolation), raw.transaction():
            insert(raw, ada.pk, status=status, after=after)

    assert len(rows_of(ada)) == 1


@pytest.mark.django_db(transaction=True)
def test_periods_may_touch_and_others_may_have_the_same_and_those_that_wait_any() -> None:
    ada, bob = make_user("ada"), make_user("bob")

    with raw_app(ada.pk) as raw:
        insert(raw, ada.pk)
        insert(raw, ada.pk, after="31 d")
        insert(raw, ada.pk, status="pending")
    with raw_app(bob.pk) as raw:
        insert(raw, bob.pk)

    assert (len(rows_of(ada)), len(rows_of(bob))) == (3, 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "change",
    [
        "tier = 'gold'",
        "plan = ''",
        "plan = 'weekly'",
        "status = 'paused'",
        "provider = 'amazon'",
        "provider = 'system'",
        "tier = 'free', plan = ''",
        "external_digest = NULL",
        "stated_at = NULL",
        "ends_at = starts_at - interval '1 s'",
    ],
)
def test_the_database_refuses_what_is_no_subscription(change: str) -> None:
    ada = make_user("ada")

    with raw_app(ada.pk) as raw:
        insert(raw, ada.pk)
        with pytest.raises(psycopg.errors.CheckViolation), raw.transaction():
            raw.execute(f"UPDATE accounts_subscription SET {change}".encode())


@pytest.mark.django_db(transaction=True)
def test_a_stranger_sees_and_changes_nothing() -> None:
    ada, bob = make_user("ada"), make_user("bob")
    start_free_subscription(user_id=ada.pk)

    with raw_app(bob.pk) as raw:
        assert raw.execute("SELECT count(*) FROM accounts_subscription").fetchone() == (0,)
        assert raw.execute("UPDATE accounts_subscription SET renews = false").rowcount == 0
    assert client_of(bob).get(ROUTE).status_code == 404
    assert rows_of(ada)[0].renews is True


@pytest.mark.django_db(transaction=True)
def test_the_current_one_and_those_that_are_due_are_found_through_indexes() -> None:
    ada = make_user("ada")
    with connect_as_superuser() as superuser:
        superuser.execute(
            "INSERT INTO accounts_user (username, password, role, account_status, metadata)"
            " SELECT 'u' || n, '!', 'user', 'active', '{}' FROM generate_series(1, 3000) n"
        )
        superuser.execute(
            "INSERT INTO accounts_subscription (user_id, tier, plan, status, provider, starts_at,"
            " ends_at, renews) SELECT id, 'free', '', 'active', 'system', now(),"
            " now() + interval '1 year', true FROM accounts_user"
        )
        superuser.execute("ANALYZE accounts_subscription")
    with acting_as(ada.pk):
        current = Subscription.objects.visible_to(ada.pk).active().explain()
        due = Subscription.objects.over(timezone.now()).explain()

    assert "Seq Scan" not in current
    assert "Index" in current
    assert "subscription_due" in due or "Seq Scan" not in due


# --- What the stream calls it -----------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_stream_names_conversions_and_cancellations(ada: User) -> None:
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada))
    apply_purchase(
        user_id=ada.pk, purchase=purchase_of(ada, ends_at=timezone.now() + timedelta(days=60))
    )
    apply_purchase(user_id=ada.pk, purchase=purchase_of(ada, renews=False))
    run_out(ada)
    start_free_subscription(user_id=ada.pk)

    seen = client_of(ada).get("/api/v1/activity/?subject=accounts_subscription").json()["results"]

    assert [event["event"] for event in seen][::-1] == [
        "subscription-change",  # the free year begins
        "subscription-change",  # and is over
        "subscription-conversion",
        "subscription-change",  # renewed
        "subscription-cancellation",
        "subscription-change",  # the test moves its end
        "subscription-change",  # expired
        "subscription-change",  # a free year again
    ]
    assert "external_id" not in seen[0]["new"]
