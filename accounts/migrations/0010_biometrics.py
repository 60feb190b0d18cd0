import common.encryption.fields
import common.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from audit.capture import capture_changes
from common.policies import owned_reference, show_planner_the_actor, tenant_table

KEY, CHALLENGE = "accounts_biometrickey", "accounts_biometricchallenge"


class Migration(migrations.Migration):
    """Keys that devices hold for their owners, and what they are asked to sign."""

    dependencies = [("accounts", "0009_subscriptions")]

    operations = [
        migrations.CreateModel(
            name="BiometricKey",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "device_id",
                    models.CharField(db_comment="What the client calls its device", max_length=100),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("fingerprint", "Fingerprint"),
                            ("face", "Face"),
                            ("voice", "Voice"),
                        ],
                        db_comment="What the device recognises its owner by",
                        max_length=20,
                    ),
                ),
                (
                    "public_key",
                    models.BinaryField(
                        db_comment="DER SubjectPublicKeyInfo: EC P-256 or Ed25519", max_length=200
                    ),
                ),
                (
                    "label",
                    common.encryption.fields.SealedTextField(
                        db_comment="What its owner calls it (sealed)",
                        null=True,
                        purpose="biometric",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("active", "Active"),
                            ("revoked", "Revoked"),
                        ],
                        db_comment="Only an active key proves anything",
                        default="pending",
                        max_length=20,
                    ),
                ),
                (
                    "failures",
                    models.PositiveSmallIntegerField(
                        db_comment="Wrong signatures since the last right one", default=0
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_comment="Announced",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                (
                    "registered_at",
                    models.DateTimeField(
                        db_comment="The device proved that it holds the other part",
                        editable=False,
                        null=True,
                    ),
                ),
                (
                    "last_used_at",
                    models.DateTimeField(
                        db_comment="Last right signature", editable=False, null=True
                    ),
                ),
                (
                    "revoked_at",
                    models.DateTimeField(
                        db_comment="Ended by a person or by its failures", editable=False, null=True
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Whose device holds it",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table_comment": "Public parts of keys that devices hold for their owners",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("status", "revoked"), _negated=True),
                        fields=("user", "device_id", "kind"),
                        name="biometric_key_one_per_device",
                    ),
                    models.UniqueConstraint(fields=("user", "id"), name="biometric_key_of_user"),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["fingerprint", "face", "voice"])),
                        name="biometric_key_kind_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["pending", "active", "revoked"])),
                        name="biometric_key_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("failures__range", (0, 10))),
                        name="biometric_key_failures",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("revoked_at__isnull", False), ("status", "revoked")),
                            models.Q(
                                ("registered_at__isnull", False),
                                ("revoked_at__isnull", True),
                                ("status", "active"),
                            ),
                            models.Q(
                                ("registered_at__isnull", True),
                                ("revoked_at__isnull", True),
                                ("status", "pending"),
                            ),
                            _connector="OR",
                        ),
                        name="biometric_key_times_of_status",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BiometricChallenge",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "purpose",
                    models.CharField(
                        choices=[
                            ("registration", "Registration"),
                            ("verification", "Verification"),
                        ],
                        db_comment="What the signature is for",
                        max_length=20,
                    ),
                ),
                (
                    "challenge",
                    models.BinaryField(
                        db_comment="32 random bytes to be signed", max_length=32
                    ),
                ),
                ("created_at", models.DateTimeField(db_comment="Given out")),
                ("expires_at", models.DateTimeField(db_comment="Not answered from then on")),
                (
                    "used_at",
                    models.DateTimeField(
                        db_comment="Answered, well or not", editable=False, null=True
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        db_comment="Key that is asked for a signature",
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        to="accounts.biometrickey",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Whose key is asked",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table_comment": "Random bytes for devices to sign, once each",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "key"), name="biometric_challenge_one_per_key"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("purpose__in", ["registration", "verification"])),
                        name="biometric_challenge_purpose_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("expires_at__gt", models.F("created_at"))),
                        name="biometric_challenge_expires_later",
                    ),
                ],
            },
        ),
        tenant_table(
            KEY,
            # What a key is, and whose, is never changed.
            app="SELECT, INSERT,"
            " UPDATE (status, failures, registered_at, last_used_at, revoked_at)",
            operator="SELECT, UPDATE (status, revoked_at)",
        ),
        show_planner_the_actor(KEY),
        tenant_table(
            CHALLENGE, app="SELECT, INSERT, UPDATE (used_at), DELETE", operator="SELECT"
        ),
        show_planner_the_actor(CHALLENGE),
        owned_reference(CHALLENGE, "key_id", KEY),
        capture_changes(
            KEY,
            values=[
                "id", "user_id", "kind", "status", "failures", "created_at", "registered_at",
                "revoked_at",
            ],
            names=["device_id", "public_key", "label"],
            # Verifications are security events.
            silent=["last_used_at"],
        ),
    ]  # fmt: skip
