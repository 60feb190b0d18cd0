"""Every table and every stored file of a person is known to exports and erasures."""

from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db.models import ForeignKey, Model

from accounts import erasing, erasure_ledger
from accounts.models import ErasureRequest, Subscription, User
from accounts.services.erasures import CONFIRMATION, request_erasure
from common.privacy import (
    Fate,
    personal_files,
    personal_tables,
    what_is_left,
)
from common.storage import names_below
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as_superuser
from tests.population import populate

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

# Tables with a way to a person that no export and no erasure treats: why.
EXEMPT = {
    "audit_activity": "a view of the events, which are registered",
    "django_admin_log": "what operators did, as ids",
    "auth_user_groups": "Django's own, never used",
}
# Files that are nobody's: of the stream, which keeps ids, and the ledger of erasures itself.
OF_NOBODY = ("observability/", f"{erasure_ledger.FOLDER}/")
WITH_PERSON = """
    SELECT DISTINCT c.relname::text
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
      AND NOT c.relispartition AND (a.attname IN ('user_id', 'owner_id') OR EXISTS (
        SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f'
          AND k.confrelid = 'accounts_user'::regclass))
"""


def leads_to_a_person(model: type[Model], seen: frozenset[type[Model]] = frozenset()) -> bool:
    """Through any chain of foreign keys."""
    targets = {
        field.related_model
        for field in model._meta.concrete_fields
        if isinstance(field, ForeignKey) and isinstance(field.related_model, type)
    }
    return model is User or any(
        leads_to_a_person(target, seen | {model}) for target in targets - seen - {model}
    )


def registered() -> set[str]:
    return {table.name for table in personal_tables()}


def test_every_model_that_leads_to_a_person_is_registered() -> None:
    leading = {
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if leads_to_a_person(model)
    }

    assert leading - registered() - set(EXEMPT) == set()


def test_every_table_with_a_persons_id_is_registered() -> None:
    with connect_as_superuser() as superuser:
        rows = superuser.execute(WITH_PERSON.encode()).fetchall()
    tables = {str(name) for (name,) in rows}

    assert tables - registered() - set(EXEMPT) == set()
    assert "accounts_user" in registered()


def test_the_guard_sees_a_table_that_nobody_registered() -> None:
    with connect_as_superuser() as superuser, superuser.transaction(force_rollback=True):
        superuser.execute("CREATE TABLE a_new_table (user_id uuid)")
        rows = superuser.execute(WITH_PERSON.encode()).fetchall()

    assert "a_new_table" in {str(name) for (name,) in rows} - registered() - set(EXEMPT)


def test_what_is_kept_says_why_and_every_path_leads_to_the_person(tmp_path: Path) -> None:
    ada = populate(tmp_path, "ada")

    for table in personal_tables():
        assert bool(table.erased.basis) is (table.erased.fate is Fate.KEPT), table.name
        with as_operator("test"):
            table.model._base_manager.filter(**{table.owner: ada.pk}).exists()
        for name in table.without:
            table.model._meta.get_field(name)


def test_every_stored_file_is_of_a_registered_folder_or_of_nobody(tmp_path: Path) -> None:
    ada = populate(tmp_path, "ada")

    folders = tuple(f"{files.folder}/{ada.pk}/" for files in personal_files())
    names = list(names_below(""))
    assert any(name.startswith(folders) for name in names)
    assert [name for name in names if not name.startswith((*folders, *OF_NOBODY))] == []


def rows_of(user: User) -> dict[str, list[Any]]:
    """Each row of the person's of each registered table, by another way than the registry's."""
    found: dict[str, list[Any]] = {}
    with connect_as_superuser() as superuser:
        for table in personal_tables():
            key = "id" if table.owner == "id" else "user_id"
            if key not in {field.column for field in table.model._meta.concrete_fields}:
                continue
            query = f"SELECT * FROM {table.name} WHERE {key} = %s"
            if rows := superuser.execute(query.encode(), [user.pk]).fetchall():
                found[table.name] = rows
    return found


def test_a_person_with_something_everywhere_is_gone_from_everywhere_and_nobody_else_is(
    tmp_path: Path,
) -> None:
    ada, bob = populate(tmp_path, "ada"), populate(tmp_path, "bob")
    before = rows_of(bob)
    with as_operator("test"):
        assert len(what_is_left([ada.pk])[ada.pk]) > 15
    with as_operator("test"):
        # Whoever pays is not erased.
        Subscription.objects.filter(user=ada).update(renews=False)
    request_erasure(user_id=ada.pk, confirmation=CONFIRMATION)
    with as_operator("test"):
        ErasureRequest.objects.filter(user=ada).update(due_at="2020-01-01T00:00:00Z")

    assert erasing.carry_out_due() == 1

    with as_operator("test"):
        assert what_is_left([ada.pk]) == {}
    kept = {table.name for table in personal_tables() if table.erased.fate is not Fate.DELETED}
    assert set(rows_of(ada)) <= kept
    assert rows_of(bob) == before
    root = Path(settings.MEDIA_ROOT)
    assert [path for path in root.glob(f"*/{ada.pk}/**/*") if path.is_file()] == []
    assert [path for path in root.glob(f"*/{bob.pk}/**/*") if path.is_file()] != []


# What the row of a user keeps, and what an erasure puts into the rest of it.
BLANK: dict[str, Any] = {
    "role": "user",
    "account_status": "deleted",
    "metadata": {},
    "last_login": None,
    "full_name": None,
    "given_name": None,
    "family_name": None,
    "processing_restricted_at": None,
}
NOT_TELLING = {"id", "username", "password", "created_at", "updated_at"}


def test_every_column_of_a_user_who_was_erased_says_nothing(tmp_path: Path) -> None:
    ada = populate(tmp_path, "ada")
    ada.full_name, ada.given_name, ada.family_name = "Ada Lovelace", "Ada", "Lovelace"
    with acting_as(ada.pk):
        ada.save(update_fields=["full_name", "given_name", "family_name"])
    with as_operator("test"):
        User.objects.filter(pk=ada.pk).update(
            metadata={"likes": "bread"}, last_login="2026-01-01T00:00:00Z", role="admin"
        )

        erasing.blank_user(ada.pk)

    with connect_as_superuser() as superuser:
        query = "SELECT to_jsonb(u) FROM accounts_user u WHERE id = %s"
        (row,) = superuser.execute(query.encode(), [ada.pk]).fetchone() or ()
    assert isinstance(row, dict)
    assert {name: value for name, value in row.items() if name not in NOT_TELLING} == BLANK
    assert row["username"].startswith("erased-")
