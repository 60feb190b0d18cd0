from django.db import migrations

from common.policies import ACTOR, definer_function

SIGNATURE = "dedup_search(text, text, text, uuid, timestamptz, timestamptz, real, uuid, integer)"

DEFINITION = f"""
CREATE FUNCTION dedup_search(
    words text, in_source text, of_role text, in_conversation uuid,
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
          AND (in_conversation IS NULL OR EXISTS (
                SELECT FROM public.dedup_placement p
                JOIN public.dedup_segment s ON s.id = p.segment_id
                WHERE p.message_id = m.id AND s.conversation_id = in_conversation))
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
           ts_headline('english', text, query,
                       'StartSel=\x02, StopSel=\x03, MaxFragments=2, MaxWords=40, MinWords=10')
    FROM page ORDER BY rank DESC, message_id DESC
$$
"""


class Migration(migrations.Migration):
    """Full-text search through a role whose policy lets GIN be used, with the actor repeated."""

    dependencies = [("dedup", "0002_guarantees")]

    operations = [
        definer_function(
            SIGNATURE,
            DEFINITION,
            reads=["dedup_revision", "dedup_message", "dedup_placement", "dedup_segment"],
        )
    ]
