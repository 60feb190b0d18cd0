from uuid import UUID

from accounts.models import RecordedAnswer
from common.idempotency import Answer, StoredAnswer


class RecordedAnswers:
    """Keeps the answers for `common.idempotency` in accounts' table."""

    def find(self, key: str) -> StoredAnswer | None:
        row = RecordedAnswer.objects.filter(key=key).first()
        if row is None:
            return None
        return StoredAnswer(row.fingerprint, Answer(row.status, row.body, row.location))

    def save(self, user_id: UUID, key: str, stored: StoredAnswer) -> None:
        RecordedAnswer.objects.create(
            user_id=user_id,
            key=key,
            fingerprint=stored.fingerprint,
            status=stored.answer.status,
            body=stored.answer.body,
            location=stored.answer.location,
        )
