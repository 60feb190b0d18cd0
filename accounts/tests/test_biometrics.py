"""Keys that devices hold: announced, registered by a signature, proofs of who is there."""

import base64
import hashlib
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from psycopg import errors
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from accounts.choices import Scope
from accounts.models import BiometricChallenge, BiometricKey, DeviceSession, User
from accounts.querysets import BiometricChallengeQuerySet
from accounts.services import biometrics
from accounts.services.biometrics import verify_key
from accounts.services.sessions import Device as LoginDevice
from accounts.services.sessions import begin_session, tokens_of
from accounts.tests.devices import URL, Device, PrivateKey, p256
from accounts.tests.factories import (
    client_of,
    logged_in_client_of,
    make_user,
    operator_browser,
)
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser, raw_app
from common.tests.races import PATIENCE_SECONDS, at_once
from tests.events import changes, security, values

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"])

NO_SUCH = UUID("01890000-0000-7000-8000-000000000000")


@pytest.fixture
def ada() -> User:
    return make_user("ada")


@pytest.fixture
def login(ada: User) -> APIClient:
    """A client in which ada has just logged in."""
    return logged_in_client_of(ada)


@pytest.fixture
def device() -> Device:
    return Device()


def keys_of(user: User) -> list[dict[str, Any]]:
    with acting_as(user.pk):
        return [dict(row) for row in BiometricKey.objects.order_by("id").values()]


def key_of(user: User) -> BiometricKey:
    with acting_as(user.pk):
        return BiometricKey.objects.get()


def challenge_for(client: APIClient, key_id: str) -> dict[str, Any]:
    answer = client.post(f"{URL}{key_id}/challenge/")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def verify(client: APIClient, device: Device, key_id: str, **changes: Any) -> Any:
    """An attempt on a challenge that is asked for first."""
    challenge = challenge_for(client, key_id)
    return client.post(f"{URL}{key_id}/verify/", device.answer(key_id, challenge, **changes))


def fail(client: APIClient, device: Device, key_id: str) -> Any:
    """An attempt with the key of another device that calls itself the same."""
    return verify(client, Device(device.device_id), key_id)


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# --- Registration -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [p256, Ed25519PrivateKey.generate])
def test_a_key_is_announced_and_registered_by_its_first_signature(
    ada: User, login: APIClient, make: Callable[[], PrivateKey]
) -> None:
    device = Device(private=make())

    announced = login.post(URL, device.announcement())

    assert announced.status_code == 201
    shown = announced.json()
    challenge = shown.pop("challenge")
    key = key_of(ada)
    created_at = key.created_at.isoformat().replace("+00:00", "Z")
    assert shown == {
        "id": str(key.pk), "kind": "fingerprint", "device_id": "phone-1", "label": "My phone",
        "status": "pending", "failures": 0, "created_at": created_at, "registered_at": None,
        "last_used_at": None, "revoked_at": None,
    }  # fmt: skip
    assert (len(base64.b64decode(challenge["challenge"])), challenge["purpose"]) == (
        32,
        "registration",
    )
    assert bytes(key.public_key) == device.public_key

    completed = login.post(f"{URL}{key.pk}/complete/", device.answer(str(key.pk), challenge))

    assert completed.status_code == 200
    registered_at = completed.json()["registered_at"]
    assert registered_at is not None
    assert completed.json() == {**shown, "status": "active", "registered_at": registered_at}
    assert login.get(URL).json()["results"] == [completed.json()]
    assert login.get(f"{URL}{key.pk}/").json() == completed.json()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("face_id", "face"), ("touch_id", "fingerprint"), ("fingerprint", "fingerprint"),
        ("voice_print", "voice"), ("face", "face"), ("voice", "voice"),
    ],
)  # fmt: skip
def test_each_name_of_a_kind_is_understood(
    login: APIClient, device: Device, said: str, kept: str
) -> None:
    assert login.post(URL, device.announcement(kind=said)).json()["kind"] == kept


def encoded(
    key: Any, form: Any = PublicFormat.SubjectPublicKeyInfo, how: Any = Encoding.DER
) -> str:
    return base64.b64encode(key.public_bytes(how, form)).decode()


