"""Where mail goes on a machine that sends none: to the terminal, and to a folder."""

from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.console import EmailBackend as ConsoleBackend
from django.core.mail.message import EmailMessage

from common.ids import uuid7


class KeptMailBackend(BaseEmailBackend):
    """Afterwards each mail is printed, and lies in EMAIL_FILE_PATH as an .eml file of its own."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        folder = Path(settings.EMAIL_FILE_PATH)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for message in email_messages:
            path = folder / f"{uuid7()}.eml"
            path.touch(mode=0o600)
            path.write_bytes(message.message().as_bytes())
        return ConsoleBackend(fail_silently=self.fail_silently).send_messages(email_messages) or 0
