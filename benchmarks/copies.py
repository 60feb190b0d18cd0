"""The bare COPY that an import is compared with. Import this after `django.setup()`."""

from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from archive import COMPUTING, PLAIN, WITHOUT, seconds
from databases import columns_of, superuser
from django.db import connection
from psycopg import sql

from common.tenancy import acting_as
from dedup.models import Import

BLOCK_BYTES = 1 << 18

# What an import of one transcript writes, parents first, and which rows are of the import.
TABLES: dict[str, LiteralString] = {
    "dedup_artifact": "id = %(artifact_id)s",
    "dedup_import": "id = %(import_id)s",
    "dedup_conversation": "id = %(conversation_id)s",
    "dedup_segment": "conversation_id = %(conversation_id)s",
    "dedup_message": "conversation_id = %(conversation_id)s",
    "dedup_revision": "message_id IN"
    " (SELECT id FROM dedup_message WHERE conversation_id = %(conversation_id)s)",
    "dedup_record": "id IN (SELECT record_id FROM dedup_observation"
    " WHERE import_id = %(import_id)s)",
    "dedup_observation": "import_id = %(import_id)s",
    "dedup_placement": "segment_id IN"
    " (SELECT id FROM dedup_segment WHERE conversation_id = %(conversation_id)s)",
    "dedup_watermark": "conversation_id = %(conversation_id)s",
    "dedup_deduplicationlog": "import_id = %(import_id)s",
}


class Copies:
    """The rows that one import wrote, as files for COPY."""

    VARIANTS = (
        ("copy_computing", COMPUTING, "text"),
        ("copy_computing_binary", COMPUTING, "binary"),
        ("copy_prepared", PLAIN, "text"),
        ("copy_without", WITHOUT, "text"),
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take_out(self, user_id: UUID, path: Path) -> None:
        """Afterwards the files hold what the import of that path wrote, without and with
        prepared tsvectors."""
        self._folder.mkdir()
        with acting_as(user_id):
            row = Import.objects.visible_to(user_id).get(name=str(path.absolute()))
            line = row.log.get()
        values = {
            "artifact_id": row.artifact_id,
            "import_id": row.pk,
            "conversation_id": line.conversation_id,
        }
        with superuser(str(connection.settings_dict["NAME"])) as database:
            for table, mine in TABLES.items():
                for form in ("text", "binary"):
                    for leave_search in (True, False):
                        columns = self._columns(database, table, leave_search=leave_search)
                        query = sql.SQL("COPY (SELECT {} FROM {} WHERE {} ORDER BY 1) TO STDOUT")
                        statement = query.format(columns, sql.Identifier(table), sql.SQL(mine))
                        file = self._file(table, form, leave_search=leave_search)
                        self._write(database, statement + _format(form), values, file)

    def timed(self, form: str, *, leave_search: bool) -> float:
        """Seconds for the rows to go into the tables of the clone, in one transaction."""

        def put_in() -> None:
            with database.transaction():
                for table in TABLES:
                    columns = self._columns(database, table, leave_search=leave_search)
                    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
                    file = self._file(table, form, leave_search=leave_search)
                    self._read(database, into + _format(form), file)

        with superuser(str(connection.settings_dict["NAME"])) as database:
            return seconds(put_in)

    def _columns(
        self, database: psycopg.Connection[Any], table: str, *, leave_search: bool
    ) -> sql.Composed:
        names = columns_of(database, table)
        chosen = [name for name in names if not (leave_search and name == "search")]
        return sql.SQL(", ").join(map(sql.Identifier, chosen))

    def _file(self, table: str, form: str, *, leave_search: bool) -> Path:
        return self._folder / f"{table}-{form}-{leave_search}"

    def _write(
        self,
        database: psycopg.Connection[Any],
        statement: sql.Composed,
        values: dict[str, Any],
        file: Path,
    ) -> None:
        # COPY takes no parameters from the server's side.
        with (
            psycopg.ClientCursor(database) as cursor,
            cursor.copy(statement, values) as copy,
            file.open("wb") as out,
        ):
            for block in copy:
                out.write(block)

    def _read(self, database: psycopg.Connection[Any], statement: sql.Composed, file: Path) -> None:
        with (
            file.open("rb") as given,
            database.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            while block := given.read(BLOCK_BYTES):
                copy.write(block)


def _format(form: str) -> sql.Composed:
    return sql.SQL(" (FORMAT {})").format(sql.SQL("binary" if form == "binary" else "text"))