OTHER_KEYS: dict[str, Callable[[], str]] = {
    "RSA": lambda: encoded(rsa.generate_private_key(65537, 2048).public_key()),
    "P-384": lambda: encoded(ec.generate_private_key(ec.SECP384R1()).public_key()),
    "secp256k1": lambda: encoded(ec.generate_private_key(ec.SECP256K1()).public_key()),
    "X25519": lambda: encoded(x25519.X25519PrivateKey.generate().public_key()),
    "Ed448": lambda: encoded(ed448.Ed448PrivateKey.generate().public_key()),
    "bare point": lambda: encoded(
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        PublicFormat.UncompressedPoint,
        Encoding.X962,
    ),
    "PEM": lambda: encoded(ec.generate_private_key(ec.SECP256R1()).public_key(), how=Encoding.PEM),
    "cut": lambda: base64.b64encode(Device().public_key[:-1]).decode(),
    "longer": lambda: base64.b64encode(Device().public_key + b"\0").decode(),
    # The last bytes are the point's second coordinate.
    "off the curve": lambda: base64.b64encode(Device().public_key[:-4] + bytes(4)).decode(),
    "noise": lambda: base64.b64encode(os.urandom(91)).decode(),
    "no base64": lambda: "!" * 120,
    "other letters": lambda: "é" * 120,
    "half a pair": lambda: "\ud800" * 8,
    "too long": lambda: base64.b64encode(bytes(400)).decode(),
    "nothing": lambda: "",
}


@pytest.mark.parametrize("name", sorted(OTHER_KEYS))
def test_a_key_of_another_sort_is_refused(
    ada: User, login: APIClient, device: Device, name: str
) -> None:
    if name == "half a pair":
        body = '{"kind": "face_id", "device_id": "d", "public_key": "\\ud800AAAAAAA"}'
        answer = login.generic("POST", URL, body, content_type="application/json")
    else:
        answer = login.post(URL, device.announcement(public_key=OTHER_KEYS[name]()))

    assert code_of(answer) == (400, "invalid_input")
    assert {error["field"] for error in answer.json()["errors"]} == {"public_key"}
    assert keys_of(ada) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "retina"}, "kind"), ({"kind": None}, "kind"), ({"device_id": ""}, "device_id"),
        ({"device_id": "x" * 101}, "device_id"), ({"device_id": "a\0"}, "device_id"),
        ({"label": "x" * 101}, "label"), ({"label": "\0"}, "label"),
        ({"public_key": 7}, "public_key"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    ada: User, login: APIClient, device: Device, change: dict[str, Any], field: str
) -> None:
    answer = login.post(URL, device.announcement(**change))

    assert code_of(answer) == (400, "invalid_input")
    assert {error["field"] for error in answer.json()["errors"]} == {field}
    assert keys_of(ada) == []


@pytest.mark.parametrize("missing", ["kind", "device_id", "public_key"])
def test_what_is_missing_is_named(
    ada: User, login: APIClient, device: Device, missing: str
) -> None:
    asked = device.announcement()
    del asked[missing]

    answer = login.post(URL, asked)

    assert answer.status_code == 400
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(missing, "required")]
    assert keys_of(ada) == []


def test_a_label_may_be_left_out_and_stands_in_the_table_sealed(
    ada: User, login: APIClient
) -> None:
    asked = Device("phone-2").announcement()
    del asked["label"]

    bare = login.post(URL, asked).json()
    Device().register(login, label="Ada's telephone")

    assert bare["label"] is None
    assert [row["label"] for row in login.get(URL).json()["results"]] == ["Ada's telephone", None]
    with connect_as_superuser() as superuser:
        rows = superuser.execute("SELECT label FROM accounts_biometrickey ORDER BY id").fetchall()
    assert rows[0] == (None,)
    assert b"telephone" not in rows[1][0]  # type: ignore[operator]  # bytes


def test_a_repeated_completion_is_refused(ada: User, login: APIClient, device: Device) -> None:
    announced = login.post(URL, device.announcement()).json()
    answer = device.answer(announced["id"], announced["challenge"])

    answers = [login.post(f"{URL}{announced['id']}/complete/", answer) for _ in range(2)]

    assert answers[0].status_code == 200
    assert code_of(answers[1]) == (400, "wrong_key_status")
    assert (key_of(ada).status, key_of(ada).failures) == ("active", 0)


