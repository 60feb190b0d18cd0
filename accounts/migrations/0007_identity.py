import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import common.encryption.fields
import common.fields
from audit.capture import capture_changes, stop_capturing
from common.policies import ACTOR, grant

BEFORE = {
    "owner": "id",
    "values": ["id", "role", "account_status", "created_at"],
    "names": ["username", "password", "metadata"],
    "silent": ["last_login"],
}
AFTER = {
    **BEFORE,
    "names": ["username", "password", "metadata", "full_name", "given_name", "family_name"],
    "silent": ["last_login", "updated_at"],
}
MINE = f"user_id = {ACTOR}"

# Of allauth: read before it is known who comes in, written by whom they belong to.
IDENTITIES = ("account_emailaddress", "socialaccount_socialaccount", "mfa_authenticator")


def identity_table(table):
    return [
        grant("SELECT, INSERT, UPDATE, DELETE", table, "app", "operator"),
        migrations.RunSQL(
            [
                f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
                f"CREATE POLICY known_before_the_actor ON {table} FOR SELECT TO app USING (true)",
                f"CREATE POLICY own_insert ON {table} FOR INSERT TO app WITH CHECK ({MINE})",
                f"CREATE POLICY own_update ON {table} FOR UPDATE TO app USING ({MINE}) WITH CHECK ({MINE})",
                f"CREATE POLICY own_delete ON {table} FOR DELETE TO app USING ({MINE})",
                f"CREATE POLICY house ON {table} TO operator USING (true) WITH CHECK (true)",
            ],
            [
                f"DROP POLICY house ON {table}",
                f"DROP POLICY own_delete ON {table}",
                f"DROP POLICY own_update ON {table}",
                f"DROP POLICY own_insert ON {table}",
                f"DROP POLICY known_before_the_actor ON {table}",
                f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
            ],
        ),
    ]


