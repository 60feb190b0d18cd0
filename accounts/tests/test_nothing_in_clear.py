"""After a whole journey no row of any table holds an address, a name, a token or a secret."""

import base64
import re
from typing import Any

import pytest
from psycopg import sql
from redis import Redis

from accounts.tests.phones import ADDRESS, PASSWORD, Phone, code_in, deliver_mail, registered
from accounts.tests.providers import CLIENT_ID, SETTINGS, Provider
from accounts.tests.test_second_factors import turn_on
from common.tests.connections import Connection, connect_as_superuser

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = {"full_name": "Augusta Byronknight", "given_name": "Augusta", "family_name": "Byronknight"}
CORRECTED = "Augusta Kingfisher"
DEVICE = "Augustas telephone"
NEW_PASSWORD = "a quite different horse"


def test_no_table_holds_what_identifies_or_opens(settings: object) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = SETTINGS  # type: ignore[attr-defined]
    secrets = _journey()

    with connect_as_superuser() as database:
        found = {
            (table, word)
            for table in _tables(database)
            for word in secrets
            if _holds(database, table, word)
        }
    client = Redis.from_url(settings.REDIS_URL)  # type: ignore[attr-defined]
    in_redis = [
        (key, word)
        for key in client.scan_iter(f"{settings.REDIS_PREFIX}*")  # type: ignore[attr-defined]
        for word in secrets
        if word.encode() in key + (client.dump(key) or b"")
    ]

    assert found == set()
    assert in_redis == []


def _journey() -> set[str]:
    """Everything that a person does with an account; what of it nobody may read."""
    phone = Phone(DEVICE)
    phone.sign_up(**NAMES)
    (first,) = deliver_mail()
    phone.call("post", "auth/email/verify", {"key": code_in(first)})
    secret = turn_on(phone)
    recovery = phone.call("get", "account/authenticators/recovery-codes").json()["data"]
    token = phone.call(
        "post",
        "/api/v1/tokens/",
        {
            "name": "nightly script",
            "scopes": ["account:read"],
            "expires_at": "2027-01-01T00:00:00Z",
        },
    )
    assert token.status_code == 201, token.content
    changed = phone.call("patch", "/api/v1/account/", {"full_name": CORRECTED})
    assert (changed.status_code, changed.json()["full_name"]) == (200, CORRECTED)
    phone.refresh()
    # Left in the middle: their state waits in a session.
    half_signed_up = Phone("half")
    half_signed_up.sign_up("half.way@example.org")
    waiting = deliver_mail()
    forgetful = Phone("forgetful")
    forgetful.call("post", "auth/password/request", {"email": ADDRESS})
    provider = Provider("google")
    with provider.publishing():
        other = Phone("other")
        nonce = other.call("post", "/api/v1/auth/nonce/").json()["nonce"]
        claims: dict[str, Any] = {"email": "provider.given@example.org", "name": "Given Byprovider"}
        offered = {"client_id": CLIENT_ID, "id_token": provider.id_token(nonce, **claims)}
        other.call(
            "post",
            "auth/provider/token",
            {"provider": "google", "process": "login", "token": offered},
        )
    tokens = {
        told
        for device in (phone, half_signed_up, forgetful, other)
        for told in (device.access_token, device.refresh_token, device.session_token)
        if told
    }
    return tokens | {
        ADDRESS, "half.way@example.org", "provider.given@example.org", "Byprovider", DEVICE,
        "Augusta", "Byronknight", "Kingfisher", PASSWORD, secret, token.json()["secret"], nonce,
        *recovery["unused_codes"], code_in(waiting[-1]),
    }  # fmt: skip


def _tables(database: Connection) -> list[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    return [str(name) for (name,) in database.execute(query).fetchall()]


def _holds(database: Connection, table: str, word: str) -> bool:
    """Whether a row holds the word: as it is in any case, or inside bytes, or in base64."""
    plain = word.encode()
    encoded = base64.b64encode(plain).decode().rstrip("=")[:-1]
    pattern = "|".join(map(re.escape, (word, plain.hex(), encoded)))
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} AS row WHERE row::text ~* %s)")
    ((found,),) = database.execute(query.format(sql.Identifier(table)), [pattern]).fetchall()
    return bool(found)


def test_the_scan_finds_what_is_there() -> None:
    """Else the test above could not fail."""
    registered()
    with connect_as_superuser() as database:
        database.execute("UPDATE accounts_user SET metadata = %s", [f'{{"x": "{ADDRESS}"}}'])
        assert _holds(database, "accounts_user", ADDRESS.upper())
        database.execute("UPDATE accounts_storedsession SET payload = %s", [ADDRESS.encode()])
        assert _holds(database, "accounts_storedsession", ADDRESS)
