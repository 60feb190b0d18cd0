"""E-mail addresses are sealed where they stand, in allauth's table, and still looked up."""

from typing import Any

from django.db.models import EmailField, Model
from django.db.models.signals import class_prepared

from common.encryption.fields import seal_email_field


def seal_addresses() -> None:
    """From here on allauth's model of an address has a sealed column.

    Called before its models are loaded.
    """
    class_prepared.connect(_seal, dispatch_uid="seal_addresses")


def _seal(sender: type[Model], **_: Any) -> None:
    # Not the classes of the same name that migrations make for themselves.
    if sender.__module__ == "allauth.account.models" and sender.__name__ == "EmailAddress":
        field = sender._meta.get_field("email")  # noqa: SLF001 - Django's way to a model's fields
        assert isinstance(field, EmailField)  # noqa: S101 - what allauth's migrations made it
        seal_email_field(field)
