from django.db import migrations

from audit.capture import capture_changes


class Migration(migrations.Migration):
    """Changes of files, imports and conversations are written to the stream, without words.

    Messages and what hangs on them are a log of their own.
    """

    dependencies = [("dedup", "0009_planner_statistics"), ("audit", "0002_guarantees")]

    operations = [
        capture_changes(
            "dedup_artifact",
            values=["id", "user_id", "size", "created_at"],
            # A digest tells whoever has the file that this person has it too.
            names=["sha256", "stored_as"],
        ),
        capture_changes(
            "dedup_import",
            values=[
                "id", "user_id", "artifact_id", "original_id", "extends_id", "wanted_source",
                "source", "parser_version", "status", "attempts", "records", "messages_in_export",
                "new_messages", "duplicates_filtered", "revisions", "content_collisions",
                "unreadable_records", "processing_time_ms", "error_code", "created_at",
                "finished_at",
            ],
            names=[
                "name", "wanted_conversation", "content_sha256", "report", "last_sent_at",
                "reaches_at", "error_detail",
            ],
            silent=["touched_at"],
        ),
        capture_changes(
            "dedup_conversation",
            values=[
                "id", "user_id", "source", "merged_into_id", "total_messages", "created_at",
                "updated_at",
            ],
            names=["native_key", "parent_key", "title", "project", "metadata"],
        ),
    ]  # fmt: skip
