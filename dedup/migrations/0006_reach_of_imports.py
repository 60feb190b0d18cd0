from django.db import migrations


class Migration(migrations.Migration):
    """Files imported before reach as far as their own latest message."""

    dependencies = [("dedup", "0005_any_export_guarantees")]

    operations = [
        migrations.RunSQL(
            "UPDATE dedup_import SET reaches_at = last_sent_at",
            "UPDATE dedup_import SET reaches_at = NULL",
        )
    ]
