"""Columns that hold no readable word, used as any other field is."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import FieldError, ValidationError
from django.db import IntegrityError, connection, models, transaction
from django.db.migrations.writer import MigrationWriter
from django.db.models import Exists, F, OuterRef
from django.test.utils import isolate_apps

from accounts.models import DataKey, User
from accounts.tests.factories import make_user
from accounts.tests.sealed_things import TABLE, Note, registered, table_of_notes
from common.encryption.data_keys import cache
from common.encryption.errors import DecryptionError, SealedFieldError
from common.encryption.fields import LookUpEmailField, SealedTextField, seal_email_field
from common.encryption.purposes import Purpose
from common.ids import uuid7
from common.tenancy import acting_as

pytestmark = pytest.mark.django_db(databases=["default", "operator"])


@pytest.fixture(autouse=True)
def notes(transactional_db: None) -> Iterator[None]:
    with table_of_notes():
        yield


@pytest.fixture
def ada() -> User:
    return make_user("ada")


def write(user: User, **values: object) -> Note:
    with acting_as(user.pk):
        note: Note = Note.objects.create(user_id=user.pk, **values)
    return note


def stored(note: Note, column: str = "title") -> bytes | None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {TABLE} WHERE id = %s", [note.pk])
        value = cursor.fetchone()[0]
    return None if value is None else bytes(value)


def store(note: Note, column: str, value: bytes | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET {column} = %s WHERE id = %s", [value, note.pk])


def test_text_comes_back_and_the_column_does_not_hold_it(ada: User) -> None:
    note = write(ada, title="A secret wish ☂", body="")

    found = Note.objects.get()
    blob = stored(note)

    assert (found.title, found.body, found.agent) == ("A secret wish ☂", "", None)
    assert blob is not None
    assert len(blob) == 33 + len("A secret wish ☂".encode())
    assert b"secret" not in blob
    assert stored(note, "agent") is None


def test_each_person_and_purpose_has_a_key_of_its_own(ada: User) -> None:
    bob = make_user("bob")
    write(ada, title="x", body="y", agent="z")
    write(ada, title="x")
    write(bob, title="x")

    keys = DataKey.objects.order_by("user_id", "purpose").values_list("user_id", "purpose")

    assert list(keys) == [(ada.pk, "devices"), (ada.pk, "profile"), (bob.pk, "profile")]


def test_what_did_not_change_is_not_sealed_again(ada: User) -> None:
    note = write(ada, title="one", body="two")
    before = stored(note), stored(note, "body")

    note.save()
    read = Note.objects.get()
    read.save()
    assert (read.title, read.body) == ("one", "two")
    read.save()
    read.title = "one"
    read.full_clean()
    read.save()
    read.refresh_from_db()
    read.save()
    deferred = Note.objects.defer("title").get()
    assert deferred.title == "one"
    deferred.save()

    assert (stored(note), stored(note, "body")) == before


def test_what_changed_is_sealed_again_and_only_that(ada: User) -> None:
    note = write(ada, title="one", body="two")
    before = stored(note), stored(note, "body")

    read = Note.objects.get()
    read.title = "three"
    read.save()

    assert stored(note) != before[0]
    assert stored(note, "body") == before[1]
    assert Note.objects.get().title == "three"


def test_update_fields_writes_what_it_names(ada: User) -> None:
    note = write(ada, title="one", body="two")

    note.title, note.body = "three", "four"
    note.save(update_fields=["title"])

    assert (Note.objects.get().title, Note.objects.get().body) == ("three", "two")
    note.title = None
    note.save(update_fields=["title"])
    assert stored(note) is None


def test_many_are_created_at_once(ada: User) -> None:
    bob = make_user("bob")
    with acting_as(ada.pk):
        Note.objects.bulk_create([Note(user_id=ada.pk, title=f"{n}") for n in range(3)])
    with acting_as(bob.pk):
        Note.objects.bulk_create([Note(user_id=bob.pk, title="bob's")], ignore_conflicts=True)

    assert [note.title for note in Note.objects.order_by("id")] == ["0", "1", "2", "bob's"]


def test_refreshing_reads_what_somebody_else_wrote(ada: User) -> None:
    note = write(ada, title="one")
    other = Note.objects.get()
    other.title = "two"
    other.save()

    note.refresh_from_db()

    assert note.title == "two"


def test_reading_is_put_off_until_the_text_is_asked_for(ada: User) -> None:
    note = write(ada, title="one")
    store(note, "title", b"\x01 rubbish")

    found = Note.objects.get()

    assert found.stars == 0
    with pytest.raises(DecryptionError):
        _ = found.title


def test_only_loads_the_rest_when_it_is_asked_for(ada: User) -> None:
    write(ada, title="one", body="two")

    found = Note.objects.only("stars").get()

    assert found.get_deferred_fields() == {"user_id", "title", "body", "agent", "email"}
    assert (found.title, found.body) == ("one", "two")


def test_values_are_closed_things_that_show_nothing(ada: User) -> None:
    note = write(ada, title="one")

    (value,) = Note.objects.values_list("title", flat=True)

    assert f"{value}{value!r}{[value]}" == "<Sealed><Sealed>[<Sealed>]"
    assert bytes(value) == stored(note)
    assert repr(Note.objects.values("title")[0]) == "{'title': <Sealed>}"


def test_copies_and_pickles_hold_no_text_that_was_only_read(ada: User) -> None:
    write(ada, title="a secret wish")
    note = Note.objects.get()
    assert note.title == "a secret wish"

    with registered():
        pickled = pickle.dumps(note)
        copied, loaded = copy.deepcopy(note), pickle.loads(pickled)  # noqa: S301 - our own

    assert b"secret" not in pickled
    assert "secret" not in repr(note.__dict__)
    assert (copied.title, loaded.title) == ("a secret wish", "a secret wish")


def test_copies_and_pickles_keep_a_text_that_is_not_saved_yet(ada: User) -> None:
    write(ada, title="one")
    note = Note.objects.get()
    note.title = "two"

    with registered():
        copied, loaded = copy.deepcopy(note), pickle.loads(pickle.dumps(note))  # noqa: S301
    loaded.save()

    assert (copied.title, loaded.title, Note.objects.get().title) == ("two", "two", "two")


def test_a_copy_of_a_row_is_sealed_for_its_new_place(ada: User) -> None:
    write(ada, title="one")
    note = Note.objects.get()
    assert note.title == "one"

    note.pk, note._state.adding = uuid7(), True
    with acting_as(ada.pk):
        note.save()

    assert [note.title for note in Note.objects.all()] == ["one", "one"]
    assert len({stored(note) for note in Note.objects.all()}) == 2


def test_what_nobody_read_is_not_written_to_another_row(ada: User) -> None:
    write(ada, title="one")
    note = Note.objects.get()

    note.pk, note._state.adding = uuid7(), True
    with pytest.raises(SealedFieldError, match="read it before"):
        note.save()

    assert Note.objects.count() == 1


def test_without_an_owner_nothing_is_sealed() -> None:
    with pytest.raises(SealedFieldError, match="user_id"):
        Note.objects.create(title="one")

    assert Note.objects.count() == 0


@pytest.mark.parametrize("value", [b"bytes", 7, F("body")])
def test_it_holds_text_and_nothing_else(ada: User, value: Any) -> None:
    note = write(ada)

    with pytest.raises(TypeError, match="text or None"):
        note.title = value


@pytest.mark.parametrize(
    "lookup",
    ["exact", "iexact", "contains", "icontains", "startswith", "in", "gt", "range", "regex"],
)
def test_it_cannot_be_filtered_on(ada: User, lookup: str) -> None:
    with pytest.raises(FieldError, match="isnull"):
        Note.objects.filter(**{f"title__{lookup}": ["one", "two"]})
    with pytest.raises(FieldError, match="isnull"):
        Note.objects.filter(title="one")


def test_it_can_be_asked_whether_it_is_null(ada: User) -> None:
    one, two = write(ada, title="one"), write(ada)

    assert Note.objects.filter(title__isnull=False).get() == one
    assert Note.objects.exclude(title__isnull=False).get() == two
    inner = Note.objects.filter(pk=OuterRef("pk"), title__isnull=True)
    assert Note.objects.filter(Exists(inner)).get() == two


@pytest.mark.parametrize("order", ["title", "-title"])
def test_it_cannot_be_ordered_by(ada: User, order: str) -> None:
    with pytest.raises(FieldError, match="sealed"):
        list(Note.objects.order_by(order))


def test_nothing_can_be_made_of_it_in_the_database() -> None:
    with pytest.raises(FieldError, match="sealed"):
        list(Note.objects.filter(title__upper="x"))


def test_it_cannot_be_updated_without_an_instance(ada: User) -> None:
    note = write(ada, title="one")

    for value in ("two", b"two"):
        with pytest.raises(FieldError, match="set it on the instance"):
            Note.objects.update(title=value)
    with pytest.raises(FieldError, match="set it on the instance"):
        Note.objects.bulk_update([note], ["title"])

    assert Note.objects.get().title == "one"
    Note.objects.update(title=None)
    assert Note.objects.get().title is None


def test_moved_to_another_row_column_table_or_person_it_does_not_open(ada: User) -> None:
    bob = make_user("bob")
    note = write(ada, title="one", body="two", agent="three")
    other, of_bob = write(ada, title="four"), write(bob, title="five")

    store(other, "title", stored(note))
    store(note, "body", stored(note))
    store(of_bob, "title", stored(note))

    for moved, column in ((other, "title"), (note, "body"), (of_bob, "title")):
        with pytest.raises(DecryptionError):
            getattr(Note.objects.get(pk=moved.pk), column)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET user_id = %s WHERE id = %s", [bob.pk, note.pk])
    with pytest.raises(DecryptionError):
        _ = Note.objects.get(pk=note.pk).title


def test_moved_to_another_table_it_does_not_open(ada: User) -> None:
    note = write(ada, title="one")
    with isolate_apps("accounts"):

        class Elsewhere(models.Model):
            id = models.UUIDField(primary_key=True)
            user_id = models.UUIDField()
            title = SealedTextField(purpose=Purpose.PROFILE)

            class Meta:
                app_label = "accounts"
                db_table = "sealed_elsewhere"

            def __str__(self) -> str:
                return ""

    with table_of_notes("sealed_elsewhere"), connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO sealed_elsewhere SELECT * FROM {TABLE}")
        moved = Elsewhere._default_manager.get()

        assert moved.pk == note.pk
        with pytest.raises(DecryptionError):
            _ = moved.title


def test_under_another_version_of_the_key_it_does_not_open(ada: User) -> None:
    note = write(ada, title="one")
    blob = stored(note)
    assert blob is not None
    (key,) = DataKey.objects.all()
    with acting_as(ada.pk):
        DataKey.objects.create(
            user_id=ada.pk,
            purpose=Purpose.PROFILE,
            version=2,
            provider=key.provider,
            key_id=key.key_id,
            wrapped=bytes(key.wrapped or b""),
        )

    # The very same key, under another version.
    store(note, "title", blob[:1] + (2).to_bytes(4, "big") + blob[5:])

    with pytest.raises(DecryptionError):
        _ = Note.objects.get().title


def test_every_bit_of_it_counts(ada: User) -> None:
    note = write(ada, title="one", body="two")
    blob = stored(note)
    assert blob is not None

    for bit in range(len(blob) * 8):
        turned = bytearray(blob)
        turned[bit // 8] ^= 1 << bit % 8
        store(note, "title", bytes(turned))
        found = Note.objects.get()
        with pytest.raises(DecryptionError):
            _ = found.title
        assert found.body == "two"


def test_every_shorter_form_of_it_is_refused(ada: User) -> None:
    note = write(ada, title="one")
    blob = stored(note)
    assert blob is not None

    for length in range(len(blob)):
        store(note, "title", blob[:length])
        with pytest.raises(DecryptionError):
            _ = Note.objects.get().title


def test_a_damaged_value_does_not_hinder_the_other_fields(ada: User) -> None:
    note = write(ada, title="one")
    store(note, "title", b"\x01 rubbish")

    found = Note.objects.get()
    found.stars = 5
    found.save(update_fields=["stars"])

    assert Note.objects.get().stars == 5


def test_after_a_rollback_of_its_first_key_it_is_sealed_with_the_next_one(ada: User) -> None:
    note = Note(user_id=ada.pk, title="one")
    with acting_as(ada.pk):
        note.save()
        transaction.set_rollback(True)
    assert DataKey.objects.count() == 0

    with acting_as(ada.pk):
        note.save(force_insert=True)
    cache.clear()

    assert Note.objects.get().title == "one"


def test_migrations_know_the_field_by_its_purpose_and_owner() -> None:
    field = SealedTextField(purpose=Purpose.BIOMETRIC, owner="person_id", null=True)

    text, imports = MigrationWriter.serialize(field)
    _, path, args, options = field.deconstruct()

    assert text == (
        "common.encryption.fields.SealedTextField("
        "null=True, owner='person_id', purpose='biometric')"
    )
    assert imports == {"import common.encryption.fields"}
    again = SealedTextField(*args, **options)
    assert again.deconstruct()[1:] == (path, args, options)
    assert (again.purpose, again.owner) == (Purpose.BIOMETRIC, "person_id")


def test_an_address_is_found_however_it_is_typed(ada: User) -> None:
    note = write(ada, email="Ada@Example.org")

    for typed in ("ada@example.org", " ADA@example.ORG "):
        assert Note.objects.get(email=typed) == note
        assert Note.objects.get(email__iexact=typed) == note
        assert Note.objects.get(email__in=["x@example.org", typed]) == note
    assert Note.objects.get().email == "ada@example.org"
    assert not Note.objects.filter(email="ada@example.com").exists()
    column = stored_text(note)
    assert column.isascii()
    assert "ada" not in column.lower()


def stored_text(note: Note) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT email FROM {TABLE} WHERE id = %s", [note.pk])
        return str(cursor.fetchone()[0])


def test_an_address_is_unique_in_every_case(ada: User) -> None:
    write(ada, email="ada@example.org")

    with pytest.raises(IntegrityError), transaction.atomic():
        write(ada, email="ADA@example.org")
    twin = Note(user_id=ada.pk, email="ADA@example.org")
    with pytest.raises(ValidationError) as refused:
        twin.full_clean()

    assert set(refused.value.message_dict) == {"email"}
    assert Note.objects.count() == 1


def test_no_address_is_no_text(ada: User) -> None:
    write(ada), write(ada, email="")

    assert sorted(Note.objects.values_list("email", flat=True), key=str) == ["", None]
    assert Note.objects.filter(email=None).count() == 1
    assert Note.objects.filter(email__isnull=False).count() == 1


@pytest.mark.parametrize(
    "lookup", ["contains", "icontains", "startswith", "istartswith", "endswith", "regex", "gt"]
)
def test_an_address_is_found_as_a_whole_only(lookup: str) -> None:
    with pytest.raises(FieldError, match="exact, iexact, in and isnull"):
        Note.objects.filter(**{f"email__{lookup}": "ada"})


def test_a_changed_address_in_the_database_is_an_error(ada: User) -> None:
    note = write(ada, email="ada@example.org")
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET email = 'ada@example.org' WHERE id = %s", [note.pk])

    with pytest.raises(DecryptionError):
        Note.objects.get()


def test_an_address_may_be_updated_in_bulk(ada: User) -> None:
    note = write(ada, email="ada@example.org")

    Note.objects.update(email="Other@example.org")

    assert Note.objects.get(email="other@example.org") == note


def test_an_address_that_would_not_fit_is_not_valid(ada: User) -> None:
    longest = "a" * 60 + "@" + ".".join(["ü" * 30] * 5) + ".org"
    note = Note(user_id=ada.pk, email="a@example.org")
    note.full_clean()

    note.email = longest + "x" * 300
    with pytest.raises(ValidationError):
        note.full_clean()


def test_an_address_is_found_through_the_index(ada: User) -> None:
    write(ada, email="ada@example.org")
    with acting_as(ada.pk):
        Note.objects.bulk_create(
            [Note(user_id=ada.pk, email=f"u{n}@example.org") for n in range(3000)]
        )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT reltuples FROM pg_class WHERE relname = '{TABLE}'")

    for found in (
        Note.objects.filter(email="ada@example.org"),
        Note.objects.filter(email__iexact="ADA@example.org"),
        Note.objects.filter(email__in=["ada@example.org", "u7@example.org"]),
    ):
        assert f"{TABLE}_email_key" in found.explain()


def test_somebody_elses_field_is_sealed_and_its_migrations_do_not_see_it() -> None:
    with isolate_apps("accounts"):

        class Address(models.Model):
            email = models.EmailField(max_length=512, unique=True)

            class Meta:
                app_label = "accounts"

            def __str__(self) -> str:
                return ""

    before = Address._meta.get_field("email").clone()
    seal_email_field(Address._meta.get_field("email"))
    field = Address._meta.get_field("email")

    assert isinstance(field, LookUpEmailField)
    assert field.deconstruct()[1:] == before.deconstruct()[1:]
    assert field.clone().deconstruct()[1:] == before.deconstruct()[1:]
    sealed = field.get_prep_value("Ada@example.org")
    assert sealed == field.get_prep_value("ada@example.org")
    assert field.from_db_value(sealed) == "ada@example.org"


def test_keys_of_rows_are_the_same_key_however_they_are_written(ada: User) -> None:
    pk = UUID("0190f7c2-6f1e-7d0a-9b53-0c6b7a1f4e21")
    with acting_as(ada.pk):
        Note.objects.create(pk=str(pk).upper(), user_id=str(ada.pk), title="one")

    assert Note.objects.get(pk=pk).title == "one"