def test_a_device_has_one_key_of_a_kind(ada: User, login: APIClient, device: Device) -> None:
    key_id = device.register(login)

    again = login.post(URL, Device().announcement())

    assert code_of(again) == (409, "biometric_key_exists")
    assert [str(row["id"]) for row in keys_of(ada)] == [key_id]
    Device().register(login, kind="face_id")
    Device("phone-2").register(login)
    Device().register(logged_in_client_of(make_user("bob")))
    assert login.delete(f"{URL}{key_id}/").status_code == 204
    Device().register(login)
    assert [row["status"] for row in keys_of(ada)] == ["revoked", "active", "active", "active"]


def test_an_announcement_that_was_never_completed_gives_way(
    ada: User, login: APIClient, device: Device
) -> None:
    first = login.post(URL, device.announcement()).json()

    device.register(login)

    late = login.post(
        f"{URL}{first['id']}/complete/", device.answer(first["id"], first["challenge"])
    )
    assert code_of(late) == (400, "wrong_key_status")
    assert [row["status"] for row in keys_of(ada)] == ["revoked", "active"]


def test_a_person_has_at_most_so_many_keys(
    ada: User, login: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(biometrics, "MOST_KEYS", 2)
    Device("phone-1").register(login)
    key_id = Device("phone-2").register(login)

    refused = login.post(URL, Device("phone-3").announcement())

    assert code_of(refused) == (409, "too_many_biometric_keys")
    assert len(keys_of(ada)) == 2
    login.delete(f"{URL}{key_id}/")
    Device("phone-3").register(login)


def test_many_announcements_at_once_leave_one(ada: User, device: Device) -> None:
    def announce() -> int:
        return logged_in_client_of(ada).post(URL, device.announcement()).status_code

    outcomes = at_once([announce] * 6)

    assert outcomes == [201] * 6
    assert sorted(row["status"] for row in keys_of(ada)) == ["pending", *["revoked"] * 5]


# --- Verification -----------------------------------------------------------------------------


def test_a_verification_is_a_fresh_proof(
    ada: User, device: Device, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    key_id = device.register(logged_in_client_of(ada))
    stale = logged_in_client_of(ada, proved_at=timezone.now() - timedelta(days=1))
    noted: list[UUID] = []
    monkeypatch.setattr(biometrics, "renew_proof", lambda *, session_id: noted.append(session_id))

    answer = verify(stale, device, key_id)

    assert answer.status_code == 200
    key = key_of(ada)
    assert key.last_used_at is not None
    assert answer.json()["last_used_at"] == key.last_used_at.isoformat().replace("+00:00", "Z")
    assert len(noted) == 1
    (event,) = security("biometric_verified")
    assert (event["user_id"], event["actor_id"], event["row_id"]) == (ada.pk, ada.pk, key.pk)
    assert event["subject"] == "accounts_biometrickey"
    assert security("biometric_failed") == []


def test_a_verification_opens_to_a_stale_login_what_needs_a_fresh_one(
    ada: User, device: Device
) -> None:
    key_id = device.register(logged_in_client_of(ada))
    with acting_as(ada.pk):
        session = begin_session(user_id=ada.pk, method="password", device=LoginDevice())
        DeviceSession.objects.update(proved_at=timezone.now() - timedelta(days=1))
    stale = APIClient()
    stale.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens_of(session).access_token}")
    wanted = {
        "name": "laptop",
        "scopes": ["account:read"],
        "expires_at": timezone.now() + timedelta(days=1),
    }

    before = stale.post("/api/v1/tokens/", wanted)
    failed = fail(stale, device, key_id)
    still = stale.post("/api/v1/tokens/", wanted)
    verified = verify(stale, device, key_id)
    after = stale.post("/api/v1/tokens/", wanted)

    assert code_of(before) == code_of(still) == (403, "reauthentication_required")
    assert (failed.status_code, verified.status_code) == (401, 200)
    assert after.status_code == 201


def test_a_challenge_is_another_one_each_time_and_takes_the_place_of_the_one_before(
    ada: User, login: APIClient, device: Device
) -> None:
    key_id = device.register(login)
    first, second = challenge_for(login, key_id), challenge_for(login, key_id)

    assert first["challenge"] != second["challenge"]
    assert (first["purpose"], second["purpose"]) == ("verification", "verification")
    late = login.post(f"{URL}{key_id}/verify/", device.answer(key_id, first))
    assert code_of(late) == (401, "verification_failed")
    with acting_as(ada.pk):
        assert BiometricChallenge.objects.count() == 1


def test_a_challenge_is_answered_once(ada: User, login: APIClient, device: Device) -> None:
    key_id = device.register(login)
    answer = device.answer(key_id, challenge_for(login, key_id))

    answers = [login.post(f"{URL}{key_id}/verify/", answer) for _ in range(2)]

    assert answers[0].status_code == 200
    assert code_of(answers[1]) == (400, "challenge_expired")
    assert len(security("biometric_verified")) == 1
    assert key_of(ada).failures == 0


def test_without_a_challenge_there_is_nothing_to_answer(
    ada: User, login: APIClient, device: Device
) -> None:
    key_id = device.register(login)
    made_up = {"purpose": "verification", "challenge": base64.b64encode(bytes(32)).decode()}

    answer = login.post(f"{URL}{key_id}/verify/", device.answer(key_id, made_up))

    assert code_of(answer) == (400, "challenge_expired")
    assert key_of(ada).last_used_at is None


@pytest.mark.parametrize(("seconds", "status"), [(299, 200), (300, 400), (301, 400)])
@pytest.mark.parametrize("verb", ["complete", "verify"])
def test_a_challenge_lasts_five_minutes(
    ada: User, device: Device, monkeypatch: pytest.MonkeyPatch, verb: str, seconds: int, status: int
) -> None:
    moment = timezone.now()
    client = logged_in_client_of(ada, proved_at=moment + timedelta(days=1))
    monkeypatch.setattr(timezone, "now", lambda: moment)
    if verb == "verify":
        key_id = device.register(client)
        challenge = challenge_for(client, key_id)
    else:
        announced = client.post(URL, device.announcement()).json()
        key_id, challenge = announced["id"], announced["challenge"]
    assert challenge["expires_at"] == (
        (moment + timedelta(minutes=5)).isoformat().replace("+00:00", "Z")
    )
    monkeypatch.setattr(timezone, "now", lambda: moment + timedelta(seconds=seconds))

    answer = client.post(f"{URL}{key_id}/{verb}/", device.answer(key_id, challenge))

    assert answer.status_code == status
    if status == 400:
        assert answer.json()["code"] == "challenge_expired"
        assert (key_of(ada).last_used_at, key_of(ada).failures) == (None, 0)
        assert key_of(ada).status == ("pending" if verb == "complete" else "active")


def forgeries(device: Device, key_id: str, challenge: dict[str, Any]) -> dict[str, str]:
    """Signatures that prove nothing, by what is wrong with them."""
    purpose, asked = challenge["purpose"], challenge["challenge"]
    other = {"registration": "verification", "verification": "registration"}[purpose]
    raw = base64.b64decode(asked)
    message = b"commonplace biometric %s\0" % purpose.encode() + UUID(key_id).bytes + raw
    right = device.sign(message)
    r, s = decode_dss_signature(right)

    def text(signature: bytes) -> str:
        return base64.b64encode(signature).decode()

    return {
        "another device's": Device().signature(purpose, key_id, asked),
        "for the other purpose": device.signature(other, key_id, asked),
        "for another key": device.signature(purpose, str(NO_SUCH), asked),
        "for another challenge": device.signature(purpose, key_id, text(bytes(32))),
        "of the challenge alone": text(device.sign(raw)),
        "of the message's digest": text(device.sign(hashlib.sha256(message).digest())),
        "not in DER": text(r.to_bytes(32, "big") + s.to_bytes(32, "big")),
        "with a byte more": text(right + b"\0"),
        "with a byte less": text(right[:-1]),
        "with a bit turned": text(right[:-1] + bytes([right[-1] ^ 1])),
        "of zeros": text(bytes(70)),
    }


FORGERIES = sorted(
    forgeries(Device(), str(NO_SUCH), {"purpose": "verification", "challenge": "AAAA"})
)


@pytest.mark.parametrize("what", FORGERIES)
def test_a_signature_that_proves_nothing_is_refused_and_uses_the_challenge_up(
    ada: User, login: APIClient, device: Device, what: str
) -> None:
    key_id = device.register(login)
    challenge = challenge_for(login, key_id)
    path = f"{URL}{key_id}/verify/"
    right = device.answer(key_id, challenge)

    wrong = login.post(path, {**right, "signature": forgeries(device, key_id, challenge)[what]})

    assert code_of(wrong) == (401, "verification_failed")
    assert code_of(login.post(path, right)) == (400, "challenge_expired")
    key = key_of(ada)
    assert (key.failures, key.status, key.last_used_at) == (1, "active", None)
    (event,) = security("biometric_failed")
    assert (event["user_id"], event["row_id"]) == (ada.pk, key.pk)
    assert event["details"] == {"because": "wrong_signature"}
    assert security("biometric_verified") == []


@pytest.mark.parametrize("what", ["another device's", "for the other purpose"])
def test_a_key_is_not_registered_by_another_signature(
    ada: User, login: APIClient, device: Device, what: str
) -> None:
    announced = login.post(URL, device.announcement()).json()
    key_id, challenge = announced["id"], announced["challenge"]
    path = f"{URL}{key_id}/complete/"
    right = device.answer(key_id, challenge)

    wrong = login.post(path, {**right, "signature": forgeries(device, key_id, challenge)[what]})

    assert code_of(wrong) == (401, "verification_failed")
    assert code_of(login.post(path, right)) == (400, "challenge_expired")
    assert (key_of(ada).status, key_of(ada).failures) == ("pending", 1)
    # It may be asked again.
    again = challenge_for(login, key_id)
    assert again["purpose"] == "registration"
    assert login.post(path, device.answer(key_id, again)).status_code == 200
    assert (key_of(ada).status, key_of(ada).failures) == ("active", 0)


@pytest.mark.parametrize("verb", ["complete", "verify"])
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"signature": "A" * 28}, "signature"), ({"signature": "A" * 204}, "signature"),
        ({"signature": "*" * 96}, "signature"), ({"signature": ""}, "signature"),
        ({"signature": None}, "signature"), ({"device_id": ""}, "device_id"),
        ({"device_id": None}, "device_id"),
    ],
)  # fmt: skip
def test_a_request_that_is_no_attempt_uses_nothing_up(
    ada: User, login: APIClient, device: Device, verb: str, change: dict[str, Any], field: str
) -> None:
    if verb == "verify":
        key_id = device.register(login)
        challenge = challenge_for(login, key_id)
    else:
        announced = login.post(URL, device.announcement()).json()
        key_id, challenge = announced["id"], announced["challenge"]
    right, path = device.answer(key_id, challenge), f"{URL}{key_id}/{verb}/"

    wrong = login.post(path, {**right, **change})

    assert code_of(wrong) == (400, "invalid_input")
    assert {error["field"] for error in wrong.json()["errors"]} == {field}
    assert key_of(ada).failures == 0
    assert login.post(path, right).status_code == 200


