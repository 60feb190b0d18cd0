from django.db.models import TextChoices


class Role(TextChoices):
    USER = "user", "User"
    ADMIN = "admin", "Admin"
    SUPERADMIN = "superadmin", "Superadmin"


class AccountStatus(TextChoices):
    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"
    DEACTIVATED = "deactivated", "Deactivated"
    DELETED = "deleted", "Deleted"


class Scope(TextChoices):
    """What a personal access token may be used for."""

    ACCOUNT_READ = "account:read", "Read the account"
    ACCOUNT_WRITE = "account:write", "Change the account"
    ARCHIVES_READ = "archives:read", "Read and search archives"
    ARCHIVES_WRITE = "archives:write", "Import archives"


OPERATOR_ROLES = (Role.ADMIN, Role.SUPERADMIN)
