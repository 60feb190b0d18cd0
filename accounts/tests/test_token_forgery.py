"""Access and refresh tokens that nobody was given open nothing, and end nobody's login."""

import base64
import struct
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import DeviceSession
from accounts.session_tokens import read_refresh_token, session_of_access_token
from accounts.tests.phones import Phone, registered
from audit.choices import SecurityKind
from common.encryption.derivation import key_for
from common.ids import uuid7
from tests.events import security

pytestmark = pytest.mark.django_db(transaction=True)

PARTS = struct.Struct(">16sI")
MAC_BYTES = 32


@pytest.fixture
def phone() -> Phone:
    return registered()


def opens(phone: Phone) -> int:
    return int(phone.call("get", "/api/v1/account/").status_code)


def as_token(content: bytes) -> str:
    return "cpr_" + base64.urlsafe_b64encode(content).decode().rstrip("=")


def content_of(token: str) -> bytes:
    text = token.removeprefix("cpr_")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sessions() -> list[tuple[UUID, int, object]]:
    return list(DeviceSession.objects.values_list("pk", "generation", "ended_at"))


# --- Refresh tokens ---------------------------------------------------------------------------


@pytest.mark.parametrize("mac", [b"", bytes(MAC_BYTES), b"x" * MAC_BYTES, bytes(MAC_BYTES - 1)])
@pytest.mark.parametrize("generation", [0, 1])
def test_whoever_knows_a_sessions_id_makes_no_refresh_token(
    phone: Phone, generation: int, mac: bytes
) -> None:
    before = sessions()
    forged = as_token(PARTS.pack(before[0][0].bytes, generation) + mac)

    answer = Phone("thief", refresh_token=forged).refresh()

    assert answer.status_code == 400
    assert sessions() == before
    assert security(SecurityKind.REFRESH_REUSED) == []
    assert opens(phone) == 200
    assert phone.refresh().status_code == 200


def test_the_code_of_one_session_or_number_fits_no_other(phone: Phone) -> None:
    stranger = registered("stranger", "stranger@example.org")
    mine = read_refresh_token(phone.refresh_token)
    before = sessions()
    assert mine is not None
    mac = content_of(stranger.refresh_token)[PARTS.size :]
    of_mine = content_of(phone.refresh_token)[PARTS.size :]
    forged = (
        PARTS.pack(mine.session_id.bytes, mine.generation) + mac,
        PARTS.pack(mine.session_id.bytes, mine.generation + 1) + of_mine,
    )

    for content in forged:
        assert Phone("thief", refresh_token=as_token(content)).refresh().status_code == 400

    assert sessions() == before


def test_every_bit_of_a_refresh_token_counts(phone: Phone) -> None:
    content = content_of(phone.refresh_token)

    for bit in range(len(content) * 8):
        turned = bytearray(content)
        turned[bit // 8] ^= 1 << bit % 8
        assert read_refresh_token(as_token(bytes(turned))) is None
    for length in range(len(content)):
        assert read_refresh_token(as_token(content[:length])) is None
    assert read_refresh_token(as_token(content + b"\0")) is None
    assert read_refresh_token(as_token(content)) is not None


# --- Access tokens ----------------------------------------------------------------------------


def claims_of(session: DeviceSession) -> dict[str, Any]:
    """As an access token of the session has them."""
    now = timezone.now()
    return {
        "iss": settings.SITE_URL,
        "aud": "commonplace",
        "sub": str(session.user_id),
        "sid": str(session.pk),
        "jti": str(uuid7()),
        "iat": now,
        "exp": now + timedelta(minutes=5),
    }


def signed(claims: dict[str, Any], key: bytes | None = None) -> str:
    return jwt.encode(claims, key or key_for("access tokens"), algorithm="HS256")


def test_a_token_with_every_claim_opens(phone: Phone) -> None:
    """Else the tests below could not fail."""
    made = Phone(access_token=signed(claims_of(DeviceSession.objects.get())))

    assert opens(made) == 200
    assert made.call("get", "auth/session").status_code == 200


@pytest.mark.parametrize(
    "others",
    [
        {"aud": "another"},
        {"aud": ""},
        {"aud": None},
        {"iss": "https://another.example.org"},
        {"iss": f"{settings.SITE_URL}/"},
        {"iss": None},
        {"exp": None},
        {"iat": None},
        {"jti": None},
        {"sub": None},
        {"sid": None},
        {"sid": "no id"},
    ],
    ids=str,
)
def test_a_token_of_another_house_or_without_a_claim_opens_nothing(
    phone: Phone, others: dict[str, Any]
) -> None:
    claims = claims_of(DeviceSession.objects.get()) | others
    token = signed({name: value for name, value in claims.items() if value is not None})

    assert session_of_access_token(token) is None
    assert opens(Phone(access_token=token)) == 401
    assert Phone(access_token=token).call("get", "auth/session").status_code == 401


def test_a_token_signed_otherwise_opens_nothing(phone: Phone) -> None:
    claims = claims_of(DeviceSession.objects.get())

    tokens = [
        signed(claims, key_for("refresh tokens")),
        signed(claims, settings.SECRET_KEY.encode()),
        jwt.encode(claims, "", algorithm="none"),
    ]

    for token in tokens:
        assert opens(Phone(access_token=token)) == 401
