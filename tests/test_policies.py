"""What the catalogue says of every table: who may reach it, and whose rows are shown."""

from collections.abc import Iterator
from typing import cast

import pytest

from common.policies import PERSON
from common.tests.connections import Connection, connect_as_superuser

pytestmark = pytest.mark.django_db

# Tables with a user_id (or the users themselves) that policies do not bind to the actor: why.
WITHOUT_TENANT_POLICY = {
    "accounts_user": "read before the actor is known; what app may write is bounded",
    "accounts_personalaccesstoken": "read before the actor is known; what app may write is bounded",
    "accounts_datakey": "read before the actor is known; of no use without the provider's key",
    "accounts_devicesession": "read before the actor is known; its owner alone writes",
    "accounts_storedsession": "found by a digest; sealed, and of persons only",
    "account_emailaddress": "read before the actor is known; its owner alone writes",
    "mfa_authenticator": "read before the actor is known; its owner alone writes",
    "socialaccount_socialaccount": "read before the actor is known; its owner alone writes",
    "django_admin_log": "of operators only: app has no grant",
}
# Tables that app reaches and that hold nobody's things.
OF_NOBODY = {
    "accounts_keycheck": "what keys of the house make of a known text",
    "accounts_outgoingmail": "sealed, and named by nobody's id",
    "account_emailconfirmation": "always empty; asked when an address is removed",
    "socialaccount_socialapp": "always empty; asked for providers that are not in the settings",
    "socialaccount_socialtoken": "always empty; asked when an account of a provider is removed",
    "accounts_receivednotification": "traces of stores' messages, which name nobody",
    "auth_permission": "names of what Django's models can have done to them",
    "django_content_type": "names of models",
    "django_migrations": "read by readyz",
}

# Tables with policies of their own: each policy for `app`, the command that it is for, which rows
# it lets through, and what they must be afterwards; `actor` is who acts.
Policy = tuple[str, str, str | None, str | None]
READ_BY_ALL: Policy = ("known_before_the_actor", "r", "true", None)
MY_ROW = "(user_id = actor)"
MY_USER = "((id = actor) AND ((role)::text = 'user'::text))"
PLAIN_USER = "(((role)::text = 'user'::text) AND ((account_status)::text = 'active'::text))"
OF_PERSONS = "((realm)::text = 'person'::text)"
OWN_INSERT: Policy = ("own_insert", "a", None, MY_ROW)
OWN_ROWS: tuple[Policy, ...] = (
    READ_BY_ALL,
    ("own_delete", "d", MY_ROW, None),
    OWN_INSERT,
    ("own_update", "w", MY_ROW, MY_ROW),
)
OF_IDENTITIES: dict[str, tuple[Policy, ...]] = {
    "accounts_user": (
        READ_BY_ALL,
        ("own_credentials", "w", MY_USER, MY_USER),
        ("plain_users", "a", None, PLAIN_USER),
    ),
    "accounts_datakey": (READ_BY_ALL, ("own_keys", "a", None, MY_ROW)),
    "accounts_personalaccesstoken": (
        READ_BY_ALL,
        ("own_tokens", "a", None, MY_ROW),
        # Its use is noted before anybody acts; its owner alone revokes it.
        ("use_or_revoke", "w", "(revoked_at IS NULL)", f"((revoked_at IS NULL) OR {MY_ROW})"),
    ),
    "accounts_devicesession": (
        READ_BY_ALL,
        OWN_INSERT,
        # What is over stays over.
        ("own_update", "w", f"({MY_ROW} AND (ended_at IS NULL))", MY_ROW),
    ),
    "accounts_storedsession": (("of_persons", "*", OF_PERSONS, OF_PERSONS),),
    "account_emailaddress": OWN_ROWS,
    "mfa_authenticator": OWN_ROWS,
    "socialaccount_socialaccount": OWN_ROWS,
}

