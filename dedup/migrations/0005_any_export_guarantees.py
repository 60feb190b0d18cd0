from django.db import migrations

from common.policies import owned_reference


class Migration(migrations.Migration):
    """References that stay within one owner."""

    dependencies = [("dedup", "0004_any_export")]

    operations = [
        owned_reference("dedup_import", "extends_id", "dedup_import"),
        owned_reference("dedup_conversation", "merged_into_id", "dedup_conversation"),
    ]
