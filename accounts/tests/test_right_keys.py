"""A lost or wrong key is a sentence at the start, and not garbage later."""

import json
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connections
from pytest_django import Settings

from accounts.models import DataKey, KeyCheck, User
from accounts.tests.factories import make_operator, make_user
from common import health
from common.encryption import checks
from common.encryption.checks import refuse_wrong_keys, verify_keys
from common.encryption.data_keys import cache, key_to_seal_with
from common.encryption.errors import KeyServiceError, MissingKeyError
from common.encryption.purposes import Purpose
from common.health import readiness
from common.tenancy import acting_as

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

FIRST, SECOND = {"first": b"1" * 32}, {"second": b"2" * 32}


@pytest.fixture(autouse=True)
def first_key(settings: Settings) -> Iterator[None]:
    settings.ENCRYPTION_KEYS = FIRST
    cache.clear()
    health._verified_keys.cache_clear()
    yield
    cache.clear()
    health._verified_keys.cache_clear()


@pytest.fixture
def ada() -> User:
    """Somebody who has sealed something."""
    user = make_user("ada")
    with acting_as(user.pk):
        key_to_seal_with(user.pk, Purpose.PROFILE)
    return user


def problem() -> str:
    with pytest.raises(MissingKeyError) as refused:
        verify_keys()
    return str(refused.value)


def test_the_first_look_up_key_is_remembered_and_is_the_right_one(settings: Settings) -> None:
    verify_keys()
    verify_keys()

    proof = KeyCheck.objects.get()
    assert proof.name == "look-up"

    settings.ENCRYPTION_ROOT_KEY = bytes(64)
    assert problem().startswith("ENCRYPTION_ROOT_KEY is another key than the one")
    assert KeyCheck.objects.get().proof == proof.proof


def test_a_key_that_nothing_needs_may_be_missing(ada: User, settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = SECOND | FIRST
    verify_keys()

    DataKey.objects.using("operator").update(wrapped=None, destroyed_at="2026-01-01T00:00Z")
    settings.ENCRYPTION_KEYS = SECOND

    verify_keys()


def test_a_key_that_is_needed_and_missing_is_named(ada: User, settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = SECOND

    assert problem() == (
        "The key first is missing: put it back into ENCRYPTION_KEYS. What it wraps cannot be"
        " opened without it."
    )


def test_another_key_of_the_same_name_is_found_out(ada: User, settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = SECOND | {"first": b"3" * 32}

    assert problem() == (
        "ENCRYPTION_KEYS has another key first than the one that wrapped the keys in this"
        " database: put that one back."
    )


def test_each_key_in_use_is_looked_at(ada: User, settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = SECOND | FIRST
    bob = make_user("bob")
    with acting_as(bob.pk):
        key_to_seal_with(bob.pk, Purpose.PROFILE)
        key_to_seal_with(bob.pk, Purpose.MAIL)
    settings.ENCRYPTION_KEYS = {"third": b"3" * 32}

    assert "key first is missing" in problem()
    assert "key second is missing" in problem()


def test_without_any_key_the_setting_is_named(settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = {}

    assert problem() == "There is no key to wrap with: set ENCRYPTION_KEYS."


def test_a_process_with_wrong_keys_ends(
    ada: User, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.ENCRYPTION_KEYS = SECOND

    with pytest.raises(SystemExit) as end:
        refuse_wrong_keys()

    assert str(end.value).startswith("The key first is missing")


def test_a_process_with_the_right_keys_goes_on_without_connections(ada: User) -> None:
    refuse_wrong_keys()

    assert connections["default"].connection is None


def test_a_process_without_a_database_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entry = connections["default"].settings_dict
    connections["default"].close()
    monkeypatch.setitem(entry, "PORT", "1")

    refuse_wrong_keys()

    assert "could not be verified: OperationalError" in caplog.text


def test_a_process_goes_on_while_the_service_of_the_keys_is_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def silent() -> None:
        raise KeyServiceError("AWS KMS gave no answer.")

    monkeypatch.setattr(checks, "active_provider", silent)

    refuse_wrong_keys()

    assert "could not be verified: KeyServiceError" in caplog.text


def test_readiness_and_doctor_tell_of_a_wrong_key(ada: User, settings: Settings) -> None:
    assert readiness(["keys"]) == {"keys": "ok"}
    health._verified_keys.cache_clear()
    settings.ENCRYPTION_KEYS = SECOND
    make_operator()

    assert readiness(["keys"])["keys"].startswith("MissingKeyError: The key first is missing")
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", stdout=out, json=True)

    found = json.loads(out.getvalue())["keys"]
    assert "The key first is missing" in found["state"]
    assert "docs/encryption.md" in found["remedy"]
