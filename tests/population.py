"""A person with something in every table."""

import json
from pathlib import Path

from accounts.choices import SubscriptionProvider
from accounts.models import User
from accounts.services.access_tokens import issue_token
from accounts.services.preferences import set_preference
from accounts.services.subscriptions import apply_purchase, receive_notification
from accounts.tests.consents import agree_to_everything
from accounts.tests.devices import keep_biometric_key
from accounts.tests.factories import keep_identity, make_user
from accounts.tests.purchases import local_store, purchase_of
from audit.choices import SecurityKind
from audit.recording import record_for_each
from audit.tests.streams import export_everything
from common import context
from common.encryption.checks import verify_keys
from common.tenancy import acting_as
from dedup.choices import Source
from dedup.models import Alias, Message
from dedup.services import import_path
from tests.things import keep_key, keep_privacy

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
    verify_keys()
    user = make_user(username)
    keep_identity(user)
    issue_token(user=user, name="of the test")
    keep_biometric_key(user, label="of the test")
    set_preference(user_id=user.pk, key="theme", value="dark")
    agree_to_everything(user)
    apply_purchase(user_id=user.pk, purchase=purchase_of(user, f"purchase of {username}"))
    receive_notification(
        provider=SubscriptionProvider.LOCAL, body=local_store().sign_notification(None), headers={}
    )
    keep_key(user.pk, "key")
    keep_privacy(user)
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
