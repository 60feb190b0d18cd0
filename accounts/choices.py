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


class Platform(TextChoices):
    """What kind of device somebody logged in on."""

    IOS = "ios", "iOS"
    ANDROID = "android", "Android"
    WEB = "web", "Web"
    DESKTOP = "desktop", "Desktop"


class SessionEnd(TextChoices):
    """Why a session ended."""

    LOGGED_OUT = "logged_out", "Logged out"
    REVOKED = "revoked", "Revoked by its owner"
    REPLACED = "replaced", "Logged in anew on the same device"
    PASSWORD_CHANGED = "password_changed", "Password changed"
    REFRESH_REUSED = "refresh_reused", "A refresh token was used twice"
    ACCOUNT_CLOSED = "account_closed", "Account closed"


class Realm(TextChoices):
    """Through whose login a stored session is read."""

    PERSON = "person", "A person's"
    HOUSE = "house", "An operator's"


class BiometricKind(TextChoices):
    """What a device recognises its owner by."""

    FINGERPRINT = "fingerprint", "Fingerprint"
    FACE = "face", "Face"
    VOICE = "voice", "Voice"


class BiometricStatus(TextChoices):
    PENDING = "pending", "Pending"
    ACTIVE = "active", "Active"
    REVOKED = "revoked", "Revoked"


class ChallengePurpose(TextChoices):
    """What a device-held key signs a challenge for."""

    REGISTRATION = "registration", "Registration"
    VERIFICATION = "verification", "Verification"


class ConsentType(TextChoices):
    """What everybody has to agree to before they use the service."""

    PRIVACY_POLICY = "privacy_policy", "Privacy policy"
    TERMS_OF_SERVICE = "terms_of_service", "Terms of service"
    MEDICAL_DISCLAIMER = "medical_disclaimer", "Medical disclaimer"
    HEALTHCARE_CONSULTATION = "healthcare_consultation", "Healthcare consultation"
    EMERGENCY_CARE_LIMITATION = "emergency_care_limitation", "Emergency care limitation"


class ConsentMethod(TextChoices):
    """How many texts one gesture agreed to."""

    BUNDLED = "bundled", "Several together"
    GRANULAR = "granular", "Each by itself"


class ConsentSource(TextChoices):
    """Where somebody agreed or withdrew."""

    REGISTRATION = "registration", "Registration"
    API = "api", "API"
    PAGE = "page", "Page"


class Tier(TextChoices):
    FREE = "free", "Free"
    PREMIUM = "premium", "Premium"


class Plan(TextChoices):
    """How often premium is paid for."""

    MONTHLY = "monthly", "Monthly"
    YEARLY = "yearly", "Yearly"


class SubscriptionStatus(TextChoices):
    PENDING = "pending", "Waits until another one is over"
    ACTIVE = "active", "Active"
    EXPIRED = "expired", "Over"
    CANCELLED = "cancelled", "Taken back by the store"


class SubscriptionProvider(TextChoices):
    """Who gave it out: the house itself, or a store."""

    SYSTEM = "system", "The house"
    APPLE = "apple", "App Store"
    GOOGLE = "google", "Google Play"
    LOCAL = "local", "Local signer, for development"


class NotificationOutcome(TextChoices):
    """What became of a message from a store."""

    APPLIED = "applied", "Applied"
    OUTDATED = "outdated", "Older than what was known"
    UNKNOWN_ACCOUNT = "unknown_account", "About nobody's purchase"
    IGNORED = "ignored", "Not about a purchase"


class ErasureStatus(TextChoices):
    WAITING = "waiting", "Waiting"
    CANCELLED = "cancelled", "Cancelled"
    IN_PROGRESS = "in_progress", "In progress"
    COMPLETED = "completed", "Completed"


class ExportStatus(TextChoices):
    QUEUED = "queued", "Queued"
    BUILDING = "building", "Building"
    READY = "ready", "Ready"
    EXPIRED = "expired", "Expired"
    FAILED = "failed", "Failed"
