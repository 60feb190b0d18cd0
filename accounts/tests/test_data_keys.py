"""Data keys of persons: made once, kept wrapped, forgotten when they are destroyed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from django.conf import settings
from django.db import transaction
from psycopg import errors
from pytest_django import DjangoAssertNumQueries

from accounts.data_keys import DataKeys, destroy_keys
from accounts.models import DataKey, User
from accounts.tests.factories import make_user
from accounts.tests.sealed_things import TABLE, Note, table_of_notes
from audit.models import ChangeEvent
from common.bootstrap import database_name
from common.encryption import data_keys as keys
from common.encryption.cache import NEWEST
from common.encryption.data_keys import cache, key_to_open_with, key_to_seal_with
from common.encryption.envelope import DataKey as PlainKey
from common.encryption.errors import DecryptionError, DestroyedKeyError
from common.encryption.providers import LocalKeyring
from common.encryption.purposes import Purpose
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as, connect_as_superuser, raw_app
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

PROFILE = Purpose.PROFILE
INSERT = b"""
    INSERT INTO accounts_datakey (user_id, purpose, version, provider, key_id, wrapped)
    VALUES (%s, 'profile', 1, 'local', 'any', 'wrapped')
"""


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def ada() -> User:
    return make_user("ada")


def first_use(user: User) -> PlainKey:
    with acting_as(user.pk):
        return key_to_seal_with(user.pk, PROFILE)


def destroy(user: User) -> int:
    with as_operator("erase a person"):
        return destroy_keys(user.pk)


def test_a_key_is_made_on_first_use_and_is_the_same_from_then_on(ada: User) -> None:
    made = first_use(ada)
    cache.clear()

    assert first_use(ada) == made
    assert key_to_open_with(ada.pk, PROFILE, 1) == made
    row = DataKey.objects.get()
    assert (row.user, row.purpose, row.version) == (ada, "profile", 1)
    assert (row.provider, row.key_id) == ("local", "embedded")
    assert made.plain not in bytes(row.wrapped or b"")


def test_once_committed_it_is_not_asked_for_again(
    ada: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    made = first_use(ada)

    with django_assert_num_queries(0):
        assert key_to_seal_with(ada.pk, PROFILE) == made
        assert key_to_open_with(ada.pk, PROFILE, 1) == made


def test_a_key_is_in_no_cache_before_it_is_committed(
    ada: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with acting_as(ada.pk):
        made = key_to_seal_with(ada.pk, PROFILE)
        assert len(cache) == 0
        with django_assert_num_queries(0):
            assert key_to_seal_with(ada.pk, PROFILE) == made
            assert key_to_open_with(ada.pk, PROFILE, 1) == made

    assert cache.find((ada.pk, "profile", NEWEST)) == made
    assert cache.find((ada.pk, "profile", 1)) == made


def test_a_key_read_back_in_the_transaction_that_made_it_waits_for_the_commit_too(
    ada: User,
) -> None:
    with acting_as(ada.pk):
        made = key_to_seal_with(ada.pk, PROFILE)
        # Somebody else's keys are forgotten: what waits is asked for again.
        cache.forget(UUID(int=1))
        assert key_to_open_with(ada.pk, PROFILE, 1) == made
        assert len(cache) == 0
        transaction.set_rollback(True)

    assert len(cache) == 0


def test_a_key_that_was_rolled_back_seals_nothing(ada: User) -> None:
    with acting_as(ada.pk):
        lost = key_to_seal_with(ada.pk, PROFILE)
        transaction.set_rollback(True)

    assert first_use(ada) != lost
    assert len(DataKey.objects.all()) == 1


def test_a_key_that_was_rolled_back_to_a_savepoint_seals_nothing(ada: User) -> None:
    with acting_as(ada.pk):
        with transaction.atomic():
            lost = key_to_seal_with(ada.pk, PROFILE)
            transaction.set_rollback(True)
        made = key_to_seal_with(ada.pk, PROFILE)
    cache.clear()

    assert made != lost
    assert key_to_open_with(ada.pk, PROFILE, 1) == made


def test_a_committed_key_is_kept_while_the_transaction_that_reads_it_is_open(ada: User) -> None:
    made = first_use(ada)
    cache.clear()

    with acting_as(ada.pk):
        assert key_to_seal_with(ada.pk, PROFILE) == made
        assert len(cache) == 2


def test_eight_first_uses_at_once_make_one_key(ada: User) -> None:
    found = at_once([lambda: first_use(ada)] * 8)

    assert set(map(repr, found)) == {"DataKey(version=1)"}
    assert len({key.plain for key in found if isinstance(key, PlainKey)}) == 1
    cache.clear()
    assert key_to_open_with(ada.pk, PROFILE, 1) == found[0]
    assert DataKey.objects.count() == 1


def test_the_newest_key_seals_and_the_others_open(ada: User) -> None:
    first = first_use(ada)
    provider = LocalKeyring(settings.ENCRYPTION_KEYS)
    plain, key_id, wrapped = provider.generate(keys.context_of(ada.pk, PROFILE))
    with acting_as(ada.pk):
        DataKeys().add(ada.pk, PROFILE, version=2, provider="local", key_id=key_id, wrapped=wrapped)
    cache.clear()

    assert first_use(ada) == PlainKey(2, plain)
    assert key_to_open_with(ada.pk, PROFILE, 1) == first


def test_there_is_no_key_of_a_version_that_was_never_made(ada: User) -> None:
    first_use(ada)

    for version in (0, 2, 2**31 - 1, 2**32 - 1):
        with pytest.raises(DecryptionError):
            key_to_open_with(ada.pk, PROFILE, version)
    with pytest.raises(DecryptionError):
        key_to_open_with(ada.pk, Purpose.MAIL, 1)


def test_a_wrapped_key_of_another_person_or_purpose_does_not_open(ada: User) -> None:
    bob = make_user("bob")
    first_use(ada)
    first_use(bob)
    with connect_as_superuser() as superuser:
        superuser.execute(
            "UPDATE accounts_datakey SET wrapped = (SELECT wrapped FROM accounts_datakey"
            " WHERE user_id = %s) WHERE user_id = %s",
            [ada.pk, bob.pk],
        )
    cache.clear()

    with pytest.raises(DecryptionError):
        key_to_open_with(bob.pk, PROFILE, 1)
    with pytest.raises(DecryptionError):
        first_use(bob)


def test_destroyed_keys_open_nothing_and_seal_nothing(ada: User) -> None:
    bob = make_user("bob")
    with table_of_notes():
        for user in (ada, bob):
            with acting_as(user.pk):
                Note.objects.create(user_id=user.pk, title="a wish", agent="a browser")

        assert destroy(ada) == 2
        assert destroy(ada) == 0

        of_ada, of_bob = Note.objects.get(user_id=ada.pk), Note.objects.get(user_id=bob.pk)
        for column in ("title", "agent"):
            with pytest.raises(DestroyedKeyError):
                getattr(of_ada, column)
        assert (of_bob.title, of_bob.agent) == ("a wish", "a browser")
        with pytest.raises(DestroyedKeyError):
            first_use(ada)
        # The rest of the row is still somebody's to save.
        of_ada.stars = 3
        of_ada.save()
        assert Note.objects.filter(stars=3, title__isnull=False).count() == 1
    assert set(DataKey.objects.filter(user=ada).values_list("wrapped", flat=True)) == {None}
    assert DataKey.objects.filter(user=ada, destroyed_at__isnull=True).count() == 0


def test_a_destruction_that_is_rolled_back_leaves_the_keys(ada: User) -> None:
    made = first_use(ada)

    with as_operator("erase a person"):
        destroy_keys(ada.pk)
        transaction.set_rollback(True, using="operator")

    assert key_to_open_with(ada.pk, PROFILE, 1) == made


def test_whoever_destroys_keys_opens_nothing_from_then_on(ada: User) -> None:
    first_use(ada)

    with as_operator("erase a person"):
        destroy_keys(ada.pk)
        with pytest.raises(DestroyedKeyError):
            key_to_open_with(ada.pk, PROFILE, 1)


def test_a_key_that_somebody_read_before_the_destruction_was_committed_is_forgotten(
    ada: User,
) -> None:
    made = first_use(ada)

    with as_operator("erase a person"):
        destroy_keys(ada.pk)
        with acting_as(ada.pk):
            assert key_to_open_with(ada.pk, PROFILE, 1) == made
        assert len(cache) == 1

    assert len(cache) == 0
    with pytest.raises(DestroyedKeyError):
        key_to_open_with(ada.pk, PROFILE, 1)


def test_a_key_that_is_destroyed_while_it_is_read_is_not_kept(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = first_use(ada)
    cache.clear()
    unwrapped = keys._unwrapped

    def slowly(row: keys.WrappedKey, user_id: UUID, purpose: Purpose) -> PlainKey:
        destroy(ada)
        return unwrapped(row, user_id, purpose)

    with monkeypatch.context() as patched:
        patched.setattr(keys, "_unwrapped", slowly)
        # It was read before: this one use may still have it.
        assert key_to_open_with(ada.pk, PROFILE, 1) == made

    assert len(cache) == 0
    with pytest.raises(DestroyedKeyError):
        key_to_open_with(ada.pk, PROFILE, 1)


READER = """
import django, sys
django.setup()
from common.encryption.data_keys import key_to_open_with
from common.encryption.errors import EncryptionError
from common.encryption.purposes import Purpose
from uuid import UUID
for line in sys.stdin:
    try:
        key_to_open_with(UUID(line.strip()), Purpose.PROFILE, 1)
        print("opened", flush=True)
    except EncryptionError as error:
        print(type(error).__name__, flush=True)
