"""Mail on its way out: sealed, sent once, tried again, and never in the broker."""

from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from smtplib import SMTPServerDisconnected
from unittest import mock

import pytest
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.db import transaction
from django.utils import timezone

from accounts.mail import LEASE, MOST_ATTEMPTS, Mail, deliver
from accounts.models import OutgoingMail
from accounts.services.mail import send_mail
from accounts.tasks import send_mail as send_mail_task
from accounts.tasks import send_waiting_mail
from common.encryption.errors import DecryptionError
from common.mail import KeptMailBackend
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)
LETTER = Mail("ada@example.org", "A word", "Dear Ada", "<p>Dear Ada</p>")


@pytest.fixture
def sent_to_broker() -> "list[tuple[str, ...]]":
    return []


@pytest.fixture(autouse=True)
def no_broker(sent_to_broker: "list[tuple[str, ...]]") -> object:
    def keep(args: tuple[str, ...], **_: object) -> None:
        sent_to_broker.append(args)

    with mock.patch.object(send_mail_task, "apply_async", side_effect=keep) as patched:
        yield patched


def waiting() -> OutgoingMail:
    return OutgoingMail.objects.get()


def fail() -> object:
    return mock.patch.object(EmailMessage, "send", side_effect=SMTPServerDisconnected("ada@…"))


def test_the_broker_is_given_an_id_and_the_row_is_sealed(
    sent_to_broker: "list[tuple[str, ...]]",
) -> None:
    send_mail(LETTER)

    row = waiting()
    assert sent_to_broker == [(str(row.pk),)]
    assert b"ada" not in bytes(row.sealed).lower()


def test_a_mail_is_sent_and_its_row_goes() -> None:
    send_mail(LETTER)

    assert deliver(waiting().pk)

    (message,) = mail.outbox
    assert (message.to, message.subject, message.body) == (
        ["ada@example.org"],
        "A word",
        "Dear Ada",
    )
    assert isinstance(message, EmailMultiAlternatives)
    assert message.alternatives == [("<p>Dear Ada</p>", "text/html")]
    assert not OutgoingMail.objects.exists()


def test_a_task_that_runs_twice_or_late_sends_nothing_more() -> None:
    send_mail(LETTER)
    row = waiting()

    send_mail_task(str(row.pk))
    send_mail_task(str(row.pk))

    assert len(mail.outbox) == 1


def test_of_eight_workers_one_sends() -> None:
    send_mail(LETTER)
    pk = waiting().pk

    assert sorted(at_once([lambda: deliver(pk)] * 8)) == [False] * 7 + [True]  # type: ignore[type-var]

    assert len(mail.outbox) == 1


def test_what_cannot_be_sent_waits_longer_each_time_and_is_given_up_in_the_end() -> None:
    send_mail(LETTER)
    pauses = []
    with fail():  # type: ignore[attr-defined]
        for _ in range(MOST_ATTEMPTS - 1):
            OutgoingMail.objects.update(next_attempt_at=timezone.now())
            assert not deliver(waiting().pk)
            pauses.append(round((waiting().next_attempt_at - timezone.now()) / MINUTE))
        OutgoingMail.objects.update(next_attempt_at=timezone.now())
        assert not deliver(waiting().pk)

    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 480, 480, 480]
    assert not OutgoingMail.objects.exists()


def test_the_log_of_a_failure_names_nobody(caplog: pytest.LogCaptureFixture) -> None:
    send_mail(LETTER)
    with fail():  # type: ignore[attr-defined]
        deliver(waiting().pk)

    assert "ada" not in caplog.text
    assert "SMTPServerDisconnected" in caplog.text


def test_a_worker_that_died_leaves_the_mail_to_another(
    sent_to_broker: "list[tuple[str, ...]]",
) -> None:
    send_mail(LETTER)
    sent_to_broker.clear()
    OutgoingMail.objects.update(next_attempt_at=timezone.now() + LEASE)
    send_waiting_mail()
    assert sent_to_broker == []

    OutgoingMail.objects.update(next_attempt_at=timezone.now())
    send_waiting_mail()

    assert sent_to_broker == [(str(waiting().pk),)]


def test_a_mail_of_a_transaction_that_failed_is_never_sent(
    sent_to_broker: "list[tuple[str, ...]]",
) -> None:
    def fail_later() -> None:
        with transaction.atomic():
            send_mail(LETTER)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_later()

    assert (sent_to_broker, OutgoingMail.objects.count()) == ([], 0)


def test_by_default_a_mail_is_printed_and_kept(
    tmp_path: Path, settings: object, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.EMAIL_FILE_PATH = tmp_path / "mail"  # type: ignore[attr-defined]

    EmailMessage(
        "A word", "Dear Ada", "x@y.z", ["ada@example.org"], connection=KeptMailBackend()
    ).send()

    (kept,) = (tmp_path / "mail").iterdir()
    assert message_from_bytes(kept.read_bytes())["To"] == "ada@example.org"
    assert kept.stat().st_mode & 0o077 == 0
    assert "Dear Ada" in capsys.readouterr().out


def test_what_was_sealed_for_one_row_is_sent_from_no_other() -> None:
    """Else whoever may write rows sends one person's code to another's address."""
    send_mail(LETTER)
    first = waiting()
    send_mail(Mail("bob@example.org", "Another word", "Dear Bob"))
    second = OutgoingMail.objects.exclude(pk=first.pk).get()
    OutgoingMail.objects.filter(pk=second.pk).update(sealed=bytes(first.sealed))

    with pytest.raises(DecryptionError):
        deliver(second.pk)

    assert mail.outbox == []
    assert deliver(first.pk)
    assert [message.to for message in mail.outbox] == [["ada@example.org"]]
