"""How the stream goes on in a database that was restored.

What a backup holds ends before the stream does: files were written after it was made. They tell
what truly happened, so the restored database takes them as its own. And transactions of another
server count from elsewhere, so what comes next is told from the past by its time as well.

Nothing is written to the storage: until the restored database serves, the old one may go on to
write. What of the past is in no file is a plan without a name, and the next export carries it out.
"""

from uuid import UUID

from django.db import connections
from django.db.models.functions import Now

from audit.batches import LOCK, last_written, put_behind
from audit.exporting import refuse_what_is_to_come
from audit.models import ExportBatch
from audit.retention import make_partitions
from audit.taking_over import take_over_files
from common.locks import lift_time_limit, lock
from common.tenancy import OPERATOR_ALIAS, as_operator

# One statement: who ends between two would be taken for one of another server. An event that we
# see although its transaction has not ended is of another server's. OFFSET leaves the choice of
# the index to the inner conditions: as a rule they find nothing.
HERE = """
    SELECT pg_current_snapshot()::text, (
        SELECT id FROM (
            (SELECT id, xid FROM audit_change_event
             WHERE xid >= pg_snapshot_xmin(pg_current_snapshot()) OFFSET 0)
            UNION ALL
            (SELECT id, xid FROM audit_security_event
             WHERE xid >= pg_snapshot_xmin(pg_current_snapshot()) OFFSET 0)
        ) AS later
        WHERE NOT pg_visible_in_snapshot(xid, pg_current_snapshot())
        ORDER BY id DESC LIMIT 1
    )
"""


def continue_after_restore() -> int:
    """Afterwards the stream goes on where its files end; returns how many files were taken over.

    Called once in a restored database, before anybody's work in it has ended: what is at work
    meanwhile comes later in the stream. Raises StreamBrokenError if a file does not follow the
    one before, or if the clock is behind what was restored, and changes nothing then.
    """
    # A backup may be of a month long past.
    make_partitions()
    with as_operator("go on after a restore"):
        lock(LOCK)
        lift_time_limit()
        taken = take_over_files(begin_anew())
        refuse_what_is_to_come()
    return taken


def begin_anew() -> ExportBatch:
    """The plan of a file that marks the place: from here on this server counts.

    It holds what of the past is in no file, if anything. A restored plan becomes it.
    """
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute(HERE)
        here, last_id = cursor.fetchone()
    marker = ExportBatch.objects.planned().first() or ExportBatch()
    put_behind(last_written(), marker)
    marker.upto, marker.stored_as, marker.planned_at = here, "", Now()
    marker.first_id = UUID(int=last_id.int + 1 if last_id else 0)
    return marker
