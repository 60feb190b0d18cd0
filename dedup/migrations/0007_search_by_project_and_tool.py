from importlib import import_module

from django.db import migrations
from django.db.migrations import RunSQL

from common.policies import ACTOR, definer_function

TABLES = ["dedup_revision", "dedup_message", "dedup_placement", "dedup_segment"]
SIGNATURE = "dedup_search(text, text, text, uuid, text, text, timestamptz, timestamptz, real, uuid, integer)"

# ts_headline leaves out what looks like a tag: so "<" goes by another character meanwhile, which
# parts words as it does. The characters that mark the words found come from here alone.
DEFINITION = f"""
CREATE FUNCTION dedup_search(
    words text, in_source text, of_role text, in_conversation uuid,
    in_project text, with_tool text,
    sent_from timestamptz, sent_before timestamptz,
    after_rank real, after_id uuid, most integer
) RETURNS TABLE (message_id uuid, revision_id uuid, rank real, highlight text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH found AS (
        SELECT m.id AS message_id, r.id AS revision_id, r.text,
               ts_rank_cd(r.search, q.query, 32)::real AS rank, q.query
        FROM websearch_to_tsquery('english', words) AS q (query)
        JOIN public.dedup_revision r ON r.search @@ q.query
        JOIN public.dedup_message m ON m.id = r.message_id
        WHERE r.user_id = {ACTOR} AND m.user_id = {ACTOR}
          AND (in_source IS NULL OR m.source = in_source)
          AND (of_role IS NULL OR r.role = of_role)
          AND (with_tool IS NULL OR r.content @> jsonb_build_array(
                jsonb_build_object('type', 'tool_use', 'name', with_tool)))
          AND (in_conversation IS NULL OR EXISTS (
                SELECT FROM public.dedup_placement p
                JOIN public.dedup_segment s ON s.id = p.segment_id
                WHERE p.message_id = m.id AND s.conversation_id = in_conversation))
          AND (in_project IS NULL OR EXISTS (
                SELECT FROM public.dedup_placement p
                JOIN public.dedup_segment s ON s.id = p.segment_id
                JOIN public.dedup_conversation c ON c.id = s.conversation_id
                WHERE p.message_id = m.id AND c.user_id = {ACTOR}
                  AND (c.project = in_project
                       OR right(c.project, length(in_project) + 1) = '/' || in_project)))
          AND (sent_from IS NULL OR m.sent_at >= sent_from)
          AND (sent_before IS NULL OR m.sent_at < sent_before)
    ),
    best AS (
        SELECT DISTINCT ON (message_id) * FROM found ORDER BY message_id, rank DESC, revision_id DESC
    ),
    page AS (
        SELECT * FROM best
        WHERE after_id IS NULL OR (rank, message_id) < (after_rank, after_id)
        ORDER BY rank DESC, message_id DESC LIMIT most
    )
    SELECT message_id, revision_id, rank,
           translate(
               ts_headline('english', translate(text, E'<\\x01\\x02\\x03', E'\\x01'), query,
                           E'StartSel=\\x02, StopSel=\\x03, MaxFragments=2, MaxWords=40, MinWords=10'),
               E'\\x01', '<')
    FROM page ORDER BY rank DESC, message_id DESC
$$
"""


def replaced() -> RunSQL:
    """Drop the function of 0003; its reverse makes it as it was."""
    before = import_module("dedup.migrations.0003_search")
    made = definer_function(before.SIGNATURE, before.DEFINITION, reads=TABLES)
    return RunSQL(made.reverse_sql, made.sql)


class Migration(migrations.Migration):
    """Search within a project, by the tool that is used, and with tags in what is shown."""

    dependencies = [("dedup", "0006_reach_of_imports")]

    operations = [
        replaced(),
        definer_function(SIGNATURE, DEFINITION, reads=[*TABLES, "dedup_conversation"]),
    ]