READ = {"SELECT"}
KEEP = {"SELECT", "INSERT"}
CHANGE = {"SELECT", "INSERT", "UPDATE"}
# Table → what app, operator and definer may do with it. What is not here they may not do.
GRANTS: dict[str, dict[str, set[str]]] = {
    "accounts_user": {
        "app": KEEP
        | {
            f"UPDATE ({name})"
            for name in (
                "username",
                "password",
                "metadata",
                "last_login",
                "full_name",
                "given_name",
                "family_name",
                "updated_at",
            )
        },
        "operator": CHANGE,
    },
    "account_emailaddress": {"app": CHANGE | {"DELETE"}, "operator": CHANGE | {"DELETE"}},
    "mfa_authenticator": {"app": CHANGE | {"DELETE"}, "operator": CHANGE | {"DELETE"}},
    "socialaccount_socialaccount": {"app": CHANGE | {"DELETE"}, "operator": CHANGE | {"DELETE"}},
    "socialaccount_socialapp": {"app": READ},
    "accounts_devicesession": {
        "app": KEEP
        | {
            f"UPDATE ({name})"
            for name in (
                "last_seen_at",
                "proved_at",
                "generation",
                "rotated_at",
                "expires_at",
                "ended_at",
                "ended_because",
            )
        },
        "operator": READ | {"DELETE", "UPDATE (ended_at)", "UPDATE (ended_because)"},
    },
    "accounts_outgoingmail": {
        "app": CHANGE | {"DELETE"},
        "operator": {"INSERT"}
        | {f"SELECT ({name})" for name in ("id", "created_at", "next_attempt_at")},
    },
    "accounts_storedsession": {"app": CHANGE | {"DELETE"}, "operator": CHANGE | {"DELETE"}},
    "accounts_personalaccesstoken": {
        "app": KEEP | {"UPDATE (last_used_at)", "UPDATE (revoked_at)"},
        "operator": KEEP | {"UPDATE (last_used_at)", "UPDATE (revoked_at)"},
    },
    "accounts_biometricchallenge": {
        "app": KEEP | {"DELETE", "UPDATE (used_at)"},
        "operator": READ,
    },
    "accounts_biometrickey": {
        "app": KEEP
        | {
            f"UPDATE ({name})"
            for name in ("failures", "last_used_at", "registered_at", "revoked_at", "status")
        },
        "operator": READ | {"UPDATE (revoked_at)", "UPDATE (status)"},
    },
    "accounts_preference": {
        "app": KEEP | {"DELETE", "UPDATE (updated_at)", "UPDATE (value)"},
        "operator": READ,
    },
    "accounts_datakey": {
        "app": KEEP,
        "operator": KEEP
        | {f"UPDATE ({name})" for name in ("destroyed_at", "key_id", "provider", "wrapped")},
    },
    "accounts_keycheck": {"app": KEEP, "operator": KEEP},
    "accounts_consent": {"app": KEEP, "operator": READ | {"DELETE"}},
    "account_emailconfirmation": {
        "app": {"DELETE", "SELECT (email_address_id)", "SELECT (id)"},
        "operator": {"SELECT (email_address_id)", "SELECT (id)"},
    },
    "socialaccount_socialtoken": {
        "app": {"DELETE", "SELECT (account_id)", "SELECT (id)"},
        "operator": {"SELECT (account_id)", "SELECT (id)"},
    },
    "accounts_erasure": {"app": READ, "operator": KEEP},
    "accounts_erasurerequest": {"app": READ, "operator": CHANGE},
    "accounts_exportrequest": {"app": CHANGE, "operator": READ | {"UPDATE"}},
    "accounts_receivednotification": {"app": KEEP, "operator": READ | {"DELETE"}},
    "accounts_subscription": {"app": CHANGE, "operator": CHANGE | {"DELETE"}},
    "accounts_recordedanswer": {"app": KEEP, "operator": READ | {"DELETE"}},
    "audit_activity": {"app": READ, "operator": READ},
    "audit_change_event": {"app": READ, "operator": READ, "definer": {"INSERT"}},
    "audit_export_batch": {"operator": CHANGE},
    "audit_security_event": {"app": READ, "operator": READ, "definer": {"INSERT"}},
    "audit_security_origin": {"app": READ, "operator": READ, "definer": {"INSERT"}},
    "auth_permission": {"app": READ, "operator": READ},
    "django_admin_log": {"operator": KEEP},
    "django_content_type": {"app": READ, "operator": READ},
    "django_migrations": {"app": READ, "operator": READ},
    "dedup_alias": {"app": KEEP, "operator": READ},
    "dedup_artifact": {"app": KEEP | {"UPDATE (stored_as)"}, "operator": READ},
    "dedup_conversation": {"app": CHANGE, "operator": READ, "definer": READ},
    "dedup_deduplicationlog": {"app": KEEP, "operator": READ},
    "dedup_import": {"app": CHANGE, "operator": READ | {"UPDATE"}},
    "dedup_message": {"app": KEEP, "operator": READ, "definer": READ},
    "dedup_observation": {"app": KEEP, "operator": READ},
    "dedup_placement": {"app": CHANGE, "operator": READ, "definer": READ},
    "dedup_record": {"app": KEEP, "operator": READ},
    "dedup_revision": {"app": KEEP, "operator": READ, "definer": READ},
    "dedup_segment": {"app": KEEP, "operator": READ, "definer": READ},
    "dedup_watermark": {"app": CHANGE, "operator": READ},
}

