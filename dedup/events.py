"""What the change stream calls the changes of archives."""

from audit.naming import Values, name_changes
from dedup.choices import ImportStatus


def name_events() -> None:
    """From here on the stream has the archives' names for their changes."""
    name_changes("import-requested", table="dedup_import", operation="INSERT")
    name_changes("import-completed", table="dedup_import", operation="UPDATE", when=completed)
    name_changes("import-failed", table="dedup_import", operation="UPDATE", when=failed)
    name_changes("conversation-found", table="dedup_conversation", operation="INSERT")


def completed(old: Values, new: Values) -> bool:
    return _became(ImportStatus.COMPLETED, old, new)


def failed(old: Values, new: Values) -> bool:
    return _became(ImportStatus.FAILED, old, new)


def _became(status: ImportStatus, old: Values, new: Values) -> bool:
    return old.get("status") != status and new.get("status") == status
