from django.db import migrations

from common.policies import append_only, grant, show_planner_the_actor, tenant_table

EVENTS = ("audit_change_event", "audit_security_event", "audit_security_origin")

CAPTURE_TRUNCATE = """
CREATE FUNCTION audit_capture_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO audit_change_event (table_name, operation, actor_id, role, request_id, reason)
    VALUES (
        TG_TABLE_NAME, TG_OP,
        NULLIF(current_setting('app.operator_id', true), '')::uuid,
        session_user,
        COALESCE(current_setting('app.request_id', true), ''),
        COALESCE(current_setting('app.operator_reason', true), '')
    );
    RETURN NULL;
END $$
"""

# Numbers, truth values, nothing, and codes or keys: what a person writes has blanks or an @.
# The names of values are held to the same.
IS_PLAIN = """
CREATE FUNCTION audit_is_plain(details jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT jsonb_typeof(details) = 'object' AND NOT EXISTS (
        SELECT FROM jsonb_path_query(details, '$.**') AS found (value)
        WHERE jsonb_typeof(value) = 'string'
          AND (value #>> '{}') !~ '^[A-Za-z0-9_.:+-]{0,100}$'
        UNION ALL
        SELECT FROM jsonb_path_query(details, '$.** ? (@.type() == "object").keyvalue().key')
            AS found (name)
        WHERE (name #>> '{}') !~ '^[A-Za-z0-9_.:+-]{1,63}$'
    )
$$
"""

NOTE_ARGUMENTS = "text, uuid, uuid, text, text, text, uuid, jsonb, inet, text"
# Whose login it is decides what can be said: only the operator's gives reasons, and only it tells
# what operators and the house did.
NOTE = """
CREATE FUNCTION audit_note(
    of_kind text, of_user uuid, by_actor uuid, in_request text, for_reason text,
    of_subject text, of_row uuid, with_details jsonb, from_address inet, with_agent text
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    event uuid := uuidv7();
    is_house boolean := session_user <> 'app';
BEGIN
    IF NOT is_house AND of_kind NOT IN (
        'login_succeeded', 'login_failed', 'logged_out', 'token_refused', 'access_refused',
        'secrets_revealed', 'data_exported', 'file_downloaded'
    ) THEN
        RAISE EXCEPTION '% is not for app to say', of_kind USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO audit_security_event (
        id, kind, user_id, actor_id, role, request_id, reason, subject, row_id, details
    ) VALUES (
        event, of_kind, of_user, by_actor, session_user, in_request,
        CASE WHEN is_house THEN for_reason ELSE '' END, of_subject,
        of_row, with_details
    );
    IF from_address IS NOT NULL OR with_agent <> '' THEN
        INSERT INTO audit_security_origin (id, user_id, address, agent)
        -- Where an operator sat is not for those to see whom they looked at.
        VALUES (
            event, CASE WHEN is_house THEN by_actor ELSE of_user END,
            from_address, with_agent
        );
    END IF;
    RETURN event;
END $$
"""

# The smallest UUIDv7 of that millisecond.
FIRST_ID = """
CREATE FUNCTION audit_first_id(at timestamptz) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
            || repeat('0', 20))::uuid
$$
"""

# A new partition waits for everybody who writes the table, and everybody after it for it: it
# gives up after a moment, and the next call tries again. What came before its partition was
# made is in the default one, and stays there. The parent is asked, since policies show nobody
# the rows of a partition.
MAKE_PARTITIONS = """
CREATE FUNCTION audit_make_partitions(months_ahead integer) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s'
AS $$
DECLARE
    parent text;
    month timestamp;
    part text;
    beginning uuid;
    ending uuid;
    taken boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit partitions', 0));
    FOREACH parent IN ARRAY ARRAY[
        'audit_change_event', 'audit_security_event', 'audit_security_origin'
    ] LOOP
        FOR month IN SELECT generate_series(
            date_trunc('month', now() AT TIME ZONE 'UTC'),
            date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => months_ahead),
            '1 month'
        ) LOOP
            part := parent || to_char(month, '_YYYY_MM');
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            beginning := audit_first_id(month AT TIME ZONE 'UTC');
            ending := audit_first_id((month + interval '1 month') AT TIME ZONE 'UTC');
            EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE id >= $1 AND id < $2)', parent)
                INTO taken USING beginning, ending;
            CONTINUE WHEN taken;
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)',
                           part, parent, beginning, ending);
            PERFORM audit_close_partition(part, parent);
            RETURN NEXT part;
        END LOOP;
    END LOOP;
END $$
"""

