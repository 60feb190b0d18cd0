"""Views of the schema `reporting`: figures of everybody's things, for the role `analyst`.

Migrations import this module: what it produces is part of the schema, so a function here is
never changed, only followed by another.
"""

from collections.abc import Mapping

from django.db.migrations import RunSQL


def reporting_view(name: str, query: str, *, about: str, columns: Mapping[str, str]) -> RunSQL:
    """A view that `analyst` may read, and nobody else is granted.

    It reads with the rights of `owner`, to whom the policies of every table show all rows, so
    that its sums need no actor. `columns` are the comments of all columns, in their order. A
    migration that alters a column which a view reads drops the view first and makes it again.
    """
    names = ", ".join(columns)
    view = f"reporting.{name}"
    rights = "security_barrier = true, security_invoker = false"
    return RunSQL(
        [
            f"CREATE VIEW {view} ({names}) WITH ({rights}) AS {query}",
            f"COMMENT ON VIEW {view} IS {_literal(about)}",
            *(
                f"COMMENT ON COLUMN {view}.{column} IS {_literal(comment)}"
                for column, comment in columns.items()
            ),
            f"GRANT SELECT ON {view} TO analyst",
        ],
        [f"DROP VIEW {view}"],
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
