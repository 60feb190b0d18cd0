from django.db import migrations

SIGNATURE = "dedup_refresh_planner_statistics()"

# ANALYZE asks for the owner of the tables, or for a privilege that also lets them be locked. The
# columns of words are never compared: to look at them would take most of the time.
DEFINITION = """
CREATE FUNCTION dedup_refresh_planner_statistics() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
    ANALYZE dedup_conversation;
    ANALYZE dedup_segment;
    ANALYZE dedup_message;
    ANALYZE dedup_placement;
    ANALYZE dedup_observation;
    ANALYZE dedup_revision (id, user_id, message_id, role, content_hash, hash_version);
$$
"""


class Migration(migrations.Migration):
    """A way for an importer to tell the planner at once how much a table has grown."""

    dependencies = [("dedup", "0008_revisions_in_place")]

    operations = [
        migrations.RunSQL(
            [
                DEFINITION,
                f"REVOKE ALL ON FUNCTION {SIGNATURE} FROM PUBLIC",
                f"GRANT EXECUTE ON FUNCTION {SIGNATURE} TO app",
            ],
            [f"DROP FUNCTION {SIGNATURE}"],
        )
    ]
