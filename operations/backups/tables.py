"""What a database holds, in numbers: the same question to the original and to its copy."""

from psycopg import sql

from operations.backups.logins import Connection

TABLES = """
    SELECT n.nspname, c.relname, c.relkind = 'p'
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1, 2
"""

END_OF_FILE = "first_line + lines - 1 || ':' || encode(head, 'hex')"
END_OF_STREAM = f"""
    SELECT {END_OF_FILE} FROM public.audit_export_batch
    WHERE written_at IS NOT NULL ORDER BY sequence DESC LIMIT 1
"""  # noqa: S608 - of constants
IS_IN_STREAM = f"""
    SELECT EXISTS (SELECT FROM public.audit_export_batch
                   WHERE written_at IS NOT NULL AND {END_OF_FILE} = {{}})
"""  # noqa: S608 - of constants


def count_rows(connection: Connection) -> tuple[dict[str, int], int]:
    """The rows of every table by its name, and of all together.

    A parent of partitions has the rows of its partitions, which count once in the sum.
    """
    counts, total = {}, 0
    for schema, table, is_parent in connection.execute(TABLES).fetchall():
        statement = sql.SQL("SELECT count(*) FROM {}").format(
            sql.Identifier(str(schema), str(table))
        )
        rows = int(str(value_of(connection, statement)))
        counts[f"{schema}.{table}"] = rows
        total += 0 if is_parent else rows
    return counts, total


def applied_migrations(connection: Connection) -> list[tuple[str, str]]:
    """The migrations that the database has; none if it was never migrated."""
    if value_of(connection, sql.SQL("SELECT to_regclass('public.django_migrations')")) is None:
        return []
    rows = connection.execute("SELECT app, name FROM public.django_migrations ORDER BY 1, 2")
    return [(str(app), str(name)) for app, name in rows.fetchall()]


def end_of_stream(connection: Connection) -> str:
    """The last line of the change stream, NUMBER:HASH; empty as long as there is no file."""
    if value_of(connection, sql.SQL("SELECT to_regclass('public.audit_export_batch')")) is None:
        return ""
    return str(value_of(connection, sql.SQL(END_OF_STREAM)) or "")


def is_in_stream(connection: Connection, end: str) -> bool:
    """Whether a file ends with this line."""
    return bool(value_of(connection, sql.SQL(IS_IN_STREAM).format(sql.Literal(end))))


def number_of_line(end: str) -> int:
    """Of an empty one less than of any."""
    return int(end.partition(":")[0] or -1)


def value_of(connection: Connection, statement: sql.SQL | sql.Composed) -> object:
    """The one value that the statement answers."""
    row = connection.execute(statement).fetchone()
    return row[0] if row else None
