"""The broker's door to imports, and the sweep for imports whose message or worker was lost."""

from datetime import timedelta
from uuid import UUID

from celery import shared_task

from common.locks import try_lock
from common.queue import SweepTask, TenantTask, enqueue
from dedup.importing import run_import
from dedup.models import Import

# A message may wait behind others; more of the same would only lengthen the queue.
QUEUED_PATIENCE = timedelta(minutes=5)
RUNNING_PATIENCE = timedelta(seconds=30)
SWEPT_AT_ONCE = 200


@shared_task(base=TenantTask, bind=True)
def read_import(self: TenantTask, import_id: str) -> None:
    """Read one queued import. Again, late or in parallel: the row and its lock decide."""
    run_import(UUID(import_id), self.actor)


@shared_task(base=SweepTask)
def requeue_stalled_imports() -> None:
    """Queue again what nobody works on."""
    stalled = Import.objects.stalled(queued_for=QUEUED_PATIENCE, running_for=RUNNING_PATIENCE)
    for row in stalled.order_by("touched_at")[:SWEPT_AT_ONCE]:
        # A worker holds this lock while it reads: what can be locked is not being read.
        if not try_lock(f"import:{row.pk}"):
            continue
        Import.objects.filter(pk=row.pk).touch()
        enqueue(read_import, str(row.pk), actor=row.user_id)
