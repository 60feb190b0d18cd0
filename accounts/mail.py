"""Mail on its way out: sealed in a row until a worker has sent it.

The broker carries the row's id only. A crash between sending and deleting sends a mail twice,
never not at all; what cannot be sent for two days is given up.
"""

import json
import logging
from dataclasses import asdict, dataclass
from datetime import timedelta
from smtplib import SMTPException
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.utils import timezone

from accounts.models import OutgoingMail
from common.encryption.house import open_for_house, seal_for_house

logger = logging.getLogger(__name__)

PURPOSE = "mail"
# As long as one attempt may take: then another worker may try.
LEASE = timedelta(minutes=2)
MOST_ATTEMPTS = 12
LONGEST_PAUSE = timedelta(hours=8)


@dataclass(frozen=True)
class Mail:
    recipient: str
    subject: str
    text: str
    html: str = ""


def store_mail(mail: Mail) -> OutgoingMail:
    """Afterwards the mail waits, sealed, in the open transaction."""
    row = OutgoingMail()
    content = json.dumps(asdict(mail)).encode()
    row.sealed = seal_for_house(PURPOSE, content, row.pk.bytes)
    row.save(force_insert=True)
    return row


def deliver(mail_id: UUID) -> bool:
    """Afterwards the mail is sent, or waits for its next attempt. False if it was not to be sent.

    Two that try at once send one mail: the claim is a conditional update.
    """
    now = timezone.now()
    claimed = OutgoingMail.objects.due(now).filter(pk=mail_id).update(next_attempt_at=now + LEASE)
    row = OutgoingMail.objects.filter(pk=mail_id).first() if claimed else None
    if row is None:
        return False
    try:
        _send(row)
    except (OSError, SMTPException) as error:
        _put_off(row, error)
        return False
    row.delete()
    return True


def _send(row: OutgoingMail) -> None:
    content = open_for_house(PURPOSE, bytes(row.sealed), row.pk.bytes)
    mail = Mail(**json.loads(content))
    message = EmailMultiAlternatives(
        mail.subject, mail.text, settings.DEFAULT_FROM_EMAIL, [mail.recipient]
    )
    if mail.html:
        message.attach_alternative(mail.html, "text/html")
    message.send()


def _put_off(row: OutgoingMail, error: Exception) -> None:
    # The error's text may name the recipient.
    logger.warning("a mail could not be sent: %s", type(error).__name__)
    row.attempts += 1
    if row.attempts >= MOST_ATTEMPTS:
        row.delete()
        return
    pause = min(timedelta(minutes=2**row.attempts), LONGEST_PAUSE)
    row.next_attempt_at = timezone.now() + pause
    row.save(update_fields=["attempts", "next_attempt_at"])
