from django.db import migrations

from common.policies import show_planner_the_actor

TABLES = (
    "dedup_alias", "dedup_artifact", "dedup_conversation", "dedup_deduplicationlog", "dedup_import",
    "dedup_message", "dedup_observation", "dedup_placement", "dedup_record", "dedup_revision",
    "dedup_segment", "dedup_watermark",
)  # fmt: skip


class Migration(migrations.Migration):
    """Policies name the person so that the planner can look at it.

    A page of messages with their conversations read everything that the person had: the planner
    took the owners of both tables for independent.
    """

    dependencies = [("dedup", "0010_capture")]

    operations = [show_planner_the_actor(table) for table in TABLES]
