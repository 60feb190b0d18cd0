from django.db import migrations, models

# What `app` may say, since it happens to persons at its doors.
BEFORE = [
    "login_succeeded",
    "login_failed",
    "logged_out",
    "token_refused",
    "access_refused",
    "secrets_revealed",
    "data_exported",
    "file_downloaded",
]
ADDED = [
    "account_locked",
    "reauthenticated",
    "password_changed",
    "password_reset",
    "email_changed",
    "email_confirmed",
    "second_factor_changed",
    "second_factor_failed",
    "refresh_reused",
    "session_ended",
    "biometric_verified",
    "biometric_failed",
    "export_taken",
    "erasure_requested",
    "erasure_cancelled",
]

NOTE = """
CREATE OR REPLACE FUNCTION audit_note(
    of_kind text, of_user uuid, by_actor uuid, in_request text, for_reason text,
    of_subject text, of_row uuid, with_details jsonb, from_address inet, with_agent text
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    event uuid := uuidv7();
    is_house boolean := session_user <> 'app';
BEGIN
    IF NOT is_house AND of_kind NOT IN (
        {kinds}
    ) THEN
        RAISE EXCEPTION '% is not for app to say', of_kind USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO audit_security_event (
        id, kind, user_id, actor_id, role, request_id, reason, subject, row_id, details
    ) VALUES (
        event, of_kind, of_user, by_actor, session_user, in_request,
        CASE WHEN is_house THEN for_reason ELSE '' END, of_subject,
        of_row, with_details
    );
    IF from_address IS NOT NULL OR with_agent <> '' THEN
        INSERT INTO audit_security_origin (id, user_id, address, agent)
        -- Where an operator sat is not for those to see whom they looked at.
        VALUES (
            event, CASE WHEN is_house THEN by_actor ELSE of_user END,
            from_address, with_agent
        );
    END IF;
    RETURN event;
END $$
"""


def note_accepting(kinds):
    return NOTE.format(kinds=", ".join(f"'{kind}'" for kind in kinds))


class Migration(migrations.Migration):
    """What happens to accounts at the doors of the application."""

    dependencies = [
        ("audit", "0003_activity"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="securityevent",
            name="security_kind_known",
        ),
        migrations.AlterField(
            model_name="securityevent",
            name="kind",
            field=models.CharField(
                choices=[
                    ("login_succeeded", "Logged in"),
                    ("login_failed", "Login failed"),
                    ("logged_out", "Logged out"),
                    ("token_refused", "Token refused"),
                    ("access_refused", "Access refused"),
                    ("secrets_revealed", "Secrets shown"),
                    ("data_exported", "Data exported"),
                    ("file_downloaded", "File downloaded"),
                    ("account_locked", "Login locked for a while"),
                    ("reauthenticated", "Proved who they are again"),
                    ("password_changed", "Password changed"),
                    ("password_reset", "Password reset"),
                    ("email_changed", "E-mail address changed"),
                    ("email_confirmed", "E-mail address confirmed"),
                    ("second_factor_changed", "Second factor changed"),
                    ("second_factor_failed", "Second factor failed"),
                    ("refresh_reused", "Refresh token used twice"),
                    ("session_ended", "Session ended"),
                    ("biometric_verified", "Biometric key verified"),
                    ("biometric_failed", "Biometric key failed"),
                    ("export_taken", "Export of the account downloaded"),
                    ("erasure_requested", "Erasure requested"),
                    ("erasure_cancelled", "Erasure cancelled"),
                    ("reason_given", "Operator gave a reason"),
                    ("operator_looked", "Operator looked"),
                    ("operator_acted", "Operator acted"),
                    ("operator_refused", "Operator refused"),
                    ("retention_applied", "Retention applied"),
                    ("backup_made", "Backup made"),
                    ("backup_restored", "Backup restored"),
                    ("drill_run", "Recovery drill run"),
                    ("keys_rotated", "Keys rotated"),
                    ("person_erased", "Person erased"),
                    ("erasures_replayed", "Erasures replayed"),
                ],
                db_comment="What happened",
                max_length=30,
            ),
        ),
        migrations.AddConstraint(
            model_name="securityevent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            "login_succeeded",
                            "login_failed",
                            "logged_out",
                            "token_refused",
                            "access_refused",
                            "secrets_revealed",
                            "data_exported",
                            "file_downloaded",
                            "account_locked",
                            "reauthenticated",
                            "password_changed",
                            "password_reset",
                            "email_changed",
                            "email_confirmed",
                            "second_factor_changed",
                            "second_factor_failed",
                            "refresh_reused",
                            "session_ended",
                            "biometric_verified",
                            "biometric_failed",
                            "export_taken",
                            "erasure_requested",
                            "erasure_cancelled",
                            "reason_given",
                            "operator_looked",
                            "operator_acted",
                            "operator_refused",
                            "retention_applied",
                            "backup_made",
                            "backup_restored",
                            "drill_run",
                            "keys_rotated",
                            "person_erased",
                            "erasures_replayed",
                        ],
                    )
                ),
                name="security_kind_known",
            ),
        ),
        migrations.RunSQL([note_accepting(BEFORE + ADDED)], [note_accepting(BEFORE)]),
    ]
