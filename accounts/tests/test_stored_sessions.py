"""Sessions in the database: found by digest, sealed, of persons and operators apart."""

from datetime import timedelta

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.db import DatabaseError
from django.utils import timezone

from accounts.choices import Realm
from accounts.identity.sessions import SessionStore, digest_of
from accounts.models import DeviceSession, StoredSession
from accounts.tests.phones import registered
from common.tenancy import as_operator
from common.tests.connections import connect_as_superuser, raw_app

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


def stored(**content: object) -> SessionStore:
    store = SessionStore()
    store.update(content)
    store.save()
    return store


def test_what_was_put_in_comes_back() -> None:
    store = stored(word="saffron")

    again = SessionStore(store.session_key)

    assert again["word"] == "saffron"
    assert again.exists(store.session_key or "")


def test_the_row_tells_neither_key_nor_content() -> None:
    store = stored(word="saffron")

    row = StoredSession.objects.get()

    assert bytes(row.digest) == digest_of(store.session_key or "")
    assert (store.session_key or "").encode() not in bytes(row.digest) + bytes(row.payload)
    assert b"saffron" not in bytes(row.payload)


def test_a_digest_is_no_key() -> None:
    stored(word="saffron")
    digest = bytes(StoredSession.objects.get().digest)

    assert "word" not in SessionStore(digest.hex())
    assert "word" not in SessionStore(digest.decode("latin-1"))


def test_a_payload_in_another_row_or_changed_is_an_empty_session() -> None:
    first, second = stored(word="saffron"), stored(word="thyme")
    with connect_as_superuser() as database:
        database.execute(
            "UPDATE accounts_storedsession SET payload ="
            " (SELECT payload FROM accounts_storedsession WHERE digest = %s) WHERE digest = %s",
            [digest_of(first.session_key or ""), digest_of(second.session_key or "")],
        )
    assert SessionStore(second.session_key).get("word") is None
    assert SessionStore(first.session_key)["word"] == "saffron"


def test_one_that_has_run_out_is_gone() -> None:
    store = stored(word="saffron")
    StoredSession.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert SessionStore(store.session_key).get("word") is None
    SessionStore.clear_expired()
    assert not StoredSession.objects.exists()


def test_one_that_was_ended_meanwhile_is_not_brought_back() -> None:
    store = stored(word="saffron")
    other = SessionStore(store.session_key)
    other["more"] = "thyme"
    store.delete()

    with pytest.raises(UpdateError):
        other.save()

    assert not StoredSession.objects.exists()


def test_a_new_key_keeps_the_content_and_ends_the_old_key() -> None:
    store = stored(word="saffron")
    former = store.session_key

    store.cycle_key()

    assert store.session_key != former
    assert SessionStore(former).get("word") is None
    assert SessionStore(store.session_key)["word"] == "saffron"


def test_a_session_found_by_its_login_is_saved_to_its_row_and_tells_no_key() -> None:
    registered()
    session = DeviceSession.objects.get()
    found = SessionStore.of_login(session.pk)
    assert found is not None

    found["word"] = "saffron"
    found.save()

    assert found.session_key is None
    again = SessionStore.of_login(session.pk)
    assert again is not None
    assert again["word"] == "saffron"
    assert StoredSession.objects.count() == 1


def test_sessions_of_operators_and_persons_do_not_open_each_other() -> None:
    persons = stored(word="saffron")
    with as_operator("test"):
        house = stored(word="thyme")
        assert SessionStore(persons.session_key).get("word") is None
        assert StoredSession.objects.filter(realm=Realm.HOUSE).count() == 1

    assert SessionStore(house.session_key).get("word") is None


def test_a_door_for_persons_cannot_make_a_session_of_the_house() -> None:
    stored(word="saffron")

    with raw_app() as database:
        assert database.execute("SELECT count(*) FROM accounts_storedsession").fetchone() == (1,)
    with pytest.raises(DatabaseError):
        StoredSession.objects.create(
            digest=b"x" * 32, payload=b"x", realm=Realm.HOUSE, expires_at=timezone.now()
        )
    assert StoredSession.objects.count() == 1