@pytest.mark.parametrize("verb", ["complete", "verify"])
def test_another_device_is_refused(ada: User, login: APIClient, device: Device, verb: str) -> None:
    if verb == "verify":
        key_id = device.register(login)
        challenge = challenge_for(login, key_id)
    else:
        announced = login.post(URL, device.announcement()).json()
        key_id, challenge = announced["id"], announced["challenge"]
    before = keys_of(ada)

    answer = login.post(
        f"{URL}{key_id}/{verb}/", device.answer(key_id, challenge, device_id="phone-2")
    )

    assert code_of(answer) == (403, "other_device")
    assert keys_of(ada) == before
    assert security("biometric_verified") == []
    (event,) = security("biometric_failed")
    assert event["details"] == {"because": "other_device"}


def test_failures_are_counted_until_a_right_signature(
    ada: User, login: APIClient, device: Device
) -> None:
    key_id = device.register(login)

    for count in (1, 2, 3):
        assert fail(login, device, key_id).status_code == 401
        assert key_of(ada).failures == count
    assert verify(login, device, key_id).status_code == 200

    assert key_of(ada).failures == 0


def test_ten_failures_in_a_row_revoke_the_key(ada: User, login: APIClient, device: Device) -> None:
    key_id = device.register(login)

    answers = [fail(login, device, key_id).status_code for _ in range(9)]
    assert (key_of(ada).status, key_of(ada).failures) == ("active", 9)
    challenge = challenge_for(login, key_id)
    answers.append(
        login.post(
            f"{URL}{key_id}/verify/", Device(device.device_id).answer(key_id, challenge)
        ).status_code
    )

    assert answers == [401] * 10
    key = key_of(ada)
    assert (key.status, key.failures, key.revoked_at is None) == ("revoked", 10, False)
    assert code_of(login.post(f"{URL}{key_id}/challenge/")) == (400, "wrong_key_status")
    right = device.answer(key_id, challenge)
    assert code_of(login.post(f"{URL}{key_id}/verify/", right)) == (400, "wrong_key_status")
    assert len(security("biometric_failed")) == 10


