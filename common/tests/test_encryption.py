"""Keys, envelopes and look-ups, without a database."""

import re
from base64 import b64decode
from dataclasses import replace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from common.encryption.envelope import (
    OVERHEAD_BYTES,
    DataKey,
    Place,
    open_sealed,
    seal,
    version_of,
)
from common.encryption.errors import DecryptionError
from common.encryption.house import open_for_house, seal_for_house
from common.encryption.lookup import normalized_email, open_from_lookup, seal_for_lookup
from common.encryption.parsing import as_setting, keyring_of, root_key_of

USER = UUID("0190f7c2-6f1e-7d0a-9b53-0c6b7a1f4e21")
PLACE = Place("accounts_user", "full_name", "7", USER)
KEY = DataKey(3, bytes(range(32)))


def turned(sealed: bytes, bit: int) -> bytes:
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(plain=st.binary(max_size=300), version=st.integers(1, 2**32 - 1))
def test_what_is_sealed_opens_at_its_place(plain: bytes, version: int) -> None:
    key = DataKey(version, bytes(32))

    sealed = seal(key, plain, PLACE)

    assert open_sealed(key, sealed, PLACE) == plain
    assert version_of(sealed) == version
    assert len(sealed) == len(plain) + OVERHEAD_BYTES == len(plain) + 33
    assert sealed[:5] == b"\x01" + version.to_bytes(4, "big")


@given(data=st.data(), plain=st.binary(max_size=60))
def test_a_turned_bit_is_refused(data: st.DataObject, plain: bytes) -> None:
    sealed = seal(KEY, plain, PLACE)
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))

    with pytest.raises(DecryptionError):
        open_sealed(KEY, turned(sealed, bit), PLACE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(PLACE, table="accounts_users"),
        replace(PLACE, column="given_name"),
        replace(PLACE, pk="8"),
        replace(PLACE, user_id=UUID(int=1)),
        # The same letters, divided otherwise.
        Place("accounts_use", "rfull_name", "7", USER),
    ],
)
def test_at_another_place_it_is_refused(elsewhere: Place) -> None:
    sealed = seal(KEY, b"Ada", PLACE)

    with pytest.raises(DecryptionError):
        open_sealed(KEY, sealed, elsewhere)


def test_with_another_key_or_version_it_is_refused() -> None:
    sealed = seal(KEY, b"Ada", PLACE)

    for other in (DataKey(3, bytes(32)), DataKey(4, KEY.plain)):
        with pytest.raises(DecryptionError):
            open_sealed(other, sealed, PLACE)


def test_no_nonce_is_used_twice() -> None:
    nonces = {seal(KEY, b"", PLACE)[5:17] for _ in range(1000)}

    assert len(nonces) == 1000


def test_a_key_does_not_show_itself() -> None:
    assert repr(KEY) == "DataKey(version=3)"


def test_siv_is_that_of_its_standard() -> None:
    """RFC 5297, A.1, through the library that we use."""
    key = bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    header = bytes.fromhex("101112131415161718191a1b1c1d1e1f2021222324252627")
    plain = bytes.fromhex("112233445566778899aabbccddee")

    assert AESSIV(key).encrypt(plain, [header]).hex() == (
        "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"
    )


def test_look_ups_are_what_the_database_was_filled_with(settings: Settings) -> None:
    """A change of this value means that nobody is found any more."""
    settings.ENCRYPTION_ROOT_KEY = bytes(range(64))

    assert seal_for_lookup("ada@example.org", "account_emailaddress.email") == (
        "jrw_kdWi7GS2pPBrHXDwvlDswNTnpnuDPR_qploV9A"
    )


@given(text=st.text(min_size=1, max_size=80))
def test_equal_texts_of_a_column_are_equal_and_open(text: str) -> None:
    sealed = seal_for_lookup(text, "a.b")

    assert seal_for_lookup(text, "a.b") == sealed
    assert re.fullmatch(r"[A-Za-z0-9_-]+", sealed)
    assert open_from_lookup(sealed, "a.b") == text
    assert seal_for_lookup(text, "a.c") != sealed
    assert seal_for_lookup(text + "x", "a.b") != sealed


