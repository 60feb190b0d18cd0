"""Tables in parts by time: the key is a UUIDv7, and each month has a partition of its own.

Migrations import this module: what it produces is part of the schema, so a function here is
never changed, only followed by another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import CreateModel


class CreatePartitionedModel(CreateModel):
    """A table partitioned by its key, a UUIDv7 that begins with the time.

    The key stays the primary key, so the model stays an ordinary one.
    """

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, *states: Any
    ) -> None:
        with _partitioned(schema_editor):
            super().database_forwards(app_label, schema_editor, *states)

    def describe(self) -> str:
        return f"{super().describe()} in monthly partitions"


@contextmanager
def _partitioned(schema_editor: BaseDatabaseSchemaEditor) -> Iterator[None]:
    usual = schema_editor.sql_create_table
    schema_editor.sql_create_table = f"{usual} PARTITION BY RANGE (id)"
    try:
        yield
    finally:
        schema_editor.sql_create_table = usual
