"""People with accounts, and what is done with them. Import this after `django.setup()`."""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from databases import create_database, superuser
from django.contrib.auth.hashers import make_password
from django.db import connection, models, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.choices import ConsentType, Plan, SubscriptionProvider
from accounts.models import DeviceSession, User
from accounts.services.registration import complete_registration
from accounts.services.sessions import Device, begin_session, refresh_session, tokens_of
from accounts.services.subscriptions import apply_purchase
from accounts.services.users import free_username
from accounts.stores.contract import StorePurchase
from common.encryption.data_keys import cache
from common.tenancy import acting_as, become, identifying

DATABASE = "accounts"
CONSENTS = {kind.value: 1 for kind in ConsentType}
PASSWORD = "correct horse battery staple"  # noqa: S105 - of people who were made up
STRANGERS = 40
# Path, the status of the answer to everybody, what is said beside the address.
DOORS_OF_STRANGERS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "login": ("login", 400, {"password": "a guess that is wrong"}),
    "signup": ("signup", 401, {"password": PASSWORD, "consents": CONSENTS}),
    "reset": ("password/request", 401, {}),
}

# The same rows in plain text, with the same indexes.
PLAIN = """
    CREATE TABLE plain_address AS
    SELECT id, user_id, 'person-' || row_number() OVER (ORDER BY id) || '@example.org' AS email,
           verified, "primary"
    FROM account_emailaddress;
    ALTER TABLE plain_address ADD PRIMARY KEY (id);
    CREATE INDEX plain_address_email ON plain_address (email);
    CREATE TABLE plain_provider AS
    SELECT id, user_id, provider, uid, last_login, date_joined FROM socialaccount_socialaccount;
    ALTER TABLE plain_provider ADD PRIMARY KEY (id);
    CREATE UNIQUE INDEX plain_provider_uid ON plain_provider (provider, uid);
    CREATE TABLE plain_session AS SELECT id, generation, rotated_at FROM accounts_devicesession;
    ALTER TABLE plain_session ADD PRIMARY KEY (id);
    GRANT SELECT, UPDATE ON plain_address, plain_provider, plain_session TO app;
    ANALYZE
"""


