"""The types of PostgreSQL's transaction ids and snapshots."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func

if TYPE_CHECKING:
    Column = models.Field[int, int]
    TextColumn = models.Field[str, str]
else:
    Column = TextColumn = models.Field


class CurrentTransaction(Func):
    """The id of the running transaction, which it gets with the first such question."""

    function = "pg_current_xact_id"
    template = "%(function)s()"


class TransactionIdField(Column):
    """A 64-bit transaction id (`xid8`), which never comes again within one cluster."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "xid8"

    def from_db_value(self, value: Any, *_: Any) -> int | None:
        return None if value is None else int(value)

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else str(value)


class SnapshotField(TextColumn):
    """Which transactions had ended at a moment (`pg_snapshot`), as text: `xmin:xmax:those between`.

    Those below xmin had ended, those from xmax on had not, and between only the named had not.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "pg_snapshot"
