"""The one door to what a person is told about their account by mail."""

from datetime import datetime
from uuid import UUID

from allauth.account.models import EmailAddress
from django.template.loader import render_to_string

from accounts.mail import Mail, store_mail

TEMPLATES = "accounts/notices"


def send_notice(user_id: UUID, kind: str, **details: datetime | str) -> None:
    """Afterwards the person is told, in the open transaction, if they have confirmed an address.

    The mail waits until the next sweep sends it.
    """
    addresses = EmailAddress.objects.filter(user_id=user_id, verified=True)
    address = addresses.order_by("-primary", "pk").first()
    if address is None:
        return
    subject = render_to_string(f"{TEMPLATES}/{kind}_subject.txt").strip()
    text = render_to_string(f"{TEMPLATES}/{kind}_message.txt", details).strip()
    store_mail(Mail(address.email, subject, text))