# Without a policy of its own may stand a view that asks as whoever asks it, and a partition that
# no grant leads to and whose forced policies, none, let nobody in.
UNPROTECTED = """
    SELECT DISTINCT c.relname
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
      AND (a.attname = 'user_id' OR c.relname = 'accounts_user')
      AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND c.relispartition
            AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid) AND c.relacl IS NULL)
      AND coalesce(NOT 'security_invoker=true' = ANY (c.reloptions), true)
      AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (
            SELECT FROM pg_policy p
            WHERE p.polrelid = c.oid AND p.polname = 'tenant' AND p.polcmd = '*'
              AND p.polroles = ARRAY['app'::regrole::oid]
              AND pg_get_expr(p.polqual, p.polrelid) = %(mine)s
              AND pg_get_expr(p.polwithcheck, p.polrelid) = %(mine)s))
"""
# As the catalogue prints the predicate of `common.policies`.
MINE = "(user_id = (NULLIF(current_setting('app.user_id'::text, true), ''::text))::uuid)"
# As it prints who acts where that is asked once for a statement.
ACTOR = (
    "( SELECT (NULLIF(current_setting('app.user_id'::text, true), ''::text))::uuid AS \"nullif\")"
)
GRANTED = """
    SELECT c.relname, coalesce(g.rolname, 'PUBLIC'), a.privilege_type
    FROM pg_class c
    CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
    WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
    UNION ALL
    SELECT c.relname, coalesce(g.rolname, 'PUBLIC'), format('%s (%s)', a.privilege_type, t.attname)
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid
    CROSS JOIN aclexplode(t.attacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
    WHERE c.relnamespace = 'public'::regnamespace
"""


@pytest.fixture
def superuser(db: None) -> Iterator[Connection]:
    with connect_as_superuser() as connection:
        yield connection


def column(connection: Connection, query: str, **values: object) -> list[object]:
    return [row[0] for row in connection.execute(query.encode(), values or None).fetchall()]


def test_every_table_of_people_is_forced_to_show_the_actors_rows_only(
    superuser: Connection,
) -> None:
    assert set(column(superuser, UNPROTECTED, mine=MINE)) == set(WITHOUT_TENANT_POLICY)
    assert "current_setting('app.user_id', true)" in PERSON


@pytest.mark.parametrize(
    "weakening",
    [
        "ALTER TABLE dedup_record NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE dedup_record DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON dedup_record",
        "ALTER POLICY tenant ON dedup_record USING (true)",
        "ALTER POLICY tenant ON dedup_record WITH CHECK (true)",
        "ALTER POLICY tenant ON dedup_record TO PUBLIC",
    ],
)
def test_the_guard_sees_each_weakening(superuser: Connection, weakening: str) -> None:
    with superuser.transaction(force_rollback=True):
        superuser.execute(weakening.encode())

        assert "dedup_record" in column(superuser, UNPROTECTED, mine=MINE)


def test_the_guard_sees_a_new_table_and_a_view(superuser: Connection) -> None:
    with superuser.transaction(force_rollback=True):
        superuser.execute("CREATE TABLE a_new_table (user_id uuid)")
        superuser.execute("CREATE VIEW a_new_view AS SELECT user_id FROM dedup_record")

        unprotected = set(column(superuser, UNPROTECTED, mine=MINE))

    assert unprotected - set(WITHOUT_TENANT_POLICY) == {"a_new_table", "a_new_view"}


def test_every_policy_is_one_of_the_known(superuser: Connection) -> None:
    query = """
        SELECT format('%%s %%s %%s %%s', polname, polcmd, array_to_string(ARRAY(
                   SELECT rolname FROM pg_roles WHERE oid = ANY (polroles) ORDER BY 1), ','),
               CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END)
        FROM pg_policy
        WHERE NOT polrelid::regclass::text = ANY (%(identities)s)
        GROUP BY 1
    """

    assert set(column(superuser, query, identities=list(OF_IDENTITIES))) == {
        "tenant * app permissive",
        "house * operator permissive",
        "search r definer permissive",
        "upkeep * owner permissive",
        # Where nobody but functions of the definer writes.
        "capture a definer permissive",
    }


