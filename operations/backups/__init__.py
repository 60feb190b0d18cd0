"""Backups of the database and of the stored files, and the way back."""

from operations.backups.drilling import Drill, last_drill
from operations.backups.manifest import Manifest
from operations.backups.places import last_backup
from operations.backups.restoring import AFTER_RESTORE

__all__ = ["AFTER_RESTORE", "Drill", "Manifest", "last_backup", "last_drill"]
