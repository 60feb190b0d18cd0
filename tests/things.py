"""Rows of tests in tables that people own, made without the services that usually make them."""

from uuid import UUID

from django.db import connection

from accounts.models import RecordedAnswer
from common.tenancy import acting_as
from common.tests.connections import Connection


def keep_key(user_id: UUID, key: str) -> RecordedAnswer:
    """A row of the person's, through Django."""
    with acting_as(user_id):
        return RecordedAnswer.objects.create(user_id=user_id, key=key, fingerprint="", status=200)


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
