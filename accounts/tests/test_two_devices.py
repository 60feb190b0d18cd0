"""One person, two devices and a program, by API: from the sign-up to the erasure."""

import io
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.choices import ErasureStatus, SessionEnd
from accounts.models import DeviceSession, ErasureRequest, User
from accounts.services.erasures import CONFIRMATION
from accounts.tasks import build_export, carry_out_erasures
from accounts.tests.phones import ADDRESS, ALL_CONSENTS, PASSWORD, Phone, person_of, registered
from accounts.tests.purchases import local_store, purchase_of
from accounts.tests.test_second_factors import totp, turn_on
from common.privacy import what_is_left
from common.queue import ACTOR_HEADER
from common.tenancy import as_operator

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

API = "/api/v1"
NAMES = {"full_name": "Ada Lovelace", "given_name": "Ada", "family_name": "Lovelace"}


def opens(phone: Phone) -> int:
    return int(phone.call("get", f"{API}/account/").status_code)


def ask(phone: Phone, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
    """What the API answers, which must have this status."""
    answer = phone.call(method, f"{API}/{path}", body)
    assert answer.status_code == status, (path, answer.status_code, answer.content)
    return answer.json() if answer.content else None


def test_a_person_with_two_devices_from_the_sign_up_to_the_erasure() -> None:
    phone = registered("phone", username="ada", **NAMES)
    ada = person_of(phone)
    tablet = Phone("tablet")
    assert tablet.log_in().status_code == 200

    both_are_logged_in_and_refresh(phone, tablet)
    the_second_factor_of_one_is_asked_for_on_the_other(phone, tablet)
    what_was_agreed_to_is_the_same_on_both(phone, tablet)
    what_was_bought_on_one_counts_on_the_other(phone, tablet, ada)
    a_program_reads_and_changes_nothing(phone)
    an_export_holds_what_is_theirs(phone, ada)
    one_ends_the_other(phone, tablet)
    nothing_is_left(phone, ada)


def both_are_logged_in_and_refresh(phone: Phone, tablet: Phone) -> None:
    assert ask(phone, "get", "account/")["id"] == ask(tablet, "get", "account/")["id"]
    for device in (phone, tablet, phone):
        former = device.access_token, device.refresh_token
        assert device.refresh().status_code == 200
        assert not {device.access_token, device.refresh_token} & set(former)
    assert (opens(phone), opens(tablet)) == (200, 200)
    seen = ask(phone, "get", "sessions/")["results"]
    assert [(row["device_name"], row["is_current"], row["is_going_on"]) for row in seen] == [
        ("tablet", False, True),
        ("phone", True, True),
    ]


def the_second_factor_of_one_is_asked_for_on_the_other(phone: Phone, tablet: Phone) -> None:
    secret = turn_on(phone)
    assert opens(tablet) == 200
    tablet.log_out()
    tablet.access_token = tablet.refresh_token = tablet.session_token = ""

    assert tablet.log_in().status_code == 401
    assert (tablet.access_token, opens(tablet)) == ("", 401)
    answer = tablet.call("post", "auth/2fa/authenticate", {"code": totp(secret, 1)})

    assert answer.status_code == 200, answer.content
    assert opens(tablet) == 200


def what_was_agreed_to_is_the_same_on_both(phone: Phone, tablet: Phone) -> None:
    agreed = {"consents": [{"type": "privacy_policy", "version": ALL_CONSENTS["privacy_policy"]}]}
    assert [state["needed"] for state in ask(phone, "get", "consents/")] == [False] * 5

    ask(phone, "post", "consents/withdraw/", {"type": "privacy_policy"})
    needed = {state["type"]: state["needed"] for state in ask(tablet, "get", "consents/")}
    assert [kind for kind, asked in needed.items() if asked] == ["privacy_policy"]
    ask(tablet, "post", "consents/", agreed)

    assert [state["needed"] for state in ask(phone, "get", "consents/")] == [False] * 5
    history = ask(phone, "get", "consents/history/")["results"]
    told = [row["given"] for row in history if row["type"] == "privacy_policy"]
    assert told == [True, False, True]


def what_was_bought_on_one_counts_on_the_other(phone: Phone, tablet: Phone, ada: User) -> None:
    assert ask(tablet, "get", "subscription/")["premium"] is False
    receipt = local_store().sign_receipt(purchase_of(ada))

    ask(phone, "post", "subscription/receipts/", {"provider": "local", "receipt": receipt})

    shown = ask(tablet, "get", "subscription/")
    assert (shown["premium"], shown["plan"], shown["renews"]) == (True, "monthly", True)


def a_program_reads_and_changes_nothing(phone: Phone) -> None:
    ends = (timezone.now() + timedelta(days=30)).isoformat()
    wanted = {"name": "nightly script", "scopes": ["account:read"], "expires_at": ends}
    made = ask(phone, "post", "tokens/", wanted, status=201)
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {made['secret']}")

    assert program.get(f"{API}/account/").json()["username"] == "ada"
    assert program.patch(f"{API}/account/", {"username": "eve"}).status_code == 403
    assert program.post(f"{API}/account/exports/").status_code == 403

    ask(phone, "post", f"tokens/{made['id']}/revoke/")
    assert program.get(f"{API}/account/").status_code == 401
    assert ask(phone, "get", "account/")["username"] == "ada"


def an_export_holds_what_is_theirs(phone: Phone, ada: User) -> None:
    asked = ask(phone, "post", "account/exports/", status=202)
    headers = {ACTOR_HEADER: str(ada.pk)}
    build_export.apply(args=(asked["id"],), headers=headers, throw=True)
    assert ask(phone, "get", f"account/exports/{asked['id']}/")["status"] == "ready"

    link = ask(phone, "post", f"account/exports/{asked['id']}/download-link/")
    given = APIClient().get(urlsplit(link["url"]).path)

    assert given.status_code == 200
    content = b"".join(given.streaming_content)  # type: ignore[attr-defined]  # a stream
    with ZipFile(io.BytesIO(content)) as archive:
        tables = json.loads(archive.read("manifest.json"))["tables"]
        (user,) = json.loads(archive.read(tables["accounts_user"]["file"]))
        devices = json.loads(archive.read(tables["accounts_devicesession"]["file"]))
    assert {name: user[name] for name in NAMES} == NAMES
    assert sorted(row["device_name"] for row in devices) == ["phone", "tablet", "tablet"]


def one_ends_the_other(phone: Phone, tablet: Phone) -> None:
    rows = ask(phone, "get", "sessions/")["results"]
    (other,) = [row["id"] for row in rows if row["is_going_on"] and not row["is_current"]]

    ask(phone, "post", f"sessions/{other}/revoke/", status=204)

    assert (opens(phone), opens(tablet)) == (200, 401)
    assert tablet.refresh().status_code == 400
    assert DeviceSession.objects.get(pk=other).ended_because == SessionEnd.REVOKED


def nothing_is_left(phone: Phone, ada: User) -> None:
    word = {"confirmation": CONFIRMATION}
    refused = ask(phone, "post", "account/erasure/", word, status=409)
    assert (refused["code"], opens(phone)) == ("subscription_active", 200)
    ask(phone, "post", "subscription/cancel/")

    token = ask(phone, "post", "account/erasure/", word, status=202)["token"]

    assert opens(phone) == 401
    assert phone.refresh().status_code == 400
    assert Phone("late").log_in().status_code in {400, 401, 403}
    with as_operator("test"):
        ErasureRequest.objects.update(due_at=timezone.now())
    carry_out_erasures.apply(throw=True)
    receipt = APIClient().post(f"{API}/account/erasure/receipt/", {"token": token}).json()
    assert receipt["user_id"] == str(ada.pk)
    assert receipt["deleted"]["accounts_devicesession"] == 3
    with as_operator("test"):
        assert what_is_left([ada.pk]) == {}
        assert ErasureRequest.objects.get().status == ErasureStatus.COMPLETED
    assert Phone("late").log_in(ADDRESS, PASSWORD).status_code == 400
