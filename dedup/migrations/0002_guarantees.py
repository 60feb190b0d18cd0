from django.db import migrations

from common.policies import append_only, grant, owned_reference, tenant_table


class Migration(migrations.Migration):
    """Policies, references that stay within one owner, and tables that only grow."""

    dependencies = [("dedup", "0001_initial"), ("accounts", "0002_roles")]

    operations = [
        tenant_table("dedup_artifact", app="SELECT, INSERT", operator="SELECT"),
        # Where the bytes lie, should they have to be kept anew.
        grant("UPDATE (stored_as)", "dedup_artifact", "app"),
        tenant_table("dedup_import", app="SELECT, INSERT, UPDATE", operator="SELECT, UPDATE"),
        tenant_table("dedup_conversation", app="SELECT, INSERT, UPDATE", operator="SELECT"),
        tenant_table("dedup_message", app="SELECT, INSERT", operator="SELECT"),
        tenant_table("dedup_revision", app="SELECT, INSERT", operator="SELECT"),
        tenant_table("dedup_record", app="SELECT, INSERT", operator="SELECT"),
        tenant_table("dedup_observation", app="SELECT, INSERT", operator="SELECT"),
        tenant_table("dedup_segment", app="SELECT, INSERT", operator="SELECT"),
        tenant_table("dedup_placement", app="SELECT, INSERT, UPDATE", operator="SELECT"),
        tenant_table("dedup_alias", app="SELECT, INSERT", operator="SELECT"),
        tenant_table("dedup_watermark", app="SELECT, INSERT, UPDATE", operator="SELECT"),
        tenant_table("dedup_deduplicationlog", app="SELECT, INSERT", operator="SELECT"),
        owned_reference("dedup_import", "artifact_id", "dedup_artifact"),
        owned_reference("dedup_import", "original_id", "dedup_import"),
        owned_reference("dedup_message", "conversation_id", "dedup_conversation"),
        owned_reference("dedup_revision", "message_id", "dedup_message"),
        owned_reference("dedup_observation", "import_id", "dedup_import"),
        owned_reference("dedup_observation", "revision_id", "dedup_revision"),
        owned_reference("dedup_observation", "record_id", "dedup_record"),
        owned_reference("dedup_segment", "conversation_id", "dedup_conversation"),
        owned_reference("dedup_placement", "segment_id", "dedup_segment"),
        owned_reference("dedup_placement", "message_id", "dedup_message"),
        owned_reference("dedup_alias", "message_id", "dedup_message"),
        owned_reference("dedup_watermark", "conversation_id", "dedup_conversation"),
        owned_reference("dedup_deduplicationlog", "import_id", "dedup_import"),
        owned_reference("dedup_deduplicationlog", "conversation_id", "dedup_conversation"),
        append_only("dedup_message"),
        append_only("dedup_revision"),
        append_only("dedup_record"),
        append_only("dedup_observation"),
        append_only("dedup_deduplicationlog"),
    ]
