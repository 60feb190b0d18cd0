"""The change stream of a database that was restored."""

from audit.choices import SecurityKind
from audit.continuing import continue_after_restore
from audit.recording import record_for_each


def go_on() -> None:
    """Afterwards the stream goes on where its files end, and says that there was a restore."""
    taken_over = continue_after_restore()
    record_for_each(
        SecurityKind.BACKUP_RESTORED, [None], details={"files": taken_over}, required=True
    )
