import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import common.fields
from audit.capture import capture_changes
from common.policies import ACTOR, grant


class Migration(migrations.Migration):
    """Data keys, wrapped, and the proof of the key that finds people by their addresses.

    Both are read before the actor is known: whose things a process opens is decided by the tables
    that hold them, and a wrapped key is of no use without the key of its provider. `app` makes
    keys of the actor only, and ends none.
    """

    dependencies = [("accounts", "0005_account_write"), ("audit", "0002_guarantees")]

    operations = [
        migrations.CreateModel(
            name="DataKey",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "purpose",
                    models.CharField(
                        choices=[
                            ("profile", "Profile"),
                            ("biometric", "Biometric keys"),
                            ("devices", "Devices and sessions"),
                            ("mail", "Mail"),
                            ("consents", "Consents"),
                            ("subscriptions", "Subscriptions"),
                            ("second_factors", "Second factors"),
                        ],
                        db_comment="What it seals",
                        max_length=20,
                    ),
                ),
                (
                    "version",
                    models.PositiveIntegerField(
                        db_comment="Sealed things name it; the highest seals"
                    ),
                ),
                (
                    "provider",
                    models.CharField(
                        choices=[("local", "Keyring"), ("aws_kms", "AWS KMS")],
                        db_comment="Who holds the key that wraps it",
                        max_length=20,
                    ),
                ),
                (
                    "key_id",
                    models.CharField(
                        db_comment="Which of the provider's keys wraps it", max_length=300
                    ),
                ),
                (
                    "wrapped",
                    models.BinaryField(
                        db_comment="The key, wrapped; NULL once destroyed", null=True
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_comment="First used",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                (
                    "destroyed_at",
                    models.DateTimeField(db_comment="Of no use since then", null=True),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Whose it is",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table_comment": "Wrapped keys that seal what people keep",
                "indexes": [
                    models.Index(
                        condition=models.Q(("destroyed_at__isnull", True)),
                        fields=["provider", "key_id", "id"],
                        name="data_key_in_use",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "purpose", "version"), name="data_key_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "purpose__in",
                                [
                                    "profile",
                                    "biometric",
                                    "devices",
                                    "mail",
                                    "consents",
                                    "subscriptions",
                                    "second_factors",
                                ],
                            )
                        ),
                        name="data_key_purpose_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("provider__in", ["local", "aws_kms"])),
                        name="data_key_provider_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("version__gt", 0)), name="data_key_version_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("destroyed_at__isnull", False), ("wrapped__isnull", True)),
                            models.Q(("destroyed_at__isnull", True), ("wrapped__isnull", False)),
                            _connector="OR",
                        ),
                        name="data_key_destroyed_is_gone",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="KeyCheck",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "name",
                    models.CharField(db_comment="Which key", max_length=40, unique=True),
                ),
                ("proof", models.TextField(db_comment="The known text, sealed with it")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_comment="First used",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
            ],
            options={"db_table_comment": "Proofs of which keys of the house are the right ones"},
        ),
        grant("SELECT, INSERT", "accounts_datakey", "app", "operator"),
        grant("UPDATE (provider, key_id, wrapped, destroyed_at)", "accounts_datakey", "operator"),
        migrations.RunSQL(
            [
                "ALTER TABLE accounts_datakey ENABLE ROW LEVEL SECURITY",
                """
                CREATE POLICY known_before_the_actor ON accounts_datakey
                FOR SELECT TO app USING (true)
                """,
                f"""
                CREATE POLICY own_keys ON accounts_datakey FOR INSERT TO app
                WITH CHECK (user_id = {ACTOR})
                """,
                """
                CREATE POLICY house ON accounts_datakey TO operator
                USING (true) WITH CHECK (true)
                """,
            ],
            [
                "DROP POLICY house ON accounts_datakey",
                "DROP POLICY own_keys ON accounts_datakey",
                "DROP POLICY known_before_the_actor ON accounts_datakey",
                "ALTER TABLE accounts_datakey DISABLE ROW LEVEL SECURITY",
            ],
        ),
        grant("SELECT, INSERT", "accounts_keycheck", "app", "operator"),
        capture_changes(
            "accounts_datakey",
            values=[
                "id",
                "user_id",
                "purpose",
                "version",
                "provider",
                "key_id",
                "created_at",
                "destroyed_at",
            ],
            names=["wrapped"],
        ),
    ]