# Grants and policies are those of the parent: nobody is to reach a partition by its own name.
CLOSE_PARTITION = """
CREATE FUNCTION audit_close_partition(part text, parent text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
    EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %I'
                   ' FOR EACH STATEMENT EXECUTE FUNCTION %I()', part, parent || '_is_append_only');
END $$
"""

# What the operator may ask for is bounded here: events of at least a year stay, and so does what
# is not in the files yet: what the last file, and no other, says. Transactions of a server that
# was restored from may have had higher numbers.
DROP_PARTITIONS = """
CREATE FUNCTION audit_drop_partitions(
    event_days integer, origin_days integer, only_look boolean
) RETURNS TABLE (part text, rows_in_it bigint, ends_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s'
AS $$
DECLARE
    parent text;
    days integer;
    month timestamp;
    unwritten boolean;
    chosen text[] := '{}';
BEGIN
    -- A number that is missing is none that is great enough.
    IF (event_days >= 365 AND origin_days >= 1) IS NOT TRUE THEN
        RAISE EXCEPTION 'events are kept for at least 365 days and their origins for a day'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('audit partitions', 0));
    FOR parent, part IN
        SELECT i.inhparent::regclass::text, i.inhrelid::regclass::text
        FROM pg_inherits i
        WHERE i.inhparent = ANY (ARRAY['audit_change_event', 'audit_security_event',
                                       'audit_security_origin']::regclass[])
        ORDER BY 2
    LOOP
        CONTINUE WHEN part !~ '_[0-9]{4}_[0-9]{2}$';
        days := CASE parent WHEN 'audit_security_origin' THEN origin_days ELSE event_days END;
        month := to_date(right(part, 7), 'YYYY_MM');
        ends_at := (month + interval '1 month') AT TIME ZONE 'UTC';
        CONTINUE WHEN ends_at > now() - make_interval(days => days);
        IF parent <> 'audit_security_origin' THEN
            EXECUTE format(
                'SELECT EXISTS (SELECT FROM %I e WHERE e.id >= $1 AND e.id < $2 AND NOT EXISTS ('
                '    SELECT FROM (SELECT upto, first_id FROM audit_export_batch'
                '                 WHERE written_at IS NOT NULL ORDER BY sequence DESC LIMIT 1) b'
                '    WHERE pg_visible_in_snapshot(e.xid, b.upto) OR e.id < b.first_id))', parent)
                INTO unwritten USING audit_first_id(month AT TIME ZONE 'UTC'), audit_first_id(ends_at);
            CONTINUE WHEN unwritten;
        END IF;
        EXECUTE format('SELECT count(*) FROM %I WHERE id >= $1 AND id < $2', parent)
            INTO rows_in_it USING audit_first_id(month AT TIME ZONE 'UTC'), audit_first_id(ends_at);
        chosen := chosen || part;
        RETURN NEXT;
    END LOOP;
    -- Only now: from here on nobody writes until the end of the transaction.
    IF NOT only_look THEN
        FOREACH part IN ARRAY chosen LOOP
            EXECUTE format('DROP TABLE %I', part);
        END LOOP;
    END IF;
END $$
"""

DROP_ALL_PARTITIONS = """
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN
        SELECT inhrelid::regclass FROM pg_inherits
        WHERE inhparent = ANY (ARRAY['audit_change_event', 'audit_security_event',
                                     'audit_security_origin']::regclass[])
    LOOP
        EXECUTE format('DROP TABLE %s', part);
    END LOOP;
END $$
"""

