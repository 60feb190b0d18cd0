"""Every data key comes under the active key, and nothing that they seal is touched."""

import json
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any
from uuid import UUID

import boto3
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from moto import mock_aws
from psycopg.types.json import Jsonb
from pytest_django import Settings

from accounts import data_keys
from accounts.data_keys import destroy_keys, rewrap_all
from accounts.models import DataKey, User
from accounts.tests.factories import make_user
from accounts.tests.sealed_things import TABLE, Note, table_of_notes
from audit.models import SecurityEvent
from common.encryption.data_keys import cache, context_of, key_to_seal_with
from common.encryption.envelope import DataKey as PlainKey
from common.encryption.envelope import Place, seal
from common.encryption.providers import LocalKeyring, active_provider
from common.encryption.purposes import Purpose
from common.ids import uuid7
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as, connect_as_superuser

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

FIRST, SECOND = {"first": b"1" * 32}, {"second": b"2" * 32}
REGION = "eu-central-1"


@pytest.fixture(autouse=True)
def first_key(settings: Settings) -> Iterator[None]:
    settings.ENCRYPTION_KEYS = FIRST
    cache.clear()
    with table_of_notes():
        yield
    cache.clear()


def write(user: User, title: str) -> Note:
    with acting_as(user.pk):
        note: Note = Note.objects.create(user_id=user.pk, title=title)
    return note


def run(command: str, **options: Any) -> tuple[int, str]:
    out, code = StringIO(), 0
    try:
        call_command(command, stdout=out, **options)
    except SystemExit as end:
        code = int(str(end.code))
    return code, out.getvalue()


def wrapped_now() -> dict[UUID, bytes]:
    return {row.pk: bytes(row.wrapped or b"") for row in DataKey.objects.all()}


def fill(people: int) -> None:
    """As many people, each with a data key and a note, by SQL."""
    keyring, users, keys, notes = LocalKeyring(FIRST), [], [], []
    for number in range(people):
        user, note = uuid7(), uuid7()
        plain, key_id, wrapped = keyring.generate(context_of(user, Purpose.PROFILE))
        title = seal(
            PlainKey(1, plain), f"wish {number}".encode(), Place(TABLE, "title", str(note), user)
        )
        users.append((user, f"person-{number}"))
        keys.append((user, key_id, wrapped))
        notes.append((note, user, title))
    with connect_as_superuser() as superuser:
        # Of the stream enough is written by the rotation.
        superuser.execute("SET session_replication_role = replica")
        cursor = superuser.cursor()
        cursor.executemany(
            "INSERT INTO accounts_user (id, username, password, role, account_status, metadata)"
            " VALUES (%s, %s, '!', 'user', 'active', %s)",
            [(*user, Jsonb({})) for user in users],
        )
        cursor.executemany(
            "INSERT INTO accounts_datakey (user_id, purpose, version, provider, key_id, wrapped)"
            " VALUES (%s, 'profile', 1, 'local', %s, %s)",
            keys,
        )
        cursor.executemany(
            f"INSERT INTO {TABLE} (id, user_id, title, stars) VALUES (%s, %s, %s, 0)".encode(),
            notes,
        )
        superuser.execute("ANALYZE accounts_datakey")


def sealed_now() -> object:
    with connect_as_superuser() as superuser:
        query = f"SELECT md5(string_agg(title::text, '' ORDER BY id)) FROM {TABLE}"
        return superuser.execute(query.encode()).fetchone()


def opened_now() -> dict[UUID, bytes]:
    return {
        row.pk: active_provider().unwrap(
            row.key_id, bytes(row.wrapped or b""), context_of(row.user_id, row.purpose)
        )
        for row in DataKey.objects.all()
    }


