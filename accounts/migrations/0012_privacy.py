import common.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from audit.capture import capture_changes, stop_capturing
from common.policies import append_only, grant, show_planner_the_actor, tenant_table

USERS_BEFORE = {
    "owner": "id",
    "values": ["id", "role", "account_status", "created_at"],
    "names": ["username", "password", "metadata", "full_name", "given_name", "family_name"],
    "silent": ["last_login", "updated_at"],
}
USERS = USERS_BEFORE | {"values": [*USERS_BEFORE["values"], "processing_restricted_at"]}

# The tables of identities and settings that belong to a person, children before parents. What is
# kept is not here; the row of the user stays and is blanked.
ERASE_PERSON = """
CREATE FUNCTION accounts_erase_person(of_user uuid)
RETURNS TABLE (table_name text, rows_deleted bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    counts jsonb := '{}';
BEGIN
    FOREACH table_name IN ARRAY ARRAY[
        'account_emailconfirmation', 'account_emailaddress', 'socialaccount_socialtoken',
        'socialaccount_socialaccount', 'mfa_authenticator', 'accounts_storedsession',
        'accounts_devicesession', 'accounts_biometricchallenge', 'accounts_biometrickey',
        'accounts_preference', 'accounts_subscription', 'accounts_personalaccesstoken',
        'accounts_recordedanswer', 'accounts_exportrequest'
    ] LOOP
        EXECUTE format('DELETE FROM %I WHERE %s', table_name, CASE table_name
            WHEN 'account_emailconfirmation' THEN
                'email_address_id IN (SELECT id FROM account_emailaddress WHERE user_id = $1)'
            WHEN 'socialaccount_socialtoken' THEN
                'account_id IN (SELECT id FROM socialaccount_socialaccount WHERE user_id = $1)'
            ELSE 'user_id = $1' END) USING of_user;
        GET DIAGNOSTICS rows_deleted = ROW_COUNT;
        CONTINUE WHEN rows_deleted = 0;
        counts := counts || jsonb_build_object(table_name, rows_deleted);
        RETURN NEXT;
    END LOOP;
    -- In the same transaction: what is deleted without a trace was not deleted.
    IF counts <> '{}' THEN
        PERFORM audit_note('person_erased', of_user, NULL,
            COALESCE(current_setting('app.request_id', true), ''),
            COALESCE(current_setting('app.operator_reason', true), ''),
            'accounts_erase_person', NULL, counts, NULL, '');
    END IF;
END $$
"""

FORGET_ORIGINS = """
CREATE FUNCTION audit_forget_origins(of_user uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    count bigint;
BEGIN
    DELETE FROM audit_security_origin WHERE user_id = of_user;
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN count;
END $$
"""

# As `append_only` in common/policies.py makes it.
REFUSING = """
CREATE OR REPLACE FUNCTION audit_security_origin_is_append_only() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on audit_security_origin is refused: its rows are never changed', TG_OP
        USING ERRCODE = 'restrict_violation';
END $$
"""
# Nobody logs in as the operator and is the owner, but within a function of the owner's that the
# operator may call.
REFUSING_BUT_FOR_ERASURE = """
CREATE OR REPLACE FUNCTION audit_security_origin_is_append_only() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_user = 'owner' AND session_user = 'operator' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% on audit_security_origin is refused: its rows are never changed', TG_OP
        USING ERRCODE = 'restrict_violation';
END $$
"""


def for_operators(definition, signature):
    """A function with the owner's rights that only the operator may call."""
    return migrations.RunSQL(
        [
            definition,
            f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {signature} TO operator",
        ],
        [f"DROP FUNCTION {signature}"],
    )


