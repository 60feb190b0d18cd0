from django.db import migrations


class Migration(migrations.Migration):
    """The admin's log no longer says what somebody is called; nor do its former rows."""

    dependencies = [
        ("accounts", "0013_what_stores_said"),
        ("admin", "0003_logentry_add_action_flag_choices"),
    ]

    operations = [
        migrations.RunSQL(
            "UPDATE django_admin_log SET object_repr = coalesce(object_id, '')",
            # What is forgotten stays forgotten.
            "SELECT 1",
        )
    ]
