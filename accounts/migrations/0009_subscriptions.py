import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import common.encryption.fields
import common.fields
from audit.capture import capture_changes
from common.policies import grant, show_planner_the_actor, tenant_table


class Migration(migrations.Migration):
    """Subscriptions, of which nobody has two at once, and the messages of stores about them."""

    dependencies = [("accounts", "0008_consents")]

    operations = [
        migrations.RunSQL("CREATE TYPE uuidrange AS RANGE (subtype = uuid)", "DROP TYPE uuidrange"),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Whose it is",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="subscriptions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tier",
                    models.CharField(
                        choices=[("free", "Free"), ("premium", "Premium")],
                        db_comment="Free or premium",
                        max_length=10,
                    ),
                ),
                (
                    "plan",
                    models.CharField(
                        blank=True,
                        choices=[("monthly", "Monthly"), ("yearly", "Yearly")],
                        db_comment="Monthly or yearly; empty if free",
                        max_length=10,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Waits until another one is over"),
                            ("active", "Active"),
                            ("expired", "Over"),
                            ("cancelled", "Taken back by the store"),
                        ],
                        db_comment="Only an active one opens anything, and until its end",
                        max_length=10,
                    ),
                ),
                (
                    "provider",
                    models.CharField(
                        choices=[
                            ("system", "The house"),
                            ("apple", "App Store"),
                            ("google", "Google Play"),
                            ("local", "Local signer, for development"),
                        ],
                        db_comment="Who gave it out",
                        max_length=10,
                    ),
                ),
                (
                    "external_id",
                    common.encryption.fields.SealedTextField(
                        db_comment="The purchase's id at the store (sealed)",
                        null=True,
                        purpose="subscriptions",
                    ),
                ),
                (
                    "external_digest",
                    models.BinaryField(
                        db_comment="Keyed hash of that id, to find it by", max_length=32, null=True
                    ),
                ),
                ("starts_at", models.DateTimeField(db_comment="In force from then on")),
                ("ends_at", models.DateTimeField(db_comment="Over by then unless it is renewed")),
                (
                    "renews",
                    models.BooleanField(db_comment="Goes on after its end by itself", default=True),
                ),
                (
                    "cancelled_at",
                    models.DateTimeField(
                        db_comment="Will not be renewed, or was taken back, since then", null=True
                    ),
                ),
                (
                    "purchased_at",
                    models.DateTimeField(
                        db_comment="When the period was bought, as the store says", null=True
                    ),
                ),
                (
                    "stated_at",
                    models.DateTimeField(
                        db_comment="When the store said what is known; older statements count for nothing",
                        null=True,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_comment="Came about",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_comment="Last changed",
                        db_default=django.db.models.functions.datetime.Now(),
                    ),
                ),
            ],
            options={
                "db_table_comment": "Free years and purchases; one at a time for each person",
                "indexes": [
                    models.Index(fields=["user", "-id"], name="subscription_of_user"),
                    models.Index(
                        condition=models.Q(("status", "active")),
                        fields=["ends_at"],
                        name="subscription_due",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("tier__in", ["free", "premium"])),
                        name="subscription_tier_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("plan", ""), ("tier", "free")),
                            models.Q(("plan__in", ["monthly", "yearly"]), ("tier", "premium")),
                            _connector="OR",
                        ),
                        name="subscription_plan_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["pending", "active", "expired", "cancelled"])
                        ),
                        name="subscription_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("provider__in", ["system", "apple", "google", "local"])
                        ),
                        name="subscription_provider_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("external_digest__isnull", True),
                                ("provider", "system"),
                                ("purchased_at__isnull", True),
                                ("stated_at__isnull", True),
                                ("tier", "free"),
                            ),
                            models.Q(
                                models.Q(("provider", "system"), _negated=True),
                                ("external_digest__isnull", False),
                                ("purchased_at__isnull", False),
                                ("stated_at__isnull", False),
                                ("tier", "premium"),
                            ),
                            _connector="OR",
                        ),
                        name="subscription_premium_is_bought",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("ends_at__gte", models.F("starts_at"))),
                        name="subscription_ends_after_its_start",
                    ),
                    models.UniqueConstraint(
                        fields=("provider", "external_digest"), name="subscription_of_one_account"
                    ),
                    django.contrib.postgres.constraints.ExclusionConstraint(
                        condition=models.Q(("status", "pending"), _negated=True),
                        expressions=[
                            (
                                models.Func(
                                    "user", "user", models.Value("[]"), function="uuidrange"
                                ),
                                "&&",
                            ),
                            (
                                models.Func(
                                    "starts_at",
                                    "ends_at",
                                    function="tstzrange",
                                    output_field=django.contrib.postgres.fields.ranges.DateTimeRangeField(),
                                ),
                                "&&",
                            ),
                        ],
                        name="subscription_one_at_a_time",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReceivedNotification",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "provider",
                    models.CharField(
                        choices=[
                            ("system", "The house"),
                            ("apple", "App Store"),
                            ("google", "Google Play"),
                            ("local", "Local signer, for development"),
                        ],
                        db_comment="Which store",
                        max_length=10,
                    ),
                ),
                (
                    "notification_id",
                    models.CharField(db_comment="The store's id of the message", max_length=200),
                ),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("applied", "Applied"),
                            ("outdated", "Older than what was known"),
                            ("unknown_account", "About nobody's purchase"),
                            ("ignored", "Not about a purchase"),
                        ],
                        db_comment="What became of it",
                        max_length=20,
                    ),
                ),
                (
                    "received_at",
                    models.DateTimeField(
                        db_comment="Treated",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
            ],
            options={
                "db_table_comment": "Messages from stores, to treat each once",
                "indexes": [models.Index(fields=["received_at"], name="notification_received")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("provider__in", ["system", "apple", "google", "local"])
                        ),
                        name="notification_provider_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("outcome__in", ["applied", "outdated", "unknown_account", "ignored"])
                        ),
                        name="notification_outcome_known",
                    ),
                    models.UniqueConstraint(
                        fields=("provider", "notification_id"), name="notification_once"
                    ),
                ],
            },
        ),
        tenant_table(
            "accounts_subscription",
            app="SELECT, INSERT, UPDATE",
            operator="SELECT, INSERT, UPDATE, DELETE",
        ),
        show_planner_the_actor("accounts_subscription"),
        # They name nobody, and are treated before it is known whom they are about.
        grant("SELECT, INSERT", "accounts_receivednotification", "app"),
        grant("SELECT, DELETE", "accounts_receivednotification", "operator"),
        capture_changes(
            "accounts_subscription",
            values=[
                "id",
                "user_id",
                "tier",
                "plan",
                "status",
                "provider",
                "starts_at",
                "ends_at",
                "renews",
                "cancelled_at",
                "purchased_at",
                "created_at",
            ],
            names=["external_id", "external_digest"],
            silent=["stated_at", "updated_at"],
        ),
    ]