def policies_of(connection: Connection, table: str) -> dict[str, list[Policy]]:
    """Name, command and predicates of each policy, by the roles that it is for."""
    query = """
        SELECT array_to_string(ARRAY(
                   SELECT rolname FROM pg_roles WHERE oid = ANY (polroles) ORDER BY 1), ','),
               polname, polcmd, replace(pg_get_expr(polqual, polrelid), %(actor)s, 'actor'),
               replace(pg_get_expr(polwithcheck, polrelid), %(actor)s, 'actor')
        FROM pg_policy WHERE polrelid = %(table)s::regclass ORDER BY polname
    """
    found: dict[str, list[Policy]] = {}
    rows = connection.execute(query.encode(), {"table": table, "actor": ACTOR}).fetchall()
    for role, *policy in rows:
        found.setdefault(str(role), []).append(cast(Policy, tuple(policy)))
    return found


@pytest.mark.parametrize("table", OF_IDENTITIES)
def test_the_policies_of_identities_are_the_known(superuser: Connection, table: str) -> None:
    assert policies_of(superuser, table) == {
        "app": list(OF_IDENTITIES[table]),
        "operator": [("house", "*", "true", "true")],
    }


@pytest.mark.parametrize(
    "weakening",
    [
        "ALTER POLICY own_update ON account_emailaddress USING (true)",
        "ALTER POLICY own_update ON mfa_authenticator WITH CHECK (true)",
        "ALTER POLICY own_delete ON socialaccount_socialaccount USING (true)",
        "ALTER POLICY own_update ON accounts_devicesession USING (user_id IS NOT NULL)",
        "ALTER POLICY own_credentials ON accounts_user TO PUBLIC",
        "CREATE POLICY another ON accounts_datakey FOR UPDATE TO app USING (true)",
    ],
)
def test_a_weaker_policy_of_identities_is_seen(superuser: Connection, weakening: str) -> None:
    table = weakening.split(" ON ")[1].split(maxsplit=1)[0]
    before = policies_of(superuser, table)
    with superuser.transaction(force_rollback=True):
        superuser.execute(weakening.encode())

        assert policies_of(superuser, table) != before


def test_each_role_may_do_what_is_listed_and_nothing_more(superuser: Connection) -> None:
    granted: dict[str, dict[str, set[str]]] = {}
    for table, role, privilege in superuser.execute(GRANTED.encode()).fetchall():
        granted.setdefault(str(table), {}).setdefault(str(role), set()).add(str(privilege))

    assert granted == GRANTS


def test_app_reaches_no_table_that_is_neither_forced_nor_listed_with_a_reason(
    superuser: Connection,
) -> None:
    query = """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
          AND (has_table_privilege('app', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
               OR has_any_column_privilege('app', oid, 'SELECT, INSERT, UPDATE'))
          AND NOT (relrowsecurity AND relforcerowsecurity)
          AND coalesce(NOT 'security_invoker=true' = ANY (reloptions), true)
    """

    assert set(column(superuser, query)) == {
        *OF_NOBODY,
        *(set(WITHOUT_TENANT_POLICY) - {"django_admin_log"}),
    }


def test_the_views_for_analytics_are_the_analysts_to_read_and_nobody_elses(
    superuser: Connection,
) -> None:
    """They read with the owner's rights, and no condition of the reader is tried on hidden rows."""
    views = """
        SELECT DISTINCT format('%s %s %s %s', c.relkind, c.relowner::regrole, c.reloptions,
            (SELECT array_agg(format('%s %s', a.grantee::regrole, a.privilege_type))
             FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner))
        FROM pg_class c WHERE c.relnamespace = 'reporting'::regnamespace
    """
    schema = """
        SELECT format('%s %s', a.grantee::regrole, a.privilege_type)
        FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a
        WHERE n.nspname = 'reporting' AND a.grantee <> n.nspowner
    """

    assert column(superuser, views) == [
        'v owner {security_barrier=true,security_invoker=false} {"analyst SELECT"}'
    ]
    assert column(superuser, schema) == ["analyst USAGE"]


