"""Whose login it is that somebody typed."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress

from accounts.models import User


def login_of(credentials: Mapping[str, Any]) -> str:
    """The address or the name that was typed; the address where a door gives both."""
    return str(credentials.get("email") or credentials.get("username") or "")


def owner_of(login: str) -> UUID | None:
    """Whom this address leads to, or else this name; one who confirmed the address comes first."""
    login = login.strip()
    if "@" in login:
        owners = EmailAddress.objects.filter(email=login.lower()).order_by("-verified", "pk")
        found: UUID | None = owners.values_list("user_id", flat=True).first()
        if found is not None:
            return found
    named: UUID | None = User.objects.named(login).values_list("pk", flat=True).first()
    return named