"""


def test_another_process_opens_nothing_once_its_cache_has_expired(ada: User) -> None:
    first_use(ada)
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.worker_settings",
        "TEST_DATABASE": database_name(),
        "ENCRYPTION_CACHE_SECONDS": "2",
    }
    with subprocess.Popen(
        [sys.executable, "-c", READER],
        cwd=settings.BASE_DIR,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def ask() -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            print(ada.pk, file=process.stdin, flush=True)
            return process.stdout.readline().strip()

        assert ask() == "opened"
        destroy(ada)
        answers = [ask()]
        end = time.monotonic() + 30
        while answers[-1] == "opened" and time.monotonic() < end:
            answers.append(ask())
        process.communicate()

    assert answers[-1] == "DestroyedKeyError"


def test_app_makes_keys_of_the_actor_only_and_ends_none(ada: User) -> None:
    first_use(ada)
    bob = make_user("bob")

    with connect_as("default") as raw, pytest.raises(errors.InsufficientPrivilege):
        raw.execute(INSERT, [bob.pk])
    with raw_app(ada.pk) as raw, pytest.raises(errors.InsufficientPrivilege):
        raw.execute(INSERT, [bob.pk])
    for statement in (
        b"UPDATE accounts_datakey SET wrapped = 'x'",
        b"DELETE FROM accounts_datakey",
    ):
        with raw_app(ada.pk) as raw, pytest.raises(errors.InsufficientPrivilege):
            raw.execute(statement)

    assert DataKey.objects.get().user == ada


def test_the_house_changes_how_a_key_is_wrapped_and_not_whose_it_is(ada: User) -> None:
    first_use(ada)

    for column in ("user_id", "purpose", "version", "created_at"):
        statement = f"UPDATE accounts_datakey SET {column} = {column}"
        with connect_as("operator") as raw, pytest.raises(errors.InsufficientPrivilege):
            raw.execute(statement.encode())
    with connect_as("operator") as raw, pytest.raises(errors.InsufficientPrivilege):
        raw.execute("DELETE FROM accounts_datakey")


@pytest.mark.parametrize("half", ["wrapped = NULL", "destroyed_at = now()"])
def test_a_destroyed_key_is_gone_and_no_other_is(ada: User, half: str) -> None:
    first_use(ada)

    with connect_as_superuser() as raw, pytest.raises(errors.CheckViolation):
        raw.execute(f"UPDATE accounts_datakey SET {half}".encode())


def test_the_stream_tells_of_keys_and_holds_none(ada: User) -> None:
    first_use(ada)
    destroy(ada)

    with as_operator("look"):
        events = ChangeEvent.objects.filter(table_name="accounts_datakey").order_by("id")
        made, ended = events
    assert made.new is not None
    assert made.new["purpose"] == "profile"
    assert ended.changed == ["destroyed_at", "wrapped"]
    assert "wrapped" not in json.dumps([made.new, ended.old, ended.new])


def test_the_table_has_no_readable_word(ada: User) -> None:
    with table_of_notes(), connect_as_superuser() as superuser:
        with acting_as(ada.pk):
            Note.objects.create(user_id=ada.pk, title="a wish", email="ada@example.org")
        rows = superuser.execute(f"SELECT n::text FROM {TABLE} n".encode()).fetchall()

    assert "wish" not in str(rows)
    assert b"wish".hex() not in str(rows)
    assert "example" not in str(rows)
