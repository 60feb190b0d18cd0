"""Migrations: forward, back to nothing with everything in the tables, and forward again."""

from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunPython, RunSQL, SeparateDatabaseAndState
from django.db.migrations.operations.base import Operation
from django.test.utils import override_settings
from pytest_django import DjangoDbBlocker

from common.bootstrap import database_name
from common.tests.connections import connect_as_superuser
from config.testing import WORKER
from tests.population import populate
from tests.scratch import scratch_database

OURS = {app.label for app in apps.get_app_configs() if Path(app.path).parent == settings.BASE_DIR}
# Everything that migrations make, in words.
SCHEMA = """
    SELECT 'column', format('%s.%s %s %s %s %s %s', c.relname, a.attname,
        format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
        pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT a.attisdropped
    UNION ALL SELECT 'table', format('%s %s %s %s', relname, relrowsecurity, relforcerowsecurity,
        obj_description(oid)) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    UNION ALL SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'constraint', format('%s %s %s', conrelid::regclass, conname,
        pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'schema', format('%s %s', nspname, nspacl) FROM pg_namespace
    WHERE nspname = 'reporting'
    UNION ALL SELECT 'view', format('%s %s %s %s %s %s', c.relname, a.attname, c.relacl,
        col_description(c.oid, a.attnum), c.reloptions, pg_get_viewdef(c.oid))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace::regnamespace::text = 'reporting'
    UNION ALL SELECT 'policy', format('%s %s %s %s %s %s', tablename, policyname, roles, cmd, qual,
        with_check) FROM pg_policies
    UNION ALL SELECT 'trigger', pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'function', format('%s %s %s', pg_get_functiondef(p.oid),
        p.proowner::regrole, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(p.proacl) a))
    FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
    UNION ALL SELECT 'grant', format('%s %s', c.relname, a.acl) FROM pg_class c,
        LATERAL (SELECT unnest(c.relacl)::text AS acl) a
    WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'grant', format('%s.%s %s', t.attrelid::regclass, t.attname, a.acl)
    FROM pg_attribute t, LATERAL (SELECT unnest(t.attacl)::text AS acl) a
    WHERE t.attrelid::regclass::text NOT LIKE 'pg\\_%'
"""


@pytest.fixture
def scratch(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), scratch_database(f"scratch_commonplace_{WORKER}"):
        yield


def schema() -> set[tuple[object, ...]]:
    with connect_as_superuser(database_name()) as superuser:
        return set(superuser.execute(SCHEMA.encode()).fetchall())


def migrate(*target: str) -> None:
    call_command("migrate", *target, verbosity=0)


def rows_of_ours() -> dict[str, int]:
    """How many rows each table of our apps has."""
    tables = [
        model._meta.db_table
        for model in apps.get_models()
        if model._meta.app_label in OURS and model._meta.managed
    ]
    with connect_as_superuser(database_name()) as superuser:
        counts = {}
        for table in tables:
            row = superuser.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert row is not None
            counts[table] = int(str(row[0]))
    return counts


def test_forward_back_to_nothing_and_forward_again(scratch: None, tmp_path: Path) -> None:
    migrate()
    first = schema()
    populate(tmp_path, "ada")
    assert [table for table, count in rows_of_ours().items() if not count] == []

    for app in (
        "operations",
        "dedup",
        "admin",
        "accounts",
        "audit",
        "auth",
        "contenttypes",
        "sessions",
    ):
        migrate(app, "zero")
    left = {text for kind, text in schema() if kind in {"table", "schema", "view"}}
    assert left == {"django_migrations f f "}

    migrate()
    assert schema() == first
    assert set(rows_of_ours().values()) == {0}
    # The files of the first stream stay, and a second one does not write over them.
    with override_settings(MEDIA_ROOT=str(tmp_path / "anew")):
        populate(tmp_path, "bob")


@pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"])
def test_no_migration_is_missing() -> None:
    output = StringIO()

    call_command("makemigrations", check_changes=True, dry_run=True, stdout=output)

    assert output.getvalue() == "No changes detected\n"


def in_the_database(operations: Iterable[Operation]) -> Iterator[Operation]:
    for operation in operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from in_the_database(operation.database_operations)
        else:
            yield operation


def test_every_operation_has_a_reverse() -> None:
    loader = MigrationLoader(None)
    irreversible = [
        f"{app}.{name}: {operation.describe()}"
        for (app, name), migration in loader.disk_migrations.items()
        if app in OURS
        for operation in in_the_database(migration.operations)
        if not operation.reversible
        or (isinstance(operation, RunSQL) and operation.reverse_sql == RunSQL.noop)
        or (isinstance(operation, RunPython) and operation.reverse_code is None)
    ]

    assert irreversible == []


def test_every_app_has_one_line_of_named_migrations() -> None:
    loader = MigrationLoader(None)

    for app in loader.migrated_apps & OURS:
        names = sorted(name for label, name in loader.disk_migrations if label == app)
        assert [name[:4] for name in names] == [f"{n:04}" for n in range(1, len(names) + 1)]
        assert not any("auto" in name for name in names)
        assert len(loader.graph.leaf_nodes(app)) == 1
