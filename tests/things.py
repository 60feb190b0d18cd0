"""Rows of tests in tables that people own, made without the services that usually make them."""

from uuid import UUID

from django.db import connection
from django.utils import timezone

from accounts.choices import ErasureStatus, ExportStatus
from accounts.models import Erasure, ErasureRequest, ExportRequest, RecordedAnswer, User
from common.ids import uuid7
from common.tenancy import acting_as, as_operator
from common.tests.connections import Connection


def keep_key(user_id: UUID, key: str) -> RecordedAnswer:
    """A row of the person's, through Django."""
    with acting_as(user_id):
        return RecordedAnswer.objects.create(user_id=user_id, key=key, fingerprint="", status=200)


def keep_privacy(user: User) -> None:
    """An export whose time is over, an erasure that was cancelled, and the trace of another one."""
    now = timezone.now()
    with acting_as(user.pk):
        ExportRequest.objects.create(user=user, status=ExportStatus.EXPIRED)
    with as_operator("test"):
        ErasureRequest.objects.create(
            user=user,
            status=ErasureStatus.CANCELLED,
            token_digest=uuid7().bytes,
            due_at=now,
            cancelled_at=now,
        )
        Erasure.objects.create(user_id=uuid7(), erased_at=now, summary={}, receipt_sha256=b"x")


def insert_key(raw: Connection, user_id: UUID, key: str) -> None:
    """The same by SQL, as whoever the connection is."""
    raw.execute(
        "INSERT INTO accounts_recordedanswer (user_id, key, fingerprint, status, location)"
        " VALUES (%s, %s, '', 200, '')",
        [user_id, key],
    )


def keys_seen() -> list[str]:
    """Every key that the running code sees, in order."""
    return list(RecordedAnswer.objects.order_by("key").values_list("key", flat=True))


def keys_seen_by(raw: Connection) -> list[object]:
    rows = raw.execute("SELECT key FROM accounts_recordedanswer ORDER BY key").fetchall()
    return [key for (key,) in rows]


def setting() -> str:
    """What the database believes about who we are, on Django's connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting('app.user_id', true), '')")
        return str(cursor.fetchone()[0])
