"""Transcripts to import, and plain views of what an archive holds."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from psycopg import sql

from common.tenancy import acting_as
from common.tests.connections import connect_as_superuser
from dedup.models import Import, Message, Placement
from dedup.services import import_path
from dedup.verification import imports_to_verify, rebuilt

SAMPLES = Path(__file__).resolve().parent.parent / "samples" / "claude_code"
SESSION = "7d0b1f52-3c64-4e1d-9a55-0b5f2f7a9c11"
OTHER_SESSION = "f3c0a9d4-52b7-4b0e-8a41-6d1c9e22b870"

Row = dict[str, Any]


def sample_files() -> list[Path]:
    return sorted(path for path in SAMPLES.rglob("*") if path.suffix in (".json", ".jsonl"))


def prompt(key: str, text: Any, parent: str = "", second: int = 0, **other: Any) -> Row:
    """A row with what a person said; `text` may be content blocks."""
    return _row("user", key, parent, second, {"role": "user", "content": text}) | other


def reply(key: str, text: str, parent: str = "", second: int = 0, **other: Any) -> Row:
    """A row with a part of the response `msg_<second>`."""
    message = {
        "id": f"msg_{second}",
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
    }
    return _row("assistant", key, parent, second, message) | other


def dialogue(turns: int, prefix: str = "m") -> list[Row]:
    """A session of alternating prompts and replies, each the child of the one before."""
    rows: list[Row] = []
    for number in range(turns):
        make = reply if number % 2 else prompt
        parent = f"{prefix}{number - 1}" if number else ""
        rows.append(make(f"{prefix}{number}", f"Words {number}", parent, number))
    return rows


def _row(kind: str, key: str, parent: str, second: int, message: Row) -> Row:
    return {
        "type": kind,
        "uuid": key,
        "parentUuid": parent or None,
        "sessionId": SESSION,
        "timestamp": f"2026-03-02T10:{second // 60:02}:{second % 60:02}.000Z",
        "message": message,
    }


def lines(rows: Iterable[Row | bytes]) -> bytes:
    """The rows as a program writes them; bytes stand for themselves."""
    return b"".join(
        row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() + b"\n"
        for row in rows
    )


def transcript(folder: Path, rows: Iterable[Row | bytes], name: str = SESSION) -> Path:
    path = folder / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines(rows))
    return path


def import_all(user_id: UUID, paths: Sequence[Path]) -> None:
    for path in paths:
        import_path(user_id=user_id, path=path)


def reading_order(user_id: UUID, conversation: str = SESSION) -> list[str]:
    """The native keys of a conversation's messages as a reader meets them."""
    with acting_as(user_id):
        placed = Placement.objects.filter(segment__conversation__native_key=conversation)
        return list(placed.in_reading_order().values_list("message__native_key", flat=True))


def kept(user_id: UUID) -> set[tuple[frozenset[str], frozenset[bytes]]]:
    """The messages by all their ids and all their contents, whichever of them came first."""
    with acting_as(user_id):
        messages = Message.objects.visible_to(user_id).prefetch_related("aliases", "revisions")
        return {
            (
                frozenset({row.native_key, *(alias.native_key for alias in row.aliases.all())}),
                frozenset(bytes(revision.content_hash) for revision in row.revisions.all()),
            )
            for row in messages
        }


def rebuilt_files(user_id: UUID) -> dict[str, bytes]:
    """The bytes of every imported file by its name, from the database alone."""
    rows = imports_to_verify(user_id)
    with acting_as(user_id):
        return {row.name: b"".join(record.raw for record in rebuilt(row)) for row in rows}


def latest_import(user_id: UUID) -> Import:
    with acting_as(user_id):
        return Import.objects.visible_to(user_id).select_related("artifact").latest("pk")


def stored_files() -> set[Path]:
    return {path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()}


def make_tables_new() -> None:
    """Tables that were emptied and then vacuumed count as empty for the planner, whatever
    follows in one transaction; a new table does not. For tests with thousands of rows."""
    with connect_as_superuser() as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("TRUNCATE dedup_artifact, dedup_record, dedup_conversation CASCADE")


def counts_of_tables() -> dict[str, int]:
    """The number of committed rows in every table but those of the stream, whoever owns them."""
    with connect_as_superuser() as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            " AND NOT starts_with(tablename, 'audit_') ORDER BY 1"
        ).fetchall()
        return {str(name): _count(connection, str(name)) for (name,) in tables}


def _count(connection: Any, table: str) -> int:
    ((number,),) = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    ).fetchall()
    return int(number)
