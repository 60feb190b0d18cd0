from django.db import models
from django.db.models import Index
from django.db.models.functions import Now

from accounts.querysets import OutgoingMailQuerySet
from common.fields import Uuid7Field


class OutgoingMail(models.Model):
    """A mail that is still to be sent; the row goes when the mail has gone."""

    id = Uuid7Field()
    sealed = models.BinaryField(db_comment="Recipient, subject and text (sealed)")
    attempts = models.PositiveSmallIntegerField(default=0, db_comment="How often it was tried")
    next_attempt_at = models.DateTimeField(
        db_default=Now(), db_comment="Nobody tries before; while one tries, it lies ahead"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Written")

    objects = OutgoingMailQuerySet.as_manager()

    class Meta:
        db_table_comment = "Mails that wait to be sent"
        indexes = [Index(fields=["next_attempt_at"], name="outgoing_mail_due")]

    def __str__(self) -> str:
        return f"mail of {self.created_at:%Y-%m-%d %H:%M}"
