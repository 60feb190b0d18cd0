from django.db import migrations


class Migration(migrations.Migration):
    """Compress no more of a revision than it takes to fit a page: it costs more time than room."""

    dependencies = [("dedup", "0007_search_by_project_and_tool")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE dedup_revision SET (toast_tuple_target = 8160)",
            "ALTER TABLE dedup_revision RESET (toast_tuple_target)",
        )
    ]