@pytest.mark.parametrize("role", ["app", "operator", "definer", "metrics"])
def test_other_roles_neither_read_nor_write_the_views(superuser: Connection, role: str) -> None:
    query = """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'reporting'::regnamespace AND has_table_privilege(
            %(role)s, oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
        UNION ALL SELECT nspname FROM pg_namespace
        WHERE nspname = 'reporting' AND has_schema_privilege(%(role)s, oid, 'USAGE, CREATE')
    """

    assert column(superuser, query, role=role) == []


def test_the_analyst_reaches_nothing_but_the_views(superuser: Connection) -> None:
    query = """
        SELECT format('table %%s', oid::regclass) FROM pg_class
        WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
          AND relkind IN ('r', 'p', 'v', 'm', 'f')
          AND (has_table_privilege('analyst', oid,
                   'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER, MAINTAIN')
               OR has_any_column_privilege('analyst', oid, 'INSERT, UPDATE, REFERENCES')
               OR relnamespace <> 'reporting'::regnamespace
                  AND has_any_column_privilege('analyst', oid, 'SELECT'))
        UNION ALL SELECT format('schema %%s', nspname) FROM pg_namespace
        WHERE nspname NOT IN ('pg_catalog', 'information_schema')
          AND has_schema_privilege('analyst', oid, 'USAGE, CREATE')
        UNION ALL SELECT format('function %%s', oid::regprocedure) FROM pg_proc
        WHERE prosecdef AND has_function_privilege('analyst', oid, 'EXECUTE')
        UNION ALL SELECT 'database' WHERE has_database_privilege(
            'analyst', current_database(), 'CREATE, TEMPORARY')
        UNION ALL SELECT format('member of %%s', roleid::regrole) FROM pg_auth_members
        WHERE member = %(role)s::regrole
    """

    assert column(superuser, query, role="analyst") == ["schema reporting"]


def test_every_table_belongs_to_the_owner(superuser: Connection) -> None:
    query = """
        SELECT DISTINCT relowner::regrole::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
    """

    assert column(superuser, query) == ["owner"]


def test_functions_with_other_rights_are_closed_to_the_public_and_fix_their_path(
    superuser: Connection,
) -> None:
    query = """
        SELECT format('%s %s %s', p.proname, p.proowner::regrole, p.proconfig[1]),
               ARRAY(SELECT a.grantee::regrole::text FROM aclexplode(p.proacl) a ORDER BY 1)
        FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
        ORDER BY p.proname
    """

    path = "search_path=pg_catalog, public, pg_temp"
    of_accounts = (
        "accounts_biometrickey",
        "accounts_consent",
        "accounts_datakey",
        "accounts_erasurerequest",
        "accounts_exportrequest",
        "accounts_personalaccesstoken",
        "accounts_subscription",
        "accounts_user",
    )
    of_dedup = ("dedup_artifact", "dedup_conversation", "dedup_import")
    assert superuser.execute(query.encode()).fetchall() == sorted(
        [
            (f"accounts_erase_person owner {path}", ["operator", "owner"]),
            (f"audit_forget_origins owner {path}", ["operator", "owner"]),
            (f"dedup_erase_person owner {path}", ["operator", "owner"]),
            *((f"{table}_capture definer {path}", ["definer"]) for table in of_accounts),
            (f"audit_capture_truncate definer {path}", ["definer"]),
            (f"audit_drop_partitions owner {path}", ["operator", "owner"]),
            (f"audit_make_partitions owner {path}", ["operator", "owner"]),
            (f"audit_note definer {path}", ["app", "definer", "operator"]),
            *((f"{table}_capture definer {path}", ["definer"]) for table in of_dedup),
            (
                "dedup_refresh_planner_statistics owner search_path=pg_catalog, public, pg_temp",
                ["app", "owner"],
            ),
            (
                "dedup_search definer search_path=pg_catalog, public, pg_temp",
                ["app", "definer", "operator"],
            ),
        ]
    )


def test_app_cannot_make_anything_in_the_schema_or_in_the_database(
    superuser: Connection,
) -> None:
    query = """
        SELECT has_schema_privilege('app', 'public', 'CREATE'),
               has_database_privilege('app', current_database(), 'CREATE'),
               has_database_privilege('app', current_database(), 'TEMPORARY'),
               has_database_privilege('operator', current_database(), 'CREATE, TEMPORARY'),
               has_database_privilege('public', current_database(), 'CONNECT, TEMPORARY')
    """

    assert superuser.execute(query.encode()).fetchone() == (False, False, True, False, False)
