"""Wrapped data keys are backed up apart from what they seal, and for a shorter time.

The dump of the database holds sealed columns and none of the keys: once a person's keys are
destroyed and the backups of keys from before have gone, no dump of any age tells what they sealed.
A restore takes the newest keys, whatever the age of the database: keys are only ever added,
wrapped anew or destroyed.

BACKUP_DIR/keys/<name>.dump   a JSON line for each row
BACKUP_DIR/keys/<name>.json   its sum; a dump without one is not whole
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone
from psycopg import sql
from psycopg.types.json import Jsonb

from common.storage import make_path_durable
from operations.backups.logins import Connection
from operations.backups.manifest import Piece, piece_of, seal_of
from operations.backups.places import DRAFT, NAME, moment_in, root, write_durably
from operations.backups.tables import value_of
from operations.errors import DamagedBackupError

# The rows of these stand in no common dump. Each belongs to a user by its column user_id.
KEPT_APART = ("accounts_datakey",)
FORMAT = 1
ROWS_AT_ONCE = 1000

LOAD = """
    INSERT INTO {table}
    SELECT line.* FROM jsonb_array_elements(%s) AS lines (value),
        jsonb_populate_record(NULL::{table}, lines.value) AS line
    WHERE EXISTS (SELECT FROM accounts_user WHERE accounts_user.id = line.user_id)
"""


@dataclass(frozen=True)
class KeysDump:
    """The rows of the tables that are kept apart, as they were at one moment."""

    name: str
    dump: Piece
    rows: dict[str, int]

    @property
    def path(self) -> Path:
        return folder() / f"{self.name}.dump"

    @property
    def made_at(self) -> datetime:
        return moment_in(self.name)

    def problem(self) -> str:
        """What is wrong with its bytes; empty if nothing is."""
        if not self.path.is_file():
            return f"{self.path} is missing."
        if piece_of(self.path) != self.dump:
            return f"{self.path} has other bytes than when it was made."
        return ""


def folder() -> Path:
    path = root() / "keys"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def options_of_dump() -> list[str]:
    """What keeps the rows out of the common dump; their tables are in it."""
    return [f"--exclude-table-data=public.{table}" for table in KEPT_APART]


def dump_keys(connection: Connection, name: str) -> KeysDump:
    """Afterwards the rows that the connection's snapshot sees are kept apart, whole and durable."""
    draft = folder() / f"{DRAFT}{name}"
    rows = {table: 0 for table in KEPT_APART if _exists(connection, table)}
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        for table in rows:
            for row in _rows_of(connection, table):
                file.write(json.dumps({"table": table, "row": row}).encode() + b"\n")
                rows[table] += 1
        file.flush()
        os.fsync(file.fileno())
    made = KeysDump(name, piece_of(draft), rows)
    draft.rename(made.path)
    make_path_durable(folder())
    write_durably(_manifest_path(name), _as_text(made))
    return made


def _rows_of(connection: Connection, table: str) -> Iterator[Any]:
    query = sql.SQL("SELECT to_jsonb(line) FROM {} AS line ORDER BY id").format(
        sql.Identifier("public", table)
    )
    with connection.cursor(name="keys") as cursor:
        cursor.execute(query)
        for (row,) in cursor:
            yield row


def _exists(connection: Connection, table: str) -> bool:
    query = sql.SQL("SELECT to_regclass({})").format(sql.Literal(f"public.{table}"))
    return value_of(connection, query) is not None


def all_keys() -> list[KeysDump]:
    """Those that are listed, oldest first; whether their bytes are whole is another question."""
    found = []
    for path in sorted(folder().glob("*.json")):
        if NAME.fullmatch(path.stem):
            with suppress(DamagedBackupError):
                found.append(_read(path))
    return found


def newest_keys() -> KeysDump | None:
    """The newest dump of keys that is whole."""
    return next((dump for dump in reversed(all_keys()) if not dump.problem()), None)


def require_keys() -> KeysDump:
    """Raises DamagedBackupError if there is none."""
    if found := newest_keys():
        return found
    raise DamagedBackupError(
        f"There is no whole dump of keys in {folder()}: nothing that is sealed could be opened."
    )


def load_keys(connection: Connection, keys: KeysDump) -> dict[str, int]:
    """Afterwards the tables hold the keys of everybody who is in the database; as superuser.

    Tables that have rows, since an earlier version dumped them with all others, stay as they are.
    """
    loaded: dict[str, int] = {}
    with connection.transaction():
        # Of triggers: that a key came back from a backup is no change to tell of.
        connection.execute("SET LOCAL session_replication_role = replica")
        empty = {table for table in keys.rows if _is_empty(connection, table)}
        with keys.path.open("rb") as file:
            lines = (json.loads(line) for line in file)
            while chunk := list(islice(lines, ROWS_AT_ONCE)):
                for table in sorted(empty):
                    rows = [line["row"] for line in chunk if line["table"] == table]
                    statement = sql.SQL(LOAD).format(table=sql.Identifier("public", table))
                    count = connection.execute(statement, [Jsonb(rows)]).rowcount
                    loaded[table] = loaded.get(table, 0) + count
    return loaded


def _is_empty(connection: Connection, table: str) -> bool:
    if not _exists(connection, table):
        return False
    query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(sql.Identifier("public", table))
    return value_of(connection, query) is True


def prune_keys() -> list[str]:
    """Afterwards no dump of keys is older than KEYS_BACKUP_DAYS, but for the newest whole one.

    Needs `writing`, and that nobody reads backups.
    """
    limit = timezone.now() - timedelta(days=settings.KEYS_BACKUP_DAYS)
    newest = newest_keys()
    old = [dump for dump in all_keys() if dump.made_at < limit and dump != newest]
    for dump in old:
        dump.path.unlink(missing_ok=True)
        _manifest_path(dump.name).unlink()
    make_path_durable(folder())
    return [dump.name for dump in old]


def remove_drafts_of_keys() -> None:
    """Afterwards nothing is left of dumps of keys that were killed. Needs `writing`."""
    for path in [*folder().glob(f"{DRAFT}*"), *folder().glob("*.dump")]:
        if path.name.startswith(DRAFT) or not _manifest_path(path.stem).exists():
            path.unlink()


def _manifest_path(name: str) -> Path:
    return folder() / f"{name}.json"


def _as_text(dump: KeysDump) -> str:
    said = asdict(dump) | {"format": FORMAT}
    return json.dumps(said | {"seal": seal_of(said)}, indent=2) + "\n"


def _read(path: Path) -> KeysDump:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        seal = said.pop("seal")
        dump = KeysDump(said["name"], Piece(**said["dump"]), said["rows"])
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamagedBackupError(f"{path} cannot be read.") from error
    if seal != seal_of(said) or (said["format"], dump.name) != (FORMAT, path.stem):
        raise DamagedBackupError(f"{path} is not as it was written.")
    return dump
