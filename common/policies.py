"""Migration operations for roles, policies and guarantees that Django's models cannot say.

Every operation is plain SQL with its reverse. Migrations may import this module: what it
produces is part of the schema, so a function here is never changed, only followed by another.
"""

from collections.abc import Sequence

from django.db.migrations import RunSQL

ACTOR = "(SELECT NULLIF(current_setting('app.user_id', true), '')::uuid)"


def tenant_table(table: str, *, app: str, operator: str, column: str = "user_id") -> RunSQL:
    """Force row-level security on a table that holds people's things.

    `app` and `operator` are privilege lists such as "SELECT, INSERT" and are granted to the
    role of that name; `app` reaches the rows whose `column` is the actor, `operator` all rows,
    the `definer` role all rows for reading, once a function is granted to it. Follow it with
    `show_planner_the_actor`.
    """
    mine = f"{column} = {ACTOR}"
    return RunSQL(
        [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY tenant ON {table} TO app USING ({mine}) WITH CHECK ({mine})",
            f"CREATE POLICY house ON {table} TO operator USING (true) WITH CHECK (true)",
            f"CREATE POLICY search ON {table} FOR SELECT TO definer USING (true)",
            f"CREATE POLICY upkeep ON {table} TO owner USING (true) WITH CHECK (true)",
            f"GRANT {app} ON {table} TO app",
            f"GRANT {operator} ON {table} TO operator",
        ],
        [
            f"REVOKE ALL ON {table} FROM app, operator",
            f"DROP POLICY upkeep ON {table}",
            f"DROP POLICY search ON {table}",
            f"DROP POLICY house ON {table}",
            f"DROP POLICY tenant ON {table}",
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        ],
    )


# The same person, in a form that the planner can look into. A subquery hides the value from it:
# of two tables that are joined it then takes the owners for independent, expects next to nothing
# of the join, and reads everything that the person has.
PERSON = "NULLIF(current_setting('app.user_id', true), '')::uuid"


def show_planner_the_actor(table: str, *, column: str = "user_id") -> RunSQL:
    """Let the policy `tenant` of a table compare with PERSON instead of ACTOR."""

    def policy(person: str) -> str:
        mine = f"{column} = {person}"
        return f"ALTER POLICY tenant ON {table} USING ({mine}) WITH CHECK ({mine})"

    return RunSQL([policy(PERSON)], [policy(ACTOR)])


def grant(privileges: str, table: str, *roles: str) -> RunSQL:
    """Grant on a table without an owner; `privileges` may name columns."""
    names = ", ".join(roles)
    return RunSQL(
        [f"GRANT {privileges} ON {table} TO {names}"],
        [f"REVOKE {privileges} ON {table} FROM {names}"],
    )


def owned_reference(child: str, column: str, parent: str) -> RunSQL:
    """A foreign key that a child cannot point at a stranger's parent.

    Foreign-key checks bypass policies, so the owner is part of the key. The parent needs a
    unique constraint on (user_id, id).
    """
    name = f"{child}_{column}_owned_fk"
    reference = f"FOREIGN KEY (user_id, {column}) REFERENCES {parent} (user_id, id)"
    return RunSQL(
        [f"ALTER TABLE {child} ADD CONSTRAINT {name} {reference}"],
        [f"ALTER TABLE {child} DROP CONSTRAINT {name}"],
    )


def append_only(table: str) -> RunSQL:
    """Make UPDATE, DELETE and TRUNCATE fail in the database, whoever asks."""
    function = f"{table}_is_append_only"
    return RunSQL(
        [
            f"""
            CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION '% on {table} is refused: its rows are never changed', TG_OP
                    USING ERRCODE = 'restrict_violation';
            END $$
            """,
            f"""
            CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {function}()
            """,
            f"""
            CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION {function}()
            """,
        ],
        [
            f"DROP TRIGGER append_only_truncate ON {table}",
            f"DROP TRIGGER append_only ON {table}",
            f"DROP FUNCTION {function}()",
        ],
    )


def definer_function(signature: str, definition: str, *, reads: Sequence[str]) -> RunSQL:
    """A SECURITY DEFINER function for `app`, run by the `definer` role.

    Operators that are not leakproof use no index under policies, so a search runs as a role
    whose own policy is `true`; the body must repeat the tenant predicate itself.
    `signature` is `name(type, …)`; `reads` are the tables that the body selects from.
    """
    tables = ", ".join(reads)
    return RunSQL(
        [
            definition,
            f"GRANT SELECT ON {tables} TO definer",
            f"ALTER FUNCTION {signature} OWNER TO definer",
            f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {signature} TO app, operator",
        ],
        [
            f"DROP FUNCTION {signature}",
            f"REVOKE SELECT ON {tables} FROM definer",
        ],
    )