class Migration(migrations.Migration):
    """Exports, erasures and the restriction of processing."""

    dependencies = [
        ("accounts", "0011_preferences"),
        ("audit", "0004_kinds_of_accounts"),
    ]

    operations = [
        stop_capturing("accounts_user", **USERS_BEFORE),
        migrations.CreateModel(
            name="Erasure",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "user_id",
                    models.UUIDField(
                        db_comment="Who it was; only this number is left", unique=True
                    ),
                ),
                ("erased_at", models.DateTimeField(db_comment="Nothing was left")),
                ("summary", models.JSONField(db_comment="Rows deleted, by table")),
                (
                    "receipt_sha256",
                    models.BinaryField(db_comment="SHA-256 of the receipt", max_length=32),
                ),
            ],
            options={
                "db_table_comment": "Ledger of people who were erased",
            },
        ),
        migrations.AddField(
            model_name="user",
            name="processing_restricted_at",
            field=models.DateTimeField(
                db_comment="Since then their things are kept, and nothing else is done with them",
                editable=False,
                null=True,
            ),
        ),
        migrations.CreateModel(
            name="ErasureRequest",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("cancelled", "Cancelled"),
                            ("in_progress", "In progress"),
                            ("completed", "Completed"),
                        ],
                        db_comment="How far it is",
                        default="waiting",
                        max_length=20,
                    ),
                ),
                (
                    "token_digest",
                    models.BinaryField(
                        db_comment="SHA-256 of what cancels it, and later opens the receipt",
                        max_length=32,
                        unique=True,
                    ),
                ),
                (
                    "requested_at",
                    models.DateTimeField(
                        db_comment="Asked for",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                (
                    "due_at",
                    models.DateTimeField(db_comment="Cannot be cancelled any more, and begins"),
                ),
                (
                    "cancelled_at",
                    models.DateTimeField(db_comment="Taken back", editable=False, null=True),
                ),
                (
                    "began_at",
                    models.DateTimeField(db_comment="The work began", editable=False, null=True),
                ),
                (
                    "touched_at",
                    models.DateTimeField(
                        db_comment="Last sign of life of whoever works on it",
                        editable=False,
                        null=True,
                    ),
                ),
                (
                    "completed_at",
                    models.DateTimeField(db_comment="Nothing is left", editable=False, null=True),
                ),
                (
                    "counts",
                    models.JSONField(db_comment="Rows deleted so far, by table", default=dict),
                ),
                (
                    "receipt",
                    models.JSONField(db_comment="Signed account of what was erased", null=True),
                ),
                (
                    "receipt_until",
                    models.DateTimeField(db_comment="The receipt goes then", null=True),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Who is to be erased",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table_comment": "Wishes of people to be erased",
                "indexes": [
                    models.Index(
                        condition=models.Q(("status__in", ["waiting", "in_progress"])),
                        fields=["due_at"],
                        name="erasure_under_way",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["waiting", "cancelled", "in_progress", "completed"])
                        ),
                        name="erasure_status_known",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ["waiting", "in_progress"])),
                        fields=("user",),
                        name="erasure_one_under_way",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("cancelled_at__isnull", False), ("status", "cancelled")),
                            models.Q(
                                models.Q(("status", "cancelled"), _negated=True),
                                ("cancelled_at__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="erasure_cancelled_has_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("completed_at__isnull", False), ("status", "completed")),
                            models.Q(
                                models.Q(("status", "completed"), _negated=True),
                                ("completed_at__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="erasure_completed_has_time",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ExportRequest",
            fields=[
                ("id", common.fields.Uuid7Field(serialize=False)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("building", "Building"),
                            ("ready", "Ready"),
                            ("expired", "Expired"),
                            ("failed", "Failed"),
                        ],
                        db_comment="How far it is",
                        default="queued",
                        max_length=20,
                    ),
                ),
                (
                    "attempts",
                    models.PositiveSmallIntegerField(
                        db_comment="Times a worker began it", default=0
                    ),
                ),
                (
                    "requested_at",
                    models.DateTimeField(
                        db_comment="Asked for",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                (
                    "touched_at",
                    models.DateTimeField(
                        db_comment="Last sign of life",
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                (
                    "ready_at",
                    models.DateTimeField(db_comment="The file is whole", editable=False, null=True),
                ),
                (
                    "expires_at",
                    models.DateTimeField(
                        db_comment="The file goes then", editable=False, null=True
                    ),
                ),
                (
                    "stored_as",
                    models.CharField(
                        blank=True,
                        db_comment="Name in the file storage, while there is a file",
                        max_length=200,
                    ),
                ),
                ("size", models.PositiveBigIntegerField(db_comment="Bytes", null=True)),
                (
                    "sha256",
                    models.BinaryField(db_comment="SHA-256 of the bytes", max_length=32, null=True),
                ),
                (
                    "link_digest",
                    models.BinaryField(
                        db_comment="SHA-256 of the token of the last link that was given out and not used",
                        max_length=32,
                        null=True,
                        unique=True,
                    ),
                ),
                (
                    "link_expires_at",
                    models.DateTimeField(db_comment="The link opens nothing then", null=True),
                ),
                (
                    "taken_at",
                    models.DateTimeField(db_comment="Last downloaded", editable=False, null=True),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Whose things it holds",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table_comment": "Exports of everything that is kept of a person",
                "indexes": [
                    models.Index(fields=["user", "-requested_at"], name="export_recent"),
                    models.Index(
                        condition=models.Q(("status__in", ["queued", "building"])),
                        fields=["touched_at"],
                        name="export_unfinished",
                    ),
                    models.Index(
                        condition=models.Q(("status", "ready")),
                        fields=["expires_at"],
                        name="export_expiring",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["queued", "building", "ready", "expired", "failed"])
                        ),
                        name="export_status_known",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ["queued", "building"])),
                        fields=("user",),
                        name="export_one_at_a_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "ready"), _negated=True),
                            models.Q(
                                ("expires_at__gt", models.F("ready_at")),
                                ("ready_at__isnull", False),
                                ("sha256__isnull", False),
                                ("size__isnull", False),
                                models.Q(("stored_as", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="export_ready_has_file",
                    ),
                ],
            },
        ),
        capture_changes("accounts_user", **USERS),
        tenant_table("accounts_erasurerequest", app="SELECT", operator="SELECT, INSERT, UPDATE"),
        tenant_table("accounts_erasure", app="SELECT", operator="SELECT, INSERT"),
        tenant_table(
            "accounts_exportrequest", app="SELECT, INSERT, UPDATE", operator="SELECT, UPDATE"
        ),
        show_planner_the_actor("accounts_erasurerequest"),
        show_planner_the_actor("accounts_erasure"),
        show_planner_the_actor("accounts_exportrequest"),
        append_only("accounts_erasure"),
        # Whether anything is left of somebody who was erased.
        grant("SELECT (id, email_address_id)", "account_emailconfirmation", "operator"),
        grant("SELECT (id, account_id)", "socialaccount_socialtoken", "operator"),
        capture_changes(
            "accounts_erasurerequest",
            values=[
                "id",
                "user_id",
                "status",
                "requested_at",
                "due_at",
                "cancelled_at",
                "began_at",
                "completed_at",
                "receipt_until",
            ],
            names=["token_digest", "receipt"],
            # How far the work is, which is told at its end.
            silent=["touched_at", "counts"],
        ),
        capture_changes(
            "accounts_exportrequest",
            values=[
                "id",
                "user_id",
                "status",
                "attempts",
                "requested_at",
                "ready_at",
                "expires_at",
                "size",
                "link_expires_at",
                "taken_at",
            ],
            names=["stored_as", "sha256", "link_digest"],
            silent=["touched_at"],
        ),
        migrations.RunSQL([REFUSING_BUT_FOR_ERASURE], [REFUSING]),
        for_operators(FORGET_ORIGINS, "audit_forget_origins(uuid)"),
        for_operators(ERASE_PERSON, "accounts_erase_person(uuid)"),
    ]