class PlainAddress(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    email = models.CharField(max_length=254)
    verified = models.BooleanField()
    primary = models.BooleanField()

    objects: "models.Manager[PlainAddress]" = models.Manager()

    class Meta:
        app_label, db_table, managed = "accounts", "plain_address", False

    def __str__(self) -> str:
        return self.email


class PlainProvider(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    provider = models.CharField(max_length=200)
    uid = models.CharField(max_length=191)
    last_login = models.DateTimeField()
    date_joined = models.DateTimeField()

    objects: "models.Manager[PlainProvider]" = models.Manager()

    class Meta:
        app_label, db_table, managed = "accounts", "plain_provider", False

    def __str__(self) -> str:
        return self.uid


def measure_accounts(people: int, times: int) -> dict[str, list[float]]:
    """Of each measure the seconds of each time, of so many people among all."""
    create_database(DATABASE)
    sessions = [_register(number) for number in range(people)]
    with superuser(DATABASE) as database:
        database.execute(PLAIN)
    chosen = random.Random(1).sample(range(people), times)
    numbers = [number + 1 for number in chosen]
    logins = [sessions[number] for number in chosen]
    profile = _profile_reader(logins)
    profile_warm = _profile_reader(logins[:1] * times)
    return {
        "profile": _each(times, profile_warm),
        "profile_cold": _each(times, _after(cache.clear, profile)),
        "by_email": _each(times, lambda n: _by_email(f"person-{numbers[n]}@example.org")),
        "by_plain_email": _each(
            times, lambda n: _by_plain_email(f"person-{numbers[n]}@example.org")
        ),
        "by_provider": _each(times, lambda n: _by_provider(str(numbers[n]))),
        "by_plain_provider": _each(times, lambda n: _by_plain_provider(str(numbers[n]))),
        "registration": _each(times, lambda n: _register(people + n)),
        "password_hash": _each(20, lambda _: make_password("correct horse")),
        "refresh": _each(times, _refresher(logins)),
        "plain_refresh": _each(times, lambda n: _count_up(logins[n])),
        "subscription": _each(times, _buyer(logins)),
        **_answers_to_strangers([sessions[number].user_id for number in chosen[:STRANGERS]]),
    }


def _answers_to_strangers(known: Sequence[UUID]) -> dict[str, list[float]]:
    """One after another of each kind, so that what else the machine does slows all alike."""
    password = make_password(PASSWORD)
    for user_id in known:
        with acting_as(user_id):
            User.objects.filter(pk=user_id).update(password=password)
    taken: dict[str, list[float]] = defaultdict(list)
    for number, user_id in enumerate(known):
        address = EmailAddress.objects.get(user_id=user_id).email
        for door, (path, status, body) in DOORS_OF_STRANGERS.items():
            for kind, email in (("known", address), ("unknown", f"{door}-{number}@example.org")):
                begun = time.perf_counter()
                answer = APIClient(SERVER_NAME="localhost").post(
                    f"/api/v1/auth/app/v1/auth/{path}", {"email": email, **body}, format="json"
                )
                taken[f"{door}_{kind}"].append(time.perf_counter() - begun)
                if answer.status_code != status:
                    raise RuntimeError(answer.content)
    return taken


def _each(times: int, action: Callable[[int], object]) -> list[float]:
    taken = []
    for number in range(times):
        begun = time.perf_counter()
        action(number)
        taken.append(time.perf_counter() - begun)
    return taken


def _after(before: Callable[[], object], action: Callable[[int], object]) -> Callable[[int], Any]:
    def both(number: int) -> None:
        before()
        action(number)

    return both


def _register(number: int) -> DeviceSession:
    """Person number `number + 1`, as the doors make one, without the hash of a password."""
    user = User(full_name=f"Person {number + 1}", given_name="Person", family_name=str(number + 1))
    user.username = free_username(user.pk)
    user.set_unusable_password()
    with identifying():
        become(user.pk)
        user.save()
        EmailAddress.objects.create(
            user=user, email=f"person-{number + 1}@example.org", verified=True, primary=True
        )
        SocialAccount.objects.create(user=user, provider="google", uid=str(number + 1))
        complete_registration(user_id=user.pk, consents=CONSENTS)
        return begin_session(user_id=user.pk, method="benchmark", device=Device(name="A phone"))


def _profile_reader(logins: Sequence[DeviceSession]) -> Callable[[int], None]:
    client = APIClient(SERVER_NAME="localhost")
    tokens = [tokens_of(login).access_token for login in logins]

    def read(number: int) -> None:
        headers = {"Authorization": f"Bearer {tokens[number]}"}
        answer = client.get("/api/v1/account/", headers=headers)
        if answer.status_code != 200:  # noqa: PLR2004 - what else is there
            raise RuntimeError(answer.content)

    return read


def _by_email(email: str) -> None:
    EmailAddress.objects.select_related("user").get(email=email)


def _by_plain_email(email: str) -> None:
    PlainAddress.objects.select_related("user").get(email=email)


def _by_provider(uid: str) -> None:
    SocialAccount.objects.select_related("user").get(provider="google", uid=uid)


def _by_plain_provider(uid: str) -> None:
    PlainProvider.objects.select_related("user").get(provider="google", uid=uid)


def _refresher(logins: Sequence[DeviceSession]) -> Callable[[int], None]:
    tokens = [tokens_of(login).refresh_token for login in logins]

    def refresh(number: int) -> None:
        if refresh_session(tokens[number]) is None:
            raise RuntimeError(number)

    return refresh


def _count_up(login: DeviceSession) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM plain_session WHERE id = %s FOR UPDATE", [login.pk])
        cursor.execute(
            "UPDATE plain_session SET generation = generation + 1, rotated_at = now()"
            " WHERE id = %s",
            [login.pk],
        )


def _buyer(logins: Sequence[DeviceSession]) -> Callable[[int], None]:
    def buy(number: int) -> None:
        now = timezone.now()
        purchase = StorePurchase(
            provider=SubscriptionProvider.APPLE,
            external_id=f"purchase-{number}",
            plan=Plan.MONTHLY,
            purchased_at=now,
            ends_at=now + timedelta(days=30),
            stated_at=now,
            renews=True,
            account=logins[number].user_id,
        )
        apply_purchase(user_id=logins[number].user_id, purchase=purchase)

    return buy