BATCH_IS_FINAL = """
CREATE FUNCTION audit_export_batch_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('DELETE', 'TRUNCATE') OR OLD.written_at IS NOT NULL THEN
        RAISE EXCEPTION '% on audit_export_batch is refused: what was written stays', TG_OP
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""


def written_by_definer(table: str) -> migrations.RunSQL:
    """The functions that write the table run as `definer`."""
    return migrations.RunSQL(
        [
            f"CREATE POLICY capture ON {table} FOR INSERT TO definer WITH CHECK (true)",
            f"GRANT INSERT ON {table} TO definer",
        ],
        [
            f"REVOKE INSERT ON {table} FROM definer",
            f"DROP POLICY capture ON {table}",
        ],
    )


def function(
    definition: str, signature: str, *, of_definer: bool, executed_by: str
) -> migrations.RunSQL:
    """A function closed to everybody but the roles that are named."""
    forward = [definition]
    if of_definer:
        forward.append(f"ALTER FUNCTION {signature} OWNER TO definer")
    forward.append(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    if executed_by:
        forward.append(f"GRANT EXECUTE ON FUNCTION {signature} TO {executed_by}")
    return migrations.RunSQL(forward, [f"DROP FUNCTION {signature}"])


class Migration(migrations.Migration):
    """Events that only triggers and one function write, and that nobody changes."""

    dependencies = [("audit", "0001_initial")]

    operations = [
        *[tenant_table(table, app="SELECT", operator="SELECT") for table in EVENTS],
        *[show_planner_the_actor(table) for table in EVENTS],
        *[append_only(table) for table in EVENTS],
        *[written_by_definer(table) for table in EVENTS],
        migrations.RunSQL(
            [
                IS_PLAIN,
                """
                ALTER TABLE audit_security_event
                ADD CONSTRAINT security_details_plain CHECK (audit_is_plain(details))
                """,
            ],
            [
                "ALTER TABLE audit_security_event DROP CONSTRAINT security_details_plain",
                "DROP FUNCTION audit_is_plain(jsonb)",
            ],
        ),
        function(CAPTURE_TRUNCATE, "audit_capture_truncate()", of_definer=True, executed_by=""),
        function(
            NOTE, f"audit_note({NOTE_ARGUMENTS})", of_definer=True, executed_by="app, operator"
        ),
        migrations.RunSQL([FIRST_ID], ["DROP FUNCTION audit_first_id(timestamptz)"]),
        migrations.RunSQL([CLOSE_PARTITION], ["DROP FUNCTION audit_close_partition(text, text)"]),
        function(
            MAKE_PARTITIONS,
            "audit_make_partitions(integer)",
            of_definer=False,
            executed_by="operator",
        ),
        function(
            DROP_PARTITIONS,
            "audit_drop_partitions(integer, integer, boolean)",
            of_definer=False,
            executed_by="operator",
        ),
        migrations.RunSQL(
            [
                *[f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT" for table in EVENTS],
                *[
                    f"SELECT audit_close_partition('{table}_default', '{table}')"
                    for table in EVENTS
                ],
                "SELECT audit_make_partitions(3)",
            ],
            [DROP_ALL_PARTITIONS],
        ),
        grant("SELECT, INSERT, UPDATE", "audit_export_batch", "operator"),
        migrations.RunSQL(
            [
                BATCH_IS_FINAL,
                """
                CREATE TRIGGER final BEFORE UPDATE OR DELETE ON audit_export_batch
                FOR EACH ROW EXECUTE FUNCTION audit_export_batch_is_final()
                """,
                """
                CREATE TRIGGER final_truncate BEFORE TRUNCATE ON audit_export_batch
                FOR EACH STATEMENT EXECUTE FUNCTION audit_export_batch_is_final()
                """,
            ],
            [
                "DROP TRIGGER final_truncate ON audit_export_batch",
                "DROP TRIGGER final ON audit_export_batch",
                "DROP FUNCTION audit_export_batch_is_final()",
            ],
        ),
    ]
