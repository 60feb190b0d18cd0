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
    ACCOUNT_LOCKED = "account_locked", "Login locked for a while"
    REAUTHENTICATED = "reauthenticated", "Proved who they are again"
    PASSWORD_CHANGED = "password_changed", "Password changed"
    PASSWORD_RESET = "password_reset", "Password reset"
    EMAIL_CHANGED = "email_changed", "E-mail address changed"
    EMAIL_CONFIRMED = "email_confirmed", "E-mail address confirmed"
    SECOND_FACTOR_CHANGED = "second_factor_changed", "Second factor changed"
    SECOND_FACTOR_FAILED = "second_factor_failed", "Second factor failed"
    REFRESH_REUSED = "refresh_reused", "Refresh token used twice"
    SESSION_ENDED = "session_ended", "Session ended"
    BIOMETRIC_VERIFIED = "biometric_verified", "Biometric key verified"
    BIOMETRIC_FAILED = "biometric_failed", "Biometric key failed"
    EXPORT_TAKEN = "export_taken", "Export of the account downloaded"
    ERASURE_REQUESTED = "erasure_requested", "Erasure requested"
    ERASURE_CANCELLED = "erasure_cancelled", "Erasure cancelled"
    REASON_GIVEN = "reason_given", "Operator gave a reason"
    OPERATOR_LOOKED = "operator_looked", "Operator looked"
    OPERATOR_ACTED = "operator_acted", "Operator acted"
    OPERATOR_REFUSED = "operator_refused", "Operator refused"
    RETENTION_APPLIED = "retention_applied", "Retention applied"
    BACKUP_MADE = "backup_made", "Backup made"
    BACKUP_RESTORED = "backup_restored", "Backup restored"
    DRILL_RUN = "drill_run", "Recovery drill run"
    KEYS_ROTATED = "keys_rotated", "Keys rotated"
    PERSON_ERASED = "person_erased", "Person erased"
    ERASURES_REPLAYED = "erasures_replayed", "Erasures replayed"


# What happens to persons at the doors of the application; all else only the house can say.
OF_PERSONS = {
    SecurityKind.LOGIN_SUCCEEDED, SecurityKind.LOGIN_FAILED, SecurityKind.LOGGED_OUT,
    SecurityKind.TOKEN_REFUSED, SecurityKind.ACCESS_REFUSED, SecurityKind.SECRETS_REVEALED,
    SecurityKind.DATA_EXPORTED, SecurityKind.FILE_DOWNLOADED, SecurityKind.ACCOUNT_LOCKED,
    SecurityKind.REAUTHENTICATED, SecurityKind.PASSWORD_CHANGED, SecurityKind.PASSWORD_RESET,
    SecurityKind.EMAIL_CHANGED, SecurityKind.EMAIL_CONFIRMED, SecurityKind.SECOND_FACTOR_CHANGED,
    SecurityKind.SECOND_FACTOR_FAILED, SecurityKind.REFRESH_REUSED, SecurityKind.SESSION_ENDED,
    SecurityKind.BIOMETRIC_VERIFIED, SecurityKind.BIOMETRIC_FAILED, SecurityKind.EXPORT_TAKEN,
    SecurityKind.ERASURE_REQUESTED, SecurityKind.ERASURE_CANCELLED,
}  # fmt: skip
