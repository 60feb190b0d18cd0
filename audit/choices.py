from django.db.models import TextChoices


class Operation(TextChoices):
    """What was done to a row."""

    INSERT = "INSERT", "Added"
    UPDATE = "UPDATE", "Changed"
    DELETE = "DELETE", "Deleted"
    TRUNCATE = "TRUNCATE", "All deleted"


class SecurityKind(TextChoices):
    """What happened that no row shows: who came, was refused, looked; what the house did."""

    LOGIN_SUCCEEDED = "login_succeeded", "Logged in"
    LOGIN_FAILED = "login_failed", "Login failed"
    LOGGED_OUT = "logged_out", "Logged out"
    TOKEN_REFUSED = "token_refused", "Token refused"
    ACCESS_REFUSED = "access_refused", "Access refused"
    SECRETS_REVEALED = "secrets_revealed", "Secrets shown"
    DATA_EXPORTED = "data_exported", "Data exported"
    FILE_DOWNLOADED = "file_downloaded", "File downloaded"
    REASON_GIVEN = "reason_given", "Operator gave a reason"
    OPERATOR_LOOKED = "operator_looked", "Operator looked"
    OPERATOR_ACTED = "operator_acted", "Operator acted"
    OPERATOR_REFUSED = "operator_refused", "Operator refused"
    RETENTION_APPLIED = "retention_applied", "Retention applied"
    BACKUP_MADE = "backup_made", "Backup made"
    BACKUP_RESTORED = "backup_restored", "Backup restored"
    DRILL_RUN = "drill_run", "Recovery drill run"


# What happens to persons at the doors of the application; all else only the house can say.
OF_PERSONS = {
    SecurityKind.LOGIN_SUCCEEDED, SecurityKind.LOGIN_FAILED, SecurityKind.LOGGED_OUT,
    SecurityKind.TOKEN_REFUSED, SecurityKind.ACCESS_REFUSED, SecurityKind.SECRETS_REVEALED,
    SecurityKind.DATA_EXPORTED, SecurityKind.FILE_DOWNLOADED,
}  # fmt: skip
