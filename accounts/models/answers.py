from django.db import models
from django.db.models import Index, UniqueConstraint
from django.db.models.functions import Now

from accounts.models.users import User
from accounts.querysets import RecordedAnswerQuerySet
from common.fields import Uuid7Field


class RecordedAnswer(models.Model):
    """What was answered to a write with an Idempotency-Key, to answer its repetition alike."""

    id = Uuid7Field()
    user = models.ForeignKey(User, on_delete=models.CASCADE, db_index=False, db_comment="Who asked")
    key = models.CharField(max_length=255, db_comment="The Idempotency-Key that came with it")
    fingerprint = models.CharField(max_length=64, db_comment="SHA-256 of what was asked")
    status = models.PositiveSmallIntegerField(db_comment="HTTP status of the answer")
    body = models.JSONField(null=True, db_comment="The answer")
    location = models.CharField(max_length=300, blank=True, db_comment="Where the result is")
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Answered")

    objects = RecordedAnswerQuerySet.as_manager()

    class Meta:
        db_table_comment = "Answers to writes with an Idempotency-Key"
        constraints = [UniqueConstraint(fields=["user", "key"], name="recorded_answer_once")]
        indexes = [Index(fields=["created_at"], name="recorded_answer_created")]

    def __str__(self) -> str:
        return self.key