def test_a_key_is_not_verified_before_it_is_registered(
    ada: User, login: APIClient, device: Device
) -> None:
    announced = login.post(URL, device.announcement()).json()
    challenge = {**announced["challenge"], "purpose": "verification"}

    answer = login.post(
        f"{URL}{announced['id']}/verify/", device.answer(announced["id"], challenge)
    )

    assert code_of(answer) == (400, "wrong_key_status")
    assert key_of(ada).status == "pending"


# --- At once ----------------------------------------------------------------------------------


def test_of_many_who_answer_a_challenge_at_once_one_succeeds(
    ada: User, login: APIClient, device: Device
) -> None:
    key_id = device.register(login)
    answer = device.answer(key_id, challenge_for(login, key_id))

    def attempt() -> tuple[int, str]:
        given = logged_in_client_of(ada).post(f"{URL}{key_id}/verify/", answer)
        return given.status_code, given.json().get("code", "")

    outcomes = at_once([attempt] * 8)

    assert sorted(outcomes, key=str) == [(200, ""), *[(400, "challenge_expired")] * 7]
    assert len(security("biometric_verified")) == 1


def test_of_many_who_hold_an_unused_challenge_one_uses_it_up(
    ada: User, login: APIClient, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them have read it as unused before the first of them says that it is used."""
    key_id = device.register(login)
    answer = device.answer(key_id, challenge_for(login, key_id))
    signature = base64.b64decode(answer["signature"])
    everyone_read = threading.Barrier(8, timeout=PATIENCE_SECONDS)

    def first(unused: BiometricChallengeQuerySet) -> BiometricChallenge | None:
        found = QuerySet.first(unused)
        everyone_read.wait()
        return found

    monkeypatch.setattr(BiometricChallengeQuerySet, "first", first)

    def attempt() -> str:
        return verify_key(
            user_id=ada.pk,
            session_id=NO_SUCH,
            key_id=UUID(key_id),
            device_id="phone-1",
            signature=signature,
        ).status

    outcomes = at_once([attempt] * 8)

    assert sorted(
        outcome if isinstance(outcome, str) else type(outcome).__name__ for outcome in outcomes
    ) == [*["ChallengeExpiredError"] * 7, "active"]


def test_a_key_that_is_revoked_while_it_is_verified_proves_nothing(
    ada: User, login: APIClient, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id = device.register(login)
    noted: list[UUID] = []
    monkeypatch.setattr(biometrics, "renew_proof", lambda *, session_id: noted.append(session_id))

    def revoked_meanwhile(*_: Any) -> bool:
        assert login.delete(f"{URL}{key_id}/").status_code == 204
        return True

    monkeypatch.setattr(biometrics, "is_signed_by", revoked_meanwhile)

    answer = verify(login, device, key_id)

    assert code_of(answer) == (400, "wrong_key_status")
    assert noted == []
    assert (key_of(ada).status, key_of(ada).last_used_at) == ("revoked", None)
    assert security("biometric_verified") == []


def test_many_challenges_at_once_leave_one(ada: User, login: APIClient, device: Device) -> None:
    key_id = device.register(login)

    outcomes = at_once(
        [lambda: logged_in_client_of(ada).post(f"{URL}{key_id}/challenge/").status_code] * 6
    )

    assert outcomes == [200] * 6
    with acting_as(ada.pk):
        assert BiometricChallenge.objects.count() == 1


# --- Whose, and by whom -----------------------------------------------------------------------


def test_a_strangers_key_is_not_there(ada: User, login: APIClient, device: Device) -> None:
    key_id = device.register(login)
    challenge = challenge_for(login, key_id)
    bob = logged_in_client_of(make_user("bob"))
    before = keys_of(ada)

    for path in (f"{URL}{key_id}/", f"{URL}{NO_SUCH}/", f"{URL}not-an-id/"):
        answers = [
            bob.get(path),
            bob.delete(path),
            bob.post(f"{path}challenge/"),
            bob.post(f"{path}complete/", device.answer(key_id, challenge)),
            bob.post(f"{path}verify/", device.answer(key_id, challenge)),
        ]
        assert [code_of(answer) for answer in answers] == [(404, "not_found")] * 5

    assert bob.get(URL).json()["results"] == []
    assert keys_of(ada) == before
    # Nor is its challenge used up.
    answer = login.post(f"{URL}{key_id}/verify/", device.answer(key_id, challenge))
    assert answer.status_code == 200


def test_a_token_has_no_part_in_proofs(ada: User, login: APIClient, device: Device) -> None:
    key_id = device.register(login)
    challenge = challenge_for(login, key_id)
    program = client_of(ada)
    right = device.answer(key_id, challenge)
    before = keys_of(ada)

    answers = [
        program.post(URL, Device("phone-2").announcement()),
        program.post(f"{URL}{key_id}/complete/", right),
        program.post(f"{URL}{key_id}/challenge/"),
        program.post(f"{URL}{key_id}/verify/", right),
    ]

    assert [code_of(answer) for answer in answers] == [(403, "login_required")] * 4
    unscoped = client_of(ada, Scope.ACCOUNT_READ).post(f"{URL}{key_id}/verify/", right)
    assert code_of(unscoped) == (403, "permission_denied")
    assert keys_of(ada) == before
    assert program.get(URL).status_code == 200
    assert login.post(f"{URL}{key_id}/verify/", right).status_code == 200


def test_a_registration_needs_a_fresh_login(
    ada: User, login: APIClient, device: Device, settings: Settings
) -> None:
    ago = timezone.now() - timedelta(seconds=settings.FRESH_LOGIN_SECONDS + 1)
    stale = logged_in_client_of(ada, proved_at=ago)
    refused = stale.post(URL, device.announcement())
    announced = login.post(URL, device.announcement()).json()
    right = device.answer(announced["id"], announced["challenge"])

    also = stale.post(f"{URL}{announced['id']}/complete/", right)

    assert code_of(refused) == code_of(also) == (403, "reauthentication_required")
    assert [row["status"] for row in keys_of(ada)] == ["pending"]


def test_scopes_cover_looking_and_revoking(ada: User, login: APIClient, device: Device) -> None:
    key_id = device.register(login)
    reader, writer = client_of(ada, Scope.ACCOUNT_READ), client_of(ada, Scope.ACCOUNT_WRITE)

    assert reader.get(f"{URL}{key_id}/").status_code == 200
    assert code_of(writer.get(URL)) == (403, "permission_denied")
    assert code_of(reader.delete(f"{URL}{key_id}/")) == (403, "permission_denied")
    assert key_of(ada).status == "active"
    assert writer.delete(f"{URL}{key_id}/").status_code == 204
    assert key_of(ada).status == "revoked"


def test_a_revoked_key_proves_nothing_and_the_first_time_stays(
    ada: User, login: APIClient, device: Device
) -> None:
    key_id = device.register(login)
    challenge = challenge_for(login, key_id)

    assert login.delete(f"{URL}{key_id}/").status_code == 204
    first = key_of(ada).revoked_at
    assert login.delete(f"{URL}{key_id}/").status_code == 204

    assert first is not None
    assert key_of(ada).revoked_at == first
    for verb in ("verify", "complete"):
        answer = login.post(f"{URL}{key_id}/{verb}/", device.answer(key_id, challenge))
        assert code_of(answer) == (400, "wrong_key_status")
    assert [row["status"] for row in login.get(URL).json()["results"]] == ["revoked"]


def test_an_operator_revokes_a_key_and_reads_no_label(
    ada: User, login: APIClient, device: Device
) -> None:
    key_id = device.register(login, label="Ada's telephone")
    browser = operator_browser("grace")
    listed = reverse("admin:accounts_biometrickey_changelist")

    pages = [
        browser.get(listed).content.decode(),
        browser.get(reverse("admin:accounts_biometrickey_change", args=[key_id])).content.decode(),
    ]
    answer = browser.post(listed, {"action": "revoke", "_selected_action": [key_id]})

    assert "telephone" not in "".join(pages)
    assert key_id in pages[0]
    assert answer.status_code == 302
    assert key_of(ada).status == "revoked"
    change = changes("accounts_biometrickey")[-1]
    assert (change["role"], change["reason"]) == ("operator", "to look after the test")


# --- What the database guards -----------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"failures": 11}, {"failures": -1}, {"kind": "retina"}, {"status": "lost"},
        {"status": "pending"}, {"status": "revoked"}, {"registered_at": None},
        {"revoked_at": timezone.now()},
    ],
)  # fmt: skip
def test_the_database_keeps_no_key_that_cannot_be(
    ada: User, login: APIClient, device: Device, change: dict[str, Any]
) -> None:
    key_id = device.register(login)
    before = keys_of(ada)
    (name, value) = next(iter(change.items()))

    with connect_as_superuser() as superuser, pytest.raises(errors.CheckViolation):
        superuser.execute(
            f"UPDATE accounts_biometrickey SET {name} = %s WHERE id = %s".encode(), [value, key_id]
        )

    assert keys_of(ada) == before


def test_the_database_keeps_one_key_of_a_device_and_no_challenge_that_is_over(
    ada: User, login: APIClient, device: Device
) -> None:
    device.register(login)
    key = key_of(ada)
    twin = {
        "user_id": ada.pk, "device_id": "phone-1", "kind": "fingerprint", "public_key": b"k",
    }  # fmt: skip
    now = timezone.now()

    with acting_as(ada.pk):
        with pytest.raises(IntegrityError, match="one_per_device"), transaction.atomic():
            BiometricKey.objects.create(**twin)
        BiometricChallenge.objects.all().delete()
        with pytest.raises(IntegrityError, match="expires_later"), transaction.atomic():
            BiometricChallenge.objects.create(
                user_id=ada.pk, key=key, purpose="verification", challenge=b"c", created_at=now,
                expires_at=now,
            )  # fmt: skip

    assert len(keys_of(ada)) == 1


def test_app_changes_nothing_of_what_a_key_is(ada: User, login: APIClient, device: Device) -> None:
    device.register(login)
    bob = make_user("bob")
    before = keys_of(ada)

    for change in ("public_key = 'x'", "device_id = 'x'", "kind = 'face'", "user_id = id"):
        with pytest.raises(errors.InsufficientPrivilege), raw_app(ada.pk) as raw:
            raw.execute(f"UPDATE accounts_biometrickey SET {change}".encode())
    with pytest.raises(errors.InsufficientPrivilege), raw_app(ada.pk) as raw:
        raw.execute("DELETE FROM accounts_biometrickey")
    with raw_app(bob.pk) as raw:
        assert raw.execute("UPDATE accounts_biometrickey SET failures = 9").rowcount == 0
        assert raw.execute("DELETE FROM accounts_biometricchallenge").rowcount == 0

    assert keys_of(ada) == before


def test_the_stream_tells_of_a_key_without_words(
    ada: User, login: APIClient, device: Device
) -> None:
    key_id = device.register(login, label="Ada's telephone")
    verify(login, device, key_id)
    fail(login, device, key_id)
    login.delete(f"{URL}{key_id}/")

    told = changes("accounts_biometrickey")

    assert values(told, "operation", "changed") == [
        ("INSERT", None),
        ("UPDATE", ["registered_at", "status"]),
        ("UPDATE", ["failures"]),
        ("UPDATE", ["revoked_at", "status"]),
    ]
    assert [row["name"] for row in told] == [
        "accounts-biometrickey-added",
        "biometric-key-registered",
        "accounts-biometrickey-changed",
        "biometric-key-revoked",
    ]
    assert "telephone" not in str(told)
    assert "phone-1" not in str(told)


def test_more_keys_cost_no_more_queries(
    ada: User, login: APIClient, django_assert_num_queries: Any
) -> None:
    Device("phone-0").register(login)
    login.get(URL)
    # Begin, setting, the rows, commit.
    with django_assert_num_queries(4):
        login.get(URL)
    for number in range(1, 6):
        Device(f"phone-{number}").register(login)

    with django_assert_num_queries(4):
        assert len(login.get(URL).json()["results"]) == 6


def test_a_verification_costs_a_fixed_number_of_queries(
    ada: User, login: APIClient, device: Device, django_assert_num_queries: Any
) -> None:
    key_id = device.register(login)
    verify(login, device, key_id)
    answer = device.answer(key_id, challenge_for(login, key_id))

    # Thrice begin, setting and commit; the key, its challenge, that it is used; that the key is,
    # the session's proof, the key again.
    with django_assert_num_queries(12):
        login.post(f"{URL}{key_id}/verify/", answer)


def test_the_house_sees_keys_with_a_reason_only(ada: User, login: APIClient) -> None:
    Device().register(login)

    with as_operator("count them"):
        assert BiometricKey.objects.count() == 1
    assert BiometricKey.objects.count() == 0
