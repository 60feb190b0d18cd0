from django.db import migrations

from operations.reporting import reporting_view

# A role is made by a superuser: an owner can only say that it is missing.
ROLE_IS_THERE = """
    DO $$
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'analyst') THEN
            RAISE EXCEPTION 'The role analyst is missing. Run: manage.py bootstrap_database';
        END IF;
    END $$
"""

DAY = "Day in UTC"
USERS_BY_DAY = """
    SELECT (created_at AT TIME ZONE 'UTC')::date, role::text, account_status::text, count(*)
    FROM public.accounts_user
    GROUP BY 1, 2, 3
"""
TOKENS_IN_USE = """
    SELECT state, count(*), count(DISTINCT user_id),
           count(*) FILTER (WHERE last_used_at > now() - interval '30 days')
    FROM (
        SELECT t.user_id, t.last_used_at,
               CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked'
                    WHEN t.expires_at <= now() THEN 'expired'
                    WHEN u.account_status <> 'active' THEN 'blocked'
                    ELSE 'usable'
               END AS state
        FROM public.accounts_personalaccesstoken t
        JOIN public.accounts_user u ON u.id = t.user_id
    ) tokens
    GROUP BY state
"""
IMPORTS_BY_DAY = """
    SELECT (i.created_at AT TIME ZONE 'UTC')::date, i.source::text, i.status::text,
           count(*), count(i.original_id), sum(i.messages_in_export), sum(i.new_messages),
           sum(i.duplicates_filtered), sum(i.revisions), sum(i.unreadable_records),
           sum(a.size)::bigint, round(sum(i.processing_time_ms) / 1000.0, 3)
    FROM public.dedup_import i
    JOIN public.dedup_artifact a ON a.id = i.artifact_id
    GROUP BY 1, 2, 3
"""
# As `dedup.models.savings` counts: what is kept of an export are its new messages and revisions.
SAVINGS_BY_SOURCE = """
    SELECT source::text, count(*), sum(messages_in_export), sum(new_messages),
           sum(duplicates_filtered), sum(revisions),
           coalesce(round(100.0 * sum(duplicates_filtered) / nullif(sum(messages_in_export), 0), 2), 0)
    FROM public.dedup_import
    WHERE status = 'completed'
    GROUP BY 1
"""
CONVERSATIONS_BY_DAY = """
    SELECT (created_at AT TIME ZONE 'UTC')::date, source::text, count(*),
           count(*) FILTER (WHERE parent_key <> ''), sum(total_messages)
    FROM public.dedup_conversation
    WHERE merged_into_id IS NULL
    GROUP BY 1, 2
"""
MESSAGES_BY_DAY = """
    SELECT (created_at AT TIME ZONE 'UTC')::date, source::text, count(*)
    FROM public.dedup_message
    GROUP BY 1, 2
"""


class Migration(migrations.Migration):
    """Figures for analytics: counts and sums over everybody, without words, names or ids."""

    dependencies = [("accounts", "0002_roles"), ("dedup", "0009_planner_statistics")]

    operations = [
        migrations.RunSQL(
            [
                ROLE_IS_THERE,
                "CREATE SCHEMA reporting",
                "COMMENT ON SCHEMA reporting IS 'Figures for analytics: no words, names or ids'",
                "GRANT USAGE ON SCHEMA reporting TO analyst",
            ],
            ["DROP SCHEMA reporting"],
        ),
        reporting_view(
            "users_by_day",
            USERS_BY_DAY,
            about="Accounts by the day of their registration, as they stand at present",
            columns={
                "day": DAY,
                "role": "What the accounts may do",
                "status": "Whether they can log in",
                "registered": "Accounts",
            },
        ),
        reporting_view(
            "tokens_in_use",
            TOKENS_IN_USE,
            about="Personal access tokens, as they stand at present",
            columns={
                "state": "usable, revoked, expired, or blocked because the account is not active",
                "tokens": "Tokens",
                "people": "Accounts that have such a token",
                "used_in_30_days": "Of the tokens, those that were used in the last 30 days",
            },
        ),
        reporting_view(
            "imports_by_day",
            IMPORTS_BY_DAY,
            about="Imports by the day on which they were asked for",
            columns={
                "day": DAY,
                "source": "The format that was recognised; empty until a file is read",
                "status": "How far the imports are",
                "imports": "Imports",
                "came_again": "Of the imports, those of a file that had been imported before",
                "messages_in_exports": "Messages in the files",
                "new_messages": "First seen in these files",
                "duplicates": "Already kept, with equal content",
                "revisions": "Already kept, with other content",
                "unreadable_records": "Kept as raw bytes because they could not be parsed",
                "bytes": "Size of the files, each time they came",
                "seconds": "Reading and merging",
            },
        ),
        reporting_view(
            "savings_by_source",
            SAVINGS_BY_SOURCE,
            about="What de-duplication saved in all completed imports",
            columns={
                "source": "The format of the files",
                "imports": "Completed imports",
                "messages_in_exports": "Messages in the files",
                "new_messages": "First seen in these files",
                "duplicates": "Already kept, with equal content",
                "revisions": "Already kept, with other content",
                "savings_pct": "Share of the messages that was kept already, in per cent",
            },
        ),
        reporting_view(
            "conversations_by_day",
            CONVERSATIONS_BY_DAY,
            about="Conversations by the day on which they were first seen",
            columns={
                "day": DAY,
                "source": "Where they were held",
                "conversations": "Conversations, without those that were found to be part of another",
                "of_subagents": "Of the conversations, those of a sub-agent",
                "messages": "Messages that these conversations have at present",
            },
        ),
        reporting_view(
            "messages_by_day",
            MESSAGES_BY_DAY,
            about="Messages by the day on which they were first received",
            columns={"day": DAY, "source": "Where they were said", "messages": "Messages"},
        ),
    ]
