import common.fields
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.lookups
from django.conf import settings
from django.db import migrations, models

from common.policies import show_planner_the_actor, tenant_table

TABLE = "accounts_preference"


class Migration(migrations.Migration):
    """Settings that frontends keep for people: theirs alone to read and to change."""

    dependencies = [("accounts", "0010_biometrics")]

    operations = [
        migrations.CreateModel(
            name="Preference",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                ("key", models.CharField(db_comment="Name of the setting", max_length=100)),
                (
                    "value",
                    models.JSONField(db_comment="What was chosen: any JSON but null"),
                ),
                ("updated_at", models.DateTimeField(db_comment="Chosen")),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Whose setting it is",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table_comment": "Settings that frontends keep for people",
                "constraints": [
                    models.UniqueConstraint(fields=("user", "key"), name="preference_once"),
                    models.CheckConstraint(
                        condition=models.Q(("key__regex", "^[a-z][a-z0-9_.]*$")),
                        name="preference_key_form",
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.LessThanOrEqual(
                            models.Func(
                                django.db.models.functions.comparison.Cast(
                                    "value", models.TextField()
                                ),
                                function="octet_length",
                                output_field=models.IntegerField(),
                            ),
                            16384,
                        ),
                        name="preference_value_size",
                    ),
                ],
            },
        ),
        # The house only looks, for what a person asks of it.
        tenant_table(
            TABLE, app="SELECT, INSERT, UPDATE (value, updated_at), DELETE", operator="SELECT"
        ),
        show_planner_the_actor(TABLE),
    ]