def test_a_look_up_of_another_column_or_of_no_key_is_refused() -> None:
    sealed = seal_for_lookup("ada@example.org", "a.b")
    plain = ["ada@example.org", "", "a", "ada", "ä" * 30, sealed.lower(), sealed[:-1], sealed + "="]

    with pytest.raises(DecryptionError):
        open_from_lookup(sealed, "a.c")
    for text in [*plain, *(sealed[:n] + chr(ord(sealed[n]) ^ 1) + sealed[n + 1 :] for n in (0, 9))]:
        with pytest.raises(DecryptionError):
            open_from_lookup(text, "a.b")


def test_another_root_key_finds_nothing(settings: Settings) -> None:
    sealed = seal_for_lookup("ada@example.org", "a.b")

    settings.ENCRYPTION_ROOT_KEY = bytes(64)

    assert seal_for_lookup("ada@example.org", "a.b") != sealed
    with pytest.raises(DecryptionError):
        open_from_lookup(sealed, "a.b")


def test_an_address_has_one_form() -> None:
    assert normalized_email(" Ada@Example.ORG\n") == "ada@example.org"


@given(plain=st.binary(max_size=100), aad=st.binary(max_size=20))
def test_the_house_opens_what_it_sealed(plain: bytes, aad: bytes) -> None:
    sealed = seal_for_house("sessions", plain, aad)

    assert open_for_house("sessions", sealed, aad) == plain
    assert seal_for_house("sessions", plain, aad) != sealed


def test_the_house_opens_nothing_else(settings: Settings) -> None:
    sealed = seal_for_house("sessions", b"secret", b"row 1")

    for purpose, changed, aad in (
        ("mail", sealed, b"row 1"),
        ("sessions", sealed, b"row 2"),
        ("sessions", b"", b"row 1"),
        *(("sessions", turned(sealed, bit), b"row 1") for bit in range(len(sealed) * 8)),
        *(("sessions", sealed[:length], b"row 1") for length in range(len(sealed))),
    ):
        with pytest.raises(DecryptionError):
            open_for_house(purpose, changed, aad)
    settings.ENCRYPTION_ROOT_KEY = bytes(64)
    with pytest.raises(DecryptionError):
        open_for_house("sessions", sealed, b"row 1")


def test_a_keyring_is_read_in_its_order() -> None:
    one, two = as_setting(bytes(32)), as_setting(b"x" * 32)

    keys = keyring_of("KEYS", f" 2027-01:{two} ,first:{one},")

    assert list(keys.items()) == [("2027-01", b"x" * 32), ("first", bytes(32))]
    assert keyring_of("KEYS", "") == {}


def test_line_breaks_in_base64_do_no_harm() -> None:
    text = as_setting(bytes(64))

    assert root_key_of("ROOT", text[:64] + "\n" + text[64:] + "\n") == bytes(64)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hunter2", "Entry 1 of KEYS must begin with the id of its key and a colon"),
        (":hunter2", "Entry 1 of KEYS must begin with the id of its key and a colon"),
        ("a b:hunter2", "Entry 1 of KEYS must begin with the id of its key and a colon"),
        ("one:hunter2", "The key one of KEYS must be 32 random bytes in base64."),
        ("one:", "The key one of KEYS must be 32 random bytes in base64."),
        ("one:hünter2", "The key one of KEYS must be 32 random bytes in base64."),
        (f"one:{as_setting(bytes(31))}", "The key one of KEYS must be 32 random bytes in base64."),
        (f"one:{as_setting(bytes(33))}", "The key one of KEYS must be 32 random bytes in base64."),
        (f"one:{as_setting(bytes(32))},one:hunter2", "KEYS has two keys with the id one."),
    ],
)
def test_a_malformed_keyring_is_refused_without_repeating_it(text: str, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        keyring_of("KEYS", text)

    assert str(refused.value).startswith(sentence)
    assert "nter2" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_malformed_root_key_is_refused_without_repeating_it() -> None:
    for text in ("hunter2", as_setting(bytes(32))):
        with pytest.raises(ImproperlyConfigured) as refused:
            root_key_of("ROOT", text)
        assert str(refused.value) == "ROOT must be 64 random bytes in base64."


def test_keys_are_written_as_they_are_read() -> None:
    assert b64decode(as_setting(b"abc")) == b"abc"
