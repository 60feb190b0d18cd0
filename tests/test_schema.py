"""The schema explains itself and finds its rows: comments and indexes."""

import pytest
from django.apps import apps

from common.tests.connections import connect_as_superuser

pytestmark = pytest.mark.django_db

# Without views.
OURS = [
    model
    for model in apps.get_models()
    if "." not in model._meta.app_config.name and model._meta.managed
]
# Of Django's abstract user.
WITHOUT_COMMENT = {"accounts_user.password", "accounts_user.last_login"}


def test_every_model_and_every_field_has_a_comment() -> None:
    assert [model for model in OURS if not model._meta.db_table_comment] == []
    silent = {
        f"{model._meta.db_table}.{field.column}"
        for model in OURS
        for field in model._meta.concrete_fields
        if not field.primary_key and not field.db_comment
    }
    assert silent == WITHOUT_COMMENT


def test_every_comment_reached_the_database() -> None:
    with connect_as_superuser() as superuser:
        for model in OURS:
            table = model._meta.db_table
            rows = superuser.execute(
                "SELECT a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a"
                " WHERE a.attrelid = %s::regclass AND a.attnum > 0",
                [table],
            ).fetchall()
            comments = {str(name): comment for name, comment in rows}
            row = superuser.execute("SELECT obj_description(%s::regclass)", [table]).fetchone()

            assert row == (model._meta.db_table_comment,)
            for field in model._meta.concrete_fields:
                assert comments[str(field.column)] == (field.db_comment or None)


def test_every_table_of_ours_has_a_uuid_key_made_by_itself() -> None:
    query = """
        SELECT c.relname, format_type(a.atttypid, NULL), pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relname = ANY (%s)
    """
    tables = {model._meta.db_table for model in OURS}
    # Their keys are the conversation's and the security event's.
    tables -= {"dedup_watermark", "audit_security_origin"}

    with connect_as_superuser() as superuser:
        rows = superuser.execute(query.encode(), [list(tables)]).fetchall()

    assert {(kind, made) for _, kind, made in rows} == {("uuid", "uuidv7()")}
    assert {table for table, _, _ in rows} == tables


def test_every_moment_has_a_time_zone() -> None:
    query = """
        SELECT format('%s.%s', table_name, column_name) FROM information_schema.columns
        WHERE table_schema = 'public' AND data_type LIKE '%% without time zone'
    """
    with connect_as_superuser() as superuser:
        assert superuser.execute(query.encode()).fetchall() == []


def test_every_foreign_key_has_an_index_that_begins_with_it() -> None:
    """For (user_id, x) one that begins with x, or with both in either order."""
    query = """
        SELECT format('%s (%s)', c.conrelid::regclass, (
            SELECT string_agg(attname, ', ' ORDER BY array_position(c.conkey, attnum))
            FROM pg_attribute WHERE attrelid = c.conrelid AND attnum = ANY (c.conkey)))
        FROM pg_constraint c
        WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_index i
            WHERE i.indrelid = c.conrelid AND i.indisvalid
              -- A partial index serves when it leaves out the rows without a reference only.
              AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = format(
                    '(%s IS NOT NULL)', (SELECT attname FROM pg_attribute
                     WHERE attrelid = c.conrelid AND attnum = c.conkey[array_length(c.conkey, 1)])))
              AND (i.indkey[0] = c.conkey[array_length(c.conkey, 1)]
                   OR (array_length(c.conkey, 1) = 2
                       AND i.indkey[0] = c.conkey[1] AND i.indkey[1] = c.conkey[2])))
        ORDER BY 1
    """
    with connect_as_superuser() as superuser:
        missing = [row[0] for row in superuser.execute(query.encode()).fetchall()]

    assert missing == []
