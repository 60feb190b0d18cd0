from datetime import timedelta
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from accounts import erasing, exporting, unconfirmed
from accounts.mail import deliver
from accounts.models import (
    DeviceSession,
    ExportRequest,
    OutgoingMail,
    ReceivedNotification,
    RecordedAnswer,
    StoredSession,
)
from accounts.periods import settle_due, settle_missing
from common.queue import BaseTask, SweepTask, TenantTask, enqueue

# A client that repeats a request does so within minutes.
KEPT = timedelta(days=2)
# Ended sessions are shown for a while, to their owner.
ENDED_SESSIONS_KEPT = timedelta(days=30)
# As long as a receipt from before the message could open something: a year is the longest period
# that is sold, and stores let people go on for up to a month when they cannot charge.
NOTIFICATIONS_KEPT = timedelta(days=400)
MAILS_AT_ONCE = 500
EXPORTS_AT_ONCE = 100


@shared_task(base=SweepTask)
def forget_recorded_answers() -> None:
    """Delete answers to writes that nobody will repeat any more."""
    RecordedAnswer.objects.older_than(KEPT).delete()


@shared_task(base=BaseTask)
def send_mail(mail_id: str) -> None:
    """Send one mail that waits."""
    deliver(UUID(mail_id))


@shared_task(base=BaseTask)
def send_waiting_mail() -> None:
    """Queue the mails that are due: those whose message was lost, and those that failed."""
    due = OutgoingMail.objects.due(timezone.now()).order_by("next_attempt_at")
    for mail_id in due.values_list("pk", flat=True)[:MAILS_AT_ONCE]:
        enqueue(send_mail, str(mail_id))


@shared_task(base=SweepTask)
def forget_sessions() -> None:
    """Delete sessions that are long over, and the stored state of those that ran out."""
    now = timezone.now()
    StoredSession.objects.filter(expires_at__lt=now).delete()
    DeviceSession.objects.long_over(now - ENDED_SESSIONS_KEPT).delete()


@shared_task(base=SweepTask)
def expire_subscriptions() -> None:
    """End subscriptions whose time is over: a purchase that waits follows, or a free year."""
    settle_due()


@shared_task(base=SweepTask)
def renew_free_subscriptions() -> None:
    """Give a free year to everybody who has no subscription at all."""
    settle_missing()


@shared_task(base=SweepTask)
def forget_store_notifications() -> None:
    """Delete what stores said of purchases that are long over."""
    old = timezone.now() - NOTIFICATIONS_KEPT
    ReceivedNotification.objects.filter(received_at__lt=old).delete()


@shared_task(base=BaseTask)
def carry_out_erasures() -> None:
    """Erase everybody whose grace is over, and go on with whoever was left half erased."""
    erasing.carry_out_due()


@shared_task(base=BaseTask)
def erase_unconfirmed_accounts() -> None:
    """Erase accounts that nobody has confirmed an address of for UNCONFIRMED_DAYS."""
    unconfirmed.erase_unconfirmed()


@shared_task(base=TenantTask, bind=True)
def build_export(self: TenantTask, export_id: str) -> None:
    """Build one export. Again, late or in parallel: the row decides."""
    exporting.run_export(UUID(export_id), self.actor)


@shared_task(base=SweepTask)
def keep_exports() -> None:
    """Queue exports again that nobody works on, and delete files that are past their time."""
    exporting.give_up_exports()
    for row in ExportRequest.objects.stalled(exporting.PATIENCE)[:EXPORTS_AT_ONCE]:
        ExportRequest.objects.filter(pk=row.pk).queue_again()
        enqueue(build_export, str(row.pk), actor=row.user_id)
    exporting.expire_exports()