class Migration(migrations.Migration):
    """Names, logins and their sessions, mail on its way out, and who may touch allauth's tables."""

    dependencies = [
        ("accounts", "0006_data_keys"),
        ("account", "0009_emailaddress_unique_primary_email"),
        ("socialaccount", "0006_alter_socialaccount_extra_data"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]

    operations = [
        stop_capturing("accounts_user", **BEFORE),
        migrations.CreateModel(
            name="DeviceSession",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "device_id",
                    models.CharField(
                        blank=True,
                        db_comment="What the client calls its device, if it says so",
                        max_length=100,
                    ),
                ),
                (
                    "platform",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("ios", "iOS"),
                            ("android", "Android"),
                            ("web", "Web"),
                            ("desktop", "Desktop"),
                        ],
                        db_comment="Kind of device",
                        max_length=10,
                    ),
                ),
                (
                    "device_name",
                    common.encryption.fields.SealedTextField(
                        db_comment="What its owner calls the device (sealed)",
                        null=True,
                        purpose="devices",
                    ),
                ),
                (
                    "device_model",
                    models.CharField(blank=True, db_comment="Make of the device", max_length=100),
                ),
                (
                    "app_version",
                    models.CharField(blank=True, db_comment="Version of the client", max_length=40),
                ),
                (
                    "os_version",
                    models.CharField(blank=True, db_comment="Version of its system", max_length=40),
                ),
                (
                    "address",
                    common.encryption.fields.SealedTextField(
                        db_comment="Address that it was last seen at (sealed)",
                        null=True,
                        purpose="devices",
                    ),
                ),
                (
                    "agent",
                    common.encryption.fields.SealedTextField(
                        db_comment="What the client calls itself (sealed)",
                        null=True,
                        purpose="devices",
                    ),
                ),
                (
                    "method",
                    models.CharField(
                        blank=True, db_comment="How they proved who they are", max_length=30
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_comment="Logged in",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                ("proved_at", models.DateTimeField(db_comment="Last proof of who they are")),
                ("last_seen_at", models.DateTimeField(db_comment="To the minute")),
                (
                    "generation",
                    models.PositiveIntegerField(
                        db_comment="Number of the refresh token that is valid", default=0
                    ),
                ),
                (
                    "rotated_at",
                    models.DateTimeField(db_comment="Its refresh token was exchanged", null=True),
                ),
                (
                    "expires_at",
                    models.DateTimeField(db_comment="Over by then unless it is refreshed"),
                ),
                ("latest_at", models.DateTimeField(db_comment="Over by then in any case")),
                ("ended_at", models.DateTimeField(db_comment="Over since then", null=True)),
                (
                    "ended_because",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("logged_out", "Logged out"),
                            ("revoked", "Revoked by its owner"),
                            ("replaced", "Logged in anew on the same device"),
                            ("password_changed", "Password changed"),
                            ("refresh_reused", "A refresh token was used twice"),
                            ("account_closed", "Account closed"),
                        ],
                        db_comment="Why it ended",
                        max_length=20,
                    ),
                ),
            ],
            options={
                "db_table_comment": "Logins on devices",
            },
        ),
        migrations.CreateModel(
            name="OutgoingMail",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                ("sealed", models.BinaryField(db_comment="Recipient, subject and text (sealed)")),
                (
                    "attempts",
                    models.PositiveSmallIntegerField(
                        db_comment="How often it was tried", default=0
                    ),
                ),
                (
                    "next_attempt_at",
                    models.DateTimeField(
                        db_comment="Nobody tries before; while one tries, it lies ahead",
                        db_default=django.db.models.functions.datetime.Now(),
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_comment="Written",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
            ],
            options={
                "db_table_comment": "Mails that wait to be sent",
            },
        ),
        migrations.CreateModel(
            name="StoredSession",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "digest",
                    models.BinaryField(
                        db_comment="HMAC-SHA-256 of the session's key", max_length=32, unique=True
                    ),
                ),
                ("payload", models.BinaryField(db_comment="What the session holds (sealed)")),
                (
                    "realm",
                    models.CharField(
                        choices=[("person", "A person's"), ("house", "An operator's")],
                        db_comment="Whether a person's or an operator's",
                        max_length=10,
                    ),
                ),
                ("expires_at", models.DateTimeField(db_comment="Not valid from then on")),
            ],
            options={
                "db_table_comment": "Sealed state of sessions",
            },
        ),
        migrations.AddField(
            model_name="user",
            name="family_name",
            field=common.encryption.fields.SealedTextField(
                db_comment="Family name (sealed)", null=True, owner="id", purpose="profile"
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="full_name",
            field=common.encryption.fields.SealedTextField(
                db_comment="Whole name (sealed)", null=True, owner="id", purpose="profile"
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="given_name",
            field=common.encryption.fields.SealedTextField(
                db_comment="Given name (sealed)", null=True, owner="id", purpose="profile"
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="updated_at",
            field=models.DateTimeField(
                db_comment="Profile or standing last changed",
                db_default=django.db.models.functions.datetime.Now(),
                editable=False,
            ),
        ),
        migrations.AddField(
            model_name="devicesession",
            name="user",
            field=models.ForeignKey(
                db_comment="Who logged in",
                on_delete=django.db.models.deletion.CASCADE,
                related_name="device_sessions",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="outgoingmail",
            index=models.Index(fields=["next_attempt_at"], name="outgoing_mail_due"),
        ),
        migrations.AddField(
            model_name="storedsession",
            name="device_session",
            field=models.ForeignKey(
                db_comment="The login that it belongs to",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="stored",
                to="accounts.devicesession",
            ),
        ),
        migrations.AddField(
            model_name="storedsession",
            name="user",
            field=models.ForeignKey(
                db_comment="Who is logged in",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="devicesession",
            index=models.Index(fields=["latest_at"], name="device_session_latest"),
        ),
        migrations.AddConstraint(
            model_name="devicesession",
            constraint=models.CheckConstraint(
                condition=models.Q(("platform__in", ["ios", "android", "web", "desktop", ""])),
                name="device_platform_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="devicesession",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "ended_because__in",
                        [
                            "logged_out",
                            "revoked",
                            "replaced",
                            "password_changed",
                            "refresh_reused",
                            "account_closed",
                            "",
                        ],
                    )
                ),
                name="session_end_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="devicesession",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_at__isnull", True), ("ended_because", "")),
                    models.Q(
                        ("ended_at__isnull", False), models.Q(("ended_because", ""), _negated=True)
                    ),
                    _connector="OR",
                ),
                name="session_end_has_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="devicesession",
            constraint=models.CheckConstraint(
                condition=models.Q(("expires_at__lte", models.F("latest_at"))),
                name="session_ends_in_any_case",
            ),
        ),
        migrations.AddIndex(
            model_name="storedsession",
            index=models.Index(fields=["expires_at"], name="stored_session_expires"),
        ),
        migrations.AddConstraint(
            model_name="storedsession",
            constraint=models.CheckConstraint(
                condition=models.Q(("realm__in", ["person", "house"])),
                name="stored_session_realm_known",
            ),
        ),
        capture_changes("accounts_user", **AFTER),
        grant(
            "UPDATE (username, full_name, given_name, family_name, updated_at)",
            "accounts_user",
            "app",
        ),
        *[operation for table in IDENTITIES for operation in identity_table(table)],
        # Where allauth looks for providers that are not in the settings.
        grant("SELECT", "socialaccount_socialapp", "app"),
        # Where Django looks for what hangs on an address or a provider's account that goes.
        grant("SELECT (id, email_address_id), DELETE", "account_emailconfirmation", "app"),
        grant("SELECT (id, account_id), DELETE", "socialaccount_socialtoken", "app"),
        grant("SELECT, INSERT", "accounts_devicesession", "app"),
        grant(
            "UPDATE (last_seen_at, proved_at, generation, rotated_at, expires_at, ended_at, ended_because)",
            "accounts_devicesession",
            "app",
        ),
        grant(
            "SELECT, UPDATE (ended_at, ended_because), DELETE", "accounts_devicesession", "operator"
        ),
        migrations.RunSQL(
            [
                "ALTER TABLE accounts_devicesession ENABLE ROW LEVEL SECURITY",
                """
                CREATE POLICY known_before_the_actor ON accounts_devicesession
                FOR SELECT TO app USING (true)
                """,
                f"CREATE POLICY own_insert ON accounts_devicesession FOR INSERT TO app WITH CHECK ({MINE})",
                # What is over stays over.
                f"""
                CREATE POLICY own_update ON accounts_devicesession FOR UPDATE TO app
                USING ({MINE} AND ended_at IS NULL) WITH CHECK ({MINE})
                """,
                """
                CREATE POLICY house ON accounts_devicesession TO operator
                USING (true) WITH CHECK (true)
                """,
            ],
            [
                "DROP POLICY house ON accounts_devicesession",
                "DROP POLICY own_update ON accounts_devicesession",
                "DROP POLICY own_insert ON accounts_devicesession",
                "DROP POLICY known_before_the_actor ON accounts_devicesession",
                "ALTER TABLE accounts_devicesession DISABLE ROW LEVEL SECURITY",
            ],
        ),
        grant("SELECT, INSERT, UPDATE, DELETE", "accounts_storedsession", "app", "operator"),
        migrations.RunSQL(
            [
                "ALTER TABLE accounts_storedsession ENABLE ROW LEVEL SECURITY",
                # So that no fault of a person's door makes a session of an operator.
                """
                CREATE POLICY of_persons ON accounts_storedsession TO app
                USING (realm = 'person') WITH CHECK (realm = 'person')
                """,
                """
                CREATE POLICY house ON accounts_storedsession TO operator
                USING (true) WITH CHECK (true)
                """,
            ],
            [
                "DROP POLICY house ON accounts_storedsession",
                "DROP POLICY of_persons ON accounts_storedsession",
                "ALTER TABLE accounts_storedsession DISABLE ROW LEVEL SECURITY",
            ],
        ),
        grant("SELECT, INSERT, UPDATE, DELETE", "accounts_outgoingmail", "app"),
        # The house tells people what becomes of their account.
        grant(
            "INSERT, SELECT (id, created_at, next_attempt_at)", "accounts_outgoingmail", "operator"
        ),
        # Sessions of operators stand in the sealed table.
        migrations.RunSQL(
            ["REVOKE ALL ON django_session FROM operator"],
            ["GRANT SELECT, INSERT, UPDATE, DELETE ON django_session TO operator"],
        ),
    ]
