"""The operator's view of the change stream: what changed, what happened, what was written."""

from audit.admin.events import ChangeEventAdmin, SecurityEventAdmin
from audit.admin.exports import ExportBatchAdmin

__all__ = ["ChangeEventAdmin", "ExportBatchAdmin", "SecurityEventAdmin"]