def test_ten_thousand_keys_are_rewrapped_and_what_they_seal_stays(settings: Settings) -> None:
    fill(10_000)
    sealed, wrapped, plain = sealed_now(), wrapped_now(), opened_now()
    settings.ENCRYPTION_KEYS = SECOND | FIRST

    rotation = rewrap_all()

    assert (rotation.provider, rotation.key_id) == ("local", "second")
    assert (rotation.rewrapped, rotation.left) == (10_000, 0)
    assert sealed_now() == sealed
    after = wrapped_now()
    assert after.keys() == wrapped.keys()
    assert all(after[pk] != wrapped[pk] for pk in after)
    assert set(DataKey.objects.values_list("key_id", "version").distinct()) == {("second", 1)}
    # The old key is no longer needed.
    settings.ENCRYPTION_KEYS = SECOND
    cache.clear()
    assert opened_now() == plain
    titles = [note.title for note in Note.objects.order_by("id")[::50]]
    assert titles == [f"wish {number}" for number in range(0, 10_000, 50)]

    assert rewrap_all().rewrapped == 0

    assert wrapped_now() == after
    with as_operator("look"):
        (event,) = SecurityEvent.objects.filter(kind="keys_rotated")
    assert event.details == {"provider": "local", "rewrapped": 10_000, "left": 0}


def test_a_rotation_that_was_cut_short_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(50)
    settings.ENCRYPTION_KEYS = SECOND | FIRST
    rewrapped: Any = data_keys._rewrapped
    seen: list[UUID] = []

    def until_the_power_fails(row: DataKey) -> Any:
        seen.append(row.pk)
        if len(seen) > 25:
            raise KeyboardInterrupt
        return rewrapped(row)

    with monkeypatch.context() as patched:
        patched.setattr(data_keys, "_rewrapped", until_the_power_fails)
        with pytest.raises(KeyboardInterrupt):
            rewrap_all(batch_size=10)
    assert DataKey.objects.filter(key_id="second").count() == 20
    before = wrapped_now()

    assert rewrap_all(batch_size=10).rewrapped == 30

    after = wrapped_now()
    assert sum(after[pk] == before[pk] for pk in after) == 20
    settings.ENCRYPTION_KEYS = SECOND
    assert {note.title for note in Note.objects.all()} == {f"wish {n}" for n in range(50)}


def test_keys_that_another_run_has_in_hand_are_left_to_it(settings: Settings) -> None:
    fill(5)
    settings.ENCRYPTION_KEYS = SECOND | FIRST
    with connect_as("operator") as other, other.transaction():
        other.execute("SELECT id FROM accounts_datakey ORDER BY id LIMIT 2 FOR UPDATE")

        code, text = run("rotate_keys", json=True)

    assert code == 0
    assert json.loads(text) == {
        "provider": "local",
        "key_id": "second",
        "rewrapped": 3,
        "left": 2,
    }
    assert rewrap_all().rewrapped == 2


def test_people_work_while_keys_are_rewrapped(settings: Settings) -> None:
    fill(300)
    settings.ENCRYPTION_KEYS = SECOND | FIRST
    users = [make_user() for _ in range(60)]
    written: list[str] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def work() -> None:
        try:
            for user in users:
                write(user, f"of {user.username}")
                cache.clear()
                note = Note.objects.get(user_id=user.pk)
                written.append(str(note.title))
                for old in Note.objects.filter(title__isnull=False).order_by("?")[:3]:
                    assert old.title
        except Exception as error:  # noqa: BLE001 - the test looks at it
            failures.append(error)
        finally:
            stop.set()
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    rewrapped = 0
    while not stop.is_set():
        rewrapped += rewrap_all(batch_size=7).rewrapped
    thread.join()

    assert failures == []
    assert rewrapped == 300
    assert written == [f"of {user.username}" for user in users]
    settings.ENCRYPTION_KEYS = SECOND
    cache.clear()
    assert len([note.title for note in Note.objects.all()]) == 360


def test_destroyed_keys_are_left_as_they_are(settings: Settings) -> None:
    ada = make_user("ada")
    write(ada, "a wish")
    with as_operator("erase a person"):
        destroy_keys(ada.pk)
    settings.ENCRYPTION_KEYS = SECOND | FIRST

    assert rewrap_all().rewrapped == 0

    row = DataKey.objects.get()
    assert (row.key_id, row.wrapped) == ("first", None)


