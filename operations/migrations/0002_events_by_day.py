from django.db import migrations

from operations.reporting import reporting_view

EVENTS_BY_DAY = """
    SELECT day, kind, count(*), count(DISTINCT user_id), count(DISTINCT actor_id)
    FROM (
        SELECT (at AT TIME ZONE 'UTC')::date AS day, 'change'::text AS kind, user_id, actor_id
        FROM public.audit_change_event
        UNION ALL
        SELECT (at AT TIME ZONE 'UTC')::date, kind::text, user_id, actor_id
        FROM public.audit_security_event
    ) events
    GROUP BY 1, 2
"""


class Migration(migrations.Migration):
    """What happened, by day: logins, refusals, looks of operators, changes."""

    dependencies = [("operations", "0001_reporting"), ("audit", "0003_activity")]

    operations = [
        reporting_view(
            "events_by_day",
            EVENTS_BY_DAY,
            about="Events of the change stream by day and kind",
            columns={
                "day": "Day in UTC",
                "kind": "change, or what happened: login_failed, operator_looked, ...",
                "events": "Events",
                "people": "Different people whom they concern",
                "actors": "Different people and operators who did it",
            },
        ),
    ]
