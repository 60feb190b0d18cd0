from django.db.models import TextChoices


class Purpose(TextChoices):
    """What a person's data key is for: each purpose of each person has keys of its own."""

    PROFILE = "profile", "Profile"
    BIOMETRIC = "biometric", "Biometric keys"
    DEVICES = "devices", "Devices and sessions"
    MAIL = "mail", "Mail"
    CONSENTS = "consents", "Consents"
    SUBSCRIPTIONS = "subscriptions", "Subscriptions"
    SECOND_FACTORS = "second_factors", "Second factors"
