import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import common.encryption.fields
import common.fields
from audit.capture import capture_changes
from common.policies import show_planner_the_actor, tenant_table


class Migration(migrations.Migration):
    """What people agree to. Nobody changes a row; the house deletes those of who is erased."""

    dependencies = [("accounts", "0007_identity")]

    operations = [
        migrations.CreateModel(
            name="Consent",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Who agreed or withdrew",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="consents",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("privacy_policy", "Privacy policy"),
                            ("terms_of_service", "Terms of service"),
                            ("medical_disclaimer", "Medical disclaimer"),
                            ("healthcare_consultation", "Healthcare consultation"),
                            ("emergency_care_limitation", "Emergency care limitation"),
                        ],
                        db_comment="Which text",
                        max_length=40,
                    ),
                ),
                ("version", models.PositiveIntegerField(db_comment="Which version of it")),
                ("given", models.BooleanField(db_comment="Agreed to; false: withdrawn")),
                (
                    "document_sha256",
                    models.BinaryField(
                        db_comment="SHA-256 of the text as it was shown, in UTF-8", max_length=32
                    ),
                ),
                (
                    "method",
                    models.CharField(
                        choices=[("bundled", "Several together"), ("granular", "Each by itself")],
                        db_comment="Several texts together, or each by itself",
                        max_length=10,
                    ),
                ),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("registration", "Registration"),
                            ("api", "API"),
                            ("page", "Page"),
                        ],
                        db_comment="Where it was said",
                        max_length=20,
                    ),
                ),
                (
                    "address",
                    common.encryption.fields.SealedTextField(
                        db_comment="Network address it came from (sealed)",
                        null=True,
                        purpose="consents",
                    ),
                ),
                (
                    "agent",
                    common.encryption.fields.SealedTextField(
                        db_comment="What the client calls itself (sealed)",
                        null=True,
                        purpose="consents",
                    ),
                ),
                (
                    "at",
                    models.DateTimeField(
                        db_comment="Agreed or withdrew",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
            ],
            options={
                "db_table_comment": "What people agreed to and withdrew; only added to",
                "indexes": [models.Index(fields=["user", "type", "-id"], name="consent_latest")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "type__in",
                                [
                                    "privacy_policy",
                                    "terms_of_service",
                                    "medical_disclaimer",
                                    "healthcare_consultation",
                                    "emergency_care_limitation",
                                ],
                            )
                        ),
                        name="consent_type_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("method__in", ["bundled", "granular"])),
                        name="consent_method_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("source__in", ["registration", "api", "page"])),
                        name="consent_source_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("version__gte", 1)),
                        name="consent_version_counts_from_one",
                    ),
                ],
            },
        ),
        tenant_table("accounts_consent", app="SELECT, INSERT", operator="SELECT, DELETE"),
        show_planner_the_actor("accounts_consent"),
        capture_changes(
            "accounts_consent",
            values=["id", "user_id", "type", "version", "given", "method", "source", "at"],
            names=["document_sha256", "address", "agent"],
        ),
    ]
