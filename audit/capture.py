"""Migration operations that make a table report its changes to the stream.

Migrations of every app import this module: what it produces is part of the schema, so a
function here is never changed, only followed by another.
"""

from collections.abc import Sequence
from typing import Any

from django.db.migrations import RunSQL

# Whoever changes a row cannot write the stream: the function does, as the role `definer`.
FUNCTION = """
    CREATE FUNCTION {function}() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS $$
    DECLARE
        before jsonb;
        after jsonb;
        differing text[];
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            before := jsonb_build_object({before});
        END IF;
        IF TG_OP <> 'DELETE' THEN
            after := jsonb_build_object({after});
        END IF;
        IF TG_OP = 'UPDATE' THEN
            differing := array_remove(ARRAY[{differing}], NULL);
            IF differing = '{{}}' THEN
                RETURN NULL;
            END IF;
        END IF;
        INSERT INTO audit_change_event (
            table_name, row_id, operation, old, new, changed,
            user_id, actor_id, role, request_id, reason
        ) VALUES (
            TG_TABLE_NAME, CASE TG_OP WHEN 'DELETE' THEN OLD.{key} ELSE NEW.{key} END, TG_OP,
            before, after, differing,
            CASE TG_OP WHEN 'DELETE' THEN OLD.{owner} ELSE NEW.{owner} END,
            NULLIF(current_setting(
                CASE session_user WHEN 'app' THEN 'app.user_id' ELSE 'app.operator_id' END, true
            ), '')::uuid,
            session_user,
            COALESCE(current_setting('app.request_id', true), ''),
            CASE session_user WHEN 'app' THEN ''
                 ELSE COALESCE(current_setting('app.operator_reason', true), '') END
        );
        RETURN NULL;
    END $$
"""


def capture_changes(
    table: str,
    *,
    values: Sequence[str],
    names: Sequence[str] = (),
    silent: Sequence[str] = (),
    key: str = "id",
    owner: str = "user_id",
) -> RunSQL:
    """Write an event for each row of `table` that is added, changed or deleted.

    Of the columns in `values` (keys, states, numbers, dates) the event keeps what they held
    before and after. Those in `names` hold people's words: the event says only that they
    changed. A change of nothing but `silent` columns, such as signs of life, makes no event.
    Every column belongs to one of the three; a test compares them with the table.
    """
    function = f"{table}_capture"
    text = FUNCTION.format(
        function=function,
        key=key,
        owner=owner,
        before=", ".join(f"'{name}', OLD.{name}" for name in values),
        after=", ".join(f"'{name}', NEW.{name}" for name in values),
        differing=", ".join(
            f"CASE WHEN OLD.{name} IS DISTINCT FROM NEW.{name} THEN '{name}' END"
            for name in sorted([*values, *names])
        ),
    )
    return RunSQL(
        [
            text,
            f"COMMENT ON FUNCTION {function}() IS 'Silent: {', '.join(silent)}'",
            f"ALTER FUNCTION {function}() OWNER TO definer",
            f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC",
            f"""
            CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {function}()
            """,
            f"""
            CREATE TRIGGER capture_truncate AFTER TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION audit_capture_truncate()
            """,
        ],
        [
            f"DROP TRIGGER capture_truncate ON {table}",
            f"DROP TRIGGER capture ON {table}",
            f"DROP FUNCTION {function}()",
        ],
    )


def stop_capturing(table: str, **placed: Any) -> RunSQL:
    """The reverse of `capture_changes` with the same arguments.

    A migration that adds a column to a captured table stops, adds it, and captures anew.
    """
    started = capture_changes(table, **placed)
    return RunSQL(started.reverse_sql or [], started.sql)
