"""A person with something in every table."""

import json
from pathlib import Path

from accounts.models import User
from accounts.services.access_tokens import issue_token
from accounts.tests.factories import make_user
from audit.choices import SecurityKind
from audit.recording import record_for_each
from audit.tests.streams import export_everything
from common import context
from common.tenancy import acting_as
from dedup.choices import Source
from dedup.models import Alias, Message
from dedup.services import import_path
from tests.things import keep_key

SESSION = "11111111-2222-4333-8444-555555555555"


def row(number: int, words: str) -> bytes:
    """One message of a transcript."""
    parent = f"message-{number - 1}" if number else None
    return json.dumps(
        {
            "type": "user" if number % 2 == 0 else "assistant",
            "sessionId": SESSION,
            "uuid": f"message-{number}",
            "parentUuid": parent,
            "timestamp": f"2026-03-01T10:00:{number % 60:02}Z",
            "message": {"role": "user", "content": words},
        }
    ).encode()


def write_transcript(folder: Path, *words: str) -> Path:
    """A session with these messages and with one line that is no message."""
    path = folder / f"{SESSION}.jsonl"
    summary = json.dumps({"type": "summary", "summary": "A talk", "leafUuid": "message-0"})
    lines = [row(number, text) for number, text in enumerate(words)]
    path.write_bytes(b"\n".join([*lines, summary.encode(), b""]))
    return path


def populate(folder: Path, username: str) -> User:
    """Afterwards every table that people own has a row of this person."""
    user = make_user(username)
    issue_token(user=user, name="of the test")
    keep_key(user.pk, "key")
    import_path(user_id=user.pk, path=write_transcript(folder, "How are you", f"I am {username}"))
    with acting_as(user.pk):
        message = Message.objects.earliest("id")
        Alias.objects.create(
            user_id=user.pk, message=message, source=Source.CLAUDE_CODE, native_key="another"
        )
    with context.request_context():
        context.origin.set(context.Origin("192.0.2.7", "a browser"))
        record_for_each(SecurityKind.LOGIN_SUCCEEDED, [user.pk], required=True)
        context.origin.set(context.Origin())
    export_everything()
    return user
