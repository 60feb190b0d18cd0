from django.db import migrations

SIGNATURE = "dedup_erase_person(uuid, integer)"

# Children before parents. Rows that point at rows of their own table go in one statement: each
# of them may be the other's parent. The conditions lead through indexes where user_id has none.
DEFINITION = """
CREATE FUNCTION dedup_erase_person(of_user uuid, most integer)
RETURNS TABLE (table_name text, rows_deleted bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    room bigint := most;
    counts jsonb := '{}';
    part text[];
    mine text := 'user_id = $1';
    of_conversations text := 'conversation_id IN (SELECT id FROM dedup_conversation WHERE user_id = $1)';
    of_imports text := 'import_id IN (SELECT id FROM dedup_import WHERE user_id = $1)';
BEGIN
    FOREACH part SLICE 1 IN ARRAY ARRAY[
        ['dedup_deduplicationlog', of_imports],
        ['dedup_watermark', of_conversations],
        ['dedup_alias', mine],
        ['dedup_placement', 'segment_id IN (SELECT id FROM dedup_segment WHERE user_id = $1)'],
        ['dedup_segment', mine],
        ['dedup_observation', of_imports],
        ['dedup_record', mine],
        ['dedup_revision', mine],
        ['dedup_message', mine]
    ] LOOP
        EXIT WHEN room <= 0;
        EXECUTE format(
            'DELETE FROM %1$I WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$I WHERE %2$s LIMIT $2))',
            part[1], part[2]
        ) USING of_user, room;
        GET DIAGNOSTICS rows_deleted = ROW_COUNT;
        CONTINUE WHEN rows_deleted = 0;
        room := room - rows_deleted;
        table_name := part[1];
        counts := counts || jsonb_build_object(table_name, rows_deleted);
        RETURN NEXT;
    END LOOP;
    IF room > 0 THEN
        FOREACH table_name IN ARRAY ARRAY['dedup_conversation', 'dedup_import', 'dedup_artifact'] LOOP
            EXECUTE format('DELETE FROM %I WHERE user_id = $1', table_name) USING of_user;
            GET DIAGNOSTICS rows_deleted = ROW_COUNT;
            CONTINUE WHEN rows_deleted = 0;
            counts := counts || jsonb_build_object(table_name, rows_deleted);
            RETURN NEXT;
        END LOOP;
    END IF;
    -- In the same transaction: what is deleted without a trace was not deleted.
    IF counts <> '{}' THEN
        PERFORM audit_note('person_erased', of_user, NULL,
            COALESCE(current_setting('app.request_id', true), ''),
            COALESCE(current_setting('app.operator_reason', true), ''),
            'dedup_erase_person', NULL, counts, NULL, '');
    END IF;
END $$
"""

APPEND_ONLY = (
    "dedup_message", "dedup_revision", "dedup_record", "dedup_observation",
    "dedup_deduplicationlog",
)  # fmt: skip

# As `append_only` in common/policies.py makes it.
REFUSING = """
CREATE OR REPLACE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on {table} is refused: its rows are never changed', TG_OP
        USING ERRCODE = 'restrict_violation';
END $$
"""
# Nobody logs in as the operator and is the owner, but within a function of the owner's that the
# operator may call.
REFUSING_BUT_FOR_ERASURE = """
CREATE OR REPLACE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_user = 'owner' AND session_user = 'operator' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% on {table} is refused: its rows are never changed', TG_OP
        USING ERRCODE = 'restrict_violation';
END $$
"""


class Migration(migrations.Migration):
    """One way to delete an archive: a function that only the operator may call, and that tells.

    Each call takes some rows, so that it ends within the operator's time limit.
    """

    dependencies = [
        ("dedup", "0011_planner_sees_the_actor"),
        ("audit", "0004_kinds_of_accounts"),
    ]

    operations = [
        *[
            migrations.RunSQL(
                [REFUSING_BUT_FOR_ERASURE.format(table=table)], [REFUSING.format(table=table)]
            )
            for table in APPEND_ONLY
        ],
        migrations.RunSQL(
            [
                DEFINITION,
                f"REVOKE ALL ON FUNCTION {SIGNATURE} FROM PUBLIC",
                f"GRANT EXECUTE ON FUNCTION {SIGNATURE} TO operator",
            ],
            [f"DROP FUNCTION {SIGNATURE}"],
        ),
    ]
