"""Nothing of one person hangs on anything of another: the keys include the owner."""

from pathlib import Path

import pytest
from django.apps import apps
from django.db.models import ForeignKey
from psycopg import errors, sql

from common.tests.connections import Connection, connect_as_superuser
from tests.population import populate

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

# Child, its column, its parent: each composite foreign key (user_id, column).
OWNED = """
    SELECT c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text
    FROM pg_constraint c
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[2]
    JOIN pg_attribute u ON u.attrelid = c.conrelid AND u.attnum = c.conkey[1]
    WHERE c.contype = 'f' AND u.attname = 'user_id' AND array_length(c.conkey, 1) = 2
      AND c.convalidated AND c.conenforced
    ORDER BY 1, 2
"""
TENANT_TABLES = "SELECT polrelid::regclass::text FROM pg_policy WHERE polname = 'tenant'"


def owned_references(superuser: Connection) -> list[tuple[str, str, str]]:
    rows = superuser.execute(OWNED.encode()).fetchall()
    return [(str(child), str(column), str(parent)) for child, column, parent in rows]


def test_every_reference_within_a_persons_things_includes_the_owner() -> None:
    with connect_as_superuser() as superuser:
        owned = set(owned_references(superuser))
        rows = superuser.execute(TENANT_TABLES.encode()).fetchall()
    tenant_tables = {name for (name,) in rows}

    declared = {
        (model._meta.db_table, field.column, field.related_model._meta.db_table)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, ForeignKey)
        and {model._meta.db_table, field.related_model._meta.db_table} <= tenant_tables
    }
    assert declared == owned


def test_every_owner_exists() -> None:
    """Each table's user_id leads to the users: by itself, or by what it hangs on."""
    with connect_as_superuser() as superuser:
        owned = owned_references(superuser)
        query = "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
        query += " AND confrelid = 'accounts_user'::regclass"
        proven = {str(name) for (name,) in superuser.execute(query.encode()).fetchall()}
        tenant_tables = {name for (name,) in superuser.execute(TENANT_TABLES.encode()).fetchall()}
        required = superuser.execute(
            b"SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attnotnull"
        ).fetchall()

    while new := {
        child
        for child, column, parent in owned
        if parent in proven and child not in proven and (child, column) in required
    }:
        proven |= new
    # The stream outlives the people it tells of.
    outliving = {"audit_change_event", "audit_security_event", "audit_security_origin"}
    # And so does the ledger of who was erased.
    outliving.add("accounts_erasure")
    assert tenant_tables - outliving <= proven


def free_for_changes(superuser: Connection, table: str) -> None:
    """Until the transaction ends only foreign keys refuse a change of the table."""
    name = sql.Identifier(table)
    superuser.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(name))
    constraints = superuser.execute(
        b"SELECT u.conname FROM pg_constraint u WHERE u.conrelid = %s::regclass"
        b" AND u.contype NOT IN ('f', 'n') AND NOT EXISTS (SELECT FROM pg_constraint f"
        b" WHERE f.conindid = u.conindid AND f.contype = 'f' AND f.conindid <> 0)",
        [table],
    ).fetchall()
    for (constraint,) in constraints:
        superuser.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                name, sql.Identifier(str(constraint))
            )
        )


def test_no_row_can_be_hung_on_a_strangers(tmp_path: Path) -> None:
    ada, bob = populate(tmp_path, "ada"), populate(tmp_path, "bob")

    with connect_as_superuser() as superuser:
        owned = owned_references(superuser)
        for child, column, parent in owned:
            move = sql.SQL(
                "UPDATE {child} SET {column} = (SELECT id FROM {parent} WHERE user_id = %s LIMIT 1)"
                " WHERE user_id = %s"
            ).format(
                child=sql.Identifier(child),
                column=sql.Identifier(column),
                parent=sql.Identifier(parent),
            )
            with pytest.raises(errors.ForeignKeyViolation), superuser.transaction():  # noqa: PT012 - undone together
                free_for_changes(superuser, child)
                superuser.execute(move, [ada.pk, bob.pk])

    assert len(owned) == 17