def test_without_the_old_key_nothing_is_touched_and_the_sentence_says_which(
    settings: Settings,
) -> None:
    fill(3)
    before = wrapped_now()
    settings.ENCRYPTION_KEYS = SECOND

    with pytest.raises(CommandError, match=r"key first is missing.*ENCRYPTION_KEYS"):
        run("rotate_keys")

    assert wrapped_now() == before


def test_the_command_says_what_it_did(settings: Settings) -> None:
    fill(2)
    settings.ENCRYPTION_KEYS = SECOND | FIRST

    assert run("rotate_keys") == (0, "2 data keys were rewrapped with local second.\n")
    assert run("rotate_keys") == (0, "0 data keys were rewrapped with local second.\n")


@pytest.fixture
def kms(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A KMS in this process, with two keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("kms", region_name=REGION)
        yield [client.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]


def to_kms(settings: Settings, arn: str) -> None:
    settings.ENCRYPTION_PROVIDER = "aws_kms"
    settings.ENCRYPTION_KMS_KEY_ID = arn
    settings.ENCRYPTION_KMS_REGION = REGION


def test_from_a_keyring_to_kms_from_key_to_key_and_back(settings: Settings, kms: list[str]) -> None:
    ada = make_user("ada")
    note = write(ada, "a wish")
    sealed = sealed_now()

    for arn in kms:
        to_kms(settings, arn)
        assert rewrap_all().rewrapped == 1
        assert rewrap_all().rewrapped == 0
        cache.clear()
        row = DataKey.objects.get()
        assert (row.provider, row.key_id) == ("aws_kms", arn)
        assert Note.objects.get().title == "a wish"
        with acting_as(ada.pk):
            key_to_seal_with(ada.pk, Purpose.PROFILE)
    settings.ENCRYPTION_PROVIDER = "local"
    assert rewrap_all().rewrapped == 1
    settings.ENCRYPTION_KMS_KEY_ID = ""
    cache.clear()

    assert Note.objects.get(pk=note.pk).title == "a wish"
    assert sealed_now() == sealed


def test_with_kms_a_persons_things_are_sealed_and_opened(
    settings: Settings, kms: list[str]
) -> None:
    to_kms(settings, kms[0])
    ada = make_user("ada")

    write(ada, "a wish")
    cache.clear()

    assert Note.objects.get().title == "a wish"
    assert DataKey.objects.get().key_id == kms[0]


def test_the_status_names_each_key_and_how_many_it_wraps(settings: Settings) -> None:
    fill(3)
    settings.ENCRYPTION_KEYS = SECOND | FIRST
    ada, bob = make_user("ada"), make_user("bob")
    write(ada, "a wish")
    write(bob, "a wish")
    with as_operator("erase a person"):
        destroy_keys(bob.pk)

    code, text = run("keys_status")

    assert (code, text.splitlines()) == (
        0,
        [
            "active     local second",
            "look-up    ok",
            "in use     local first: 3, ok",
            "in use     local second: 1, ok",
            "destroyed  1",
        ],
    )


def test_the_status_ends_with_one_when_something_cannot_be_opened(settings: Settings) -> None:
    fill(3)
    settings.ENCRYPTION_KEYS = SECOND

    code, text = run("keys_status", json=True)

    status = json.loads(text)
    assert code == 1
    (use,) = status.pop("keys")
    assert (use["provider"], use["key_id"], use["data_keys"]) == ("local", "first", 3)
    assert use["problem"].startswith("The key first is missing")
    assert status == {
        "active": "local second",
        "active_problem": "",
        "lookup_problem": "",
        "destroyed": 0,
    }


def test_the_status_needs_a_key_that_is_active(settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = {}

    code, text = run("keys_status")

    assert code == 1
    assert text.startswith("active     There is no key to wrap with: set ENCRYPTION_KEYS.")
