"""The work of an export: a zip of everything that is kept of a person, in flat memory.

The row is the queue and the lease. A worker that was killed leaves a file without a row, which
the next attempt removes before it begins from the start.
"""

import base64
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from secrets import token_hex
from typing import IO, Any
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models.functions import Now
from django.utils import timezone
from psycopg.types.range import Range

from accounts.choices import ExportStatus
from accounts.models import ExportRequest
from common.privacy import PersonalFiles, PersonalTable, personal_files, personal_tables
from common.storage import place
from common.tenancy import acting_as

FOLDER = "exports"
FORMAT_VERSION = "2.0"
CHUNK_BYTES = 1 << 20
SECONDS_BETWEEN_SIGNS = 5
# Whoever has been silent for this long was killed.
PATIENCE = timedelta(minutes=2)
MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class Contents:
    """One member of the zip."""

    name: str
    sha256: str
    size: int

    def as_json(self) -> dict[str, Any]:
        return {"file": self.name, "sha256": self.sha256, "size": self.size}


@dataclass
class Manifest:
    """What is in the zip, and what is not and why."""

    user_id: UUID
    tables: dict[str, Any] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "exported_at": timezone.now().isoformat(),
            "user_id": str(self.user_id),
            "tables": self.tables,
            "files": self.files,
            "left_out": self.left_out,
        }


def run_export(export_id: UUID, user_id: UUID) -> None:
    """Afterwards the export is ready, or another worker has it, or it is gone.

    Whatever goes wrong leaves it to be tried again, until it was begun MOST_ATTEMPTS times.
    """
    with acting_as(user_id):
        if not ExportRequest.objects.claim(export_id):
            return
        row = ExportRequest.objects.get(pk=export_id)
    remove_leftovers(user_id)
    with tempfile.TemporaryFile() as file:
        write_zip(user_id, file, sign_of_life(row))
        size, digest = file.tell(), _digest_of(file)
        name = f"{FOLDER}/{user_id}/{token_hex(16)}.zip"
        file.seek(0)
        place(name, file)
    if not _is_ready(row, name, size, digest):
        # Another worker took it over, or the person is gone.
        default_storage.delete(name)


def write_zip(user_id: UUID, file: IO[bytes], living: Callable[[], None]) -> None:
    """Afterwards the file is a zip with a JSON file for each table, the person's files as they
    are stored, and `manifest.json`."""
    manifest = Manifest(user_id)
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for table in personal_tables():
            if table.not_exported:
                manifest.left_out[table.name] = table.not_exported
            else:
                manifest.tables[table.name] = _write_table(archive, table, user_id, living)
        for files in personal_files():
            if files.not_exported:
                manifest.left_out[files.folder] = files.not_exported
            else:
                manifest.files += _write_files(archive, files, user_id, living)
        archive.writestr("manifest.json", json.dumps(manifest.as_json(), indent=2))


def _write_table(
    archive: ZipFile, table: PersonalTable, user_id: UUID, living: Callable[[], None]
) -> dict[str, Any]:
    rows = 0

    def pieces() -> Iterable[bytes]:
        nonlocal rows
        yield b"["
        for row in table.exported_rows(user_id):
            yield b",\n" if rows else b"\n"
            yield json.dumps(row, cls=Encoder, ensure_ascii=False).encode(errors="replace")
            rows += 1
            living()
        yield b"\n]\n"

    written = _write(archive, f"data/{table.name}.json", pieces())
    return written.as_json() | {"rows": rows}


def _write_files(
    archive: ZipFile, files: PersonalFiles, user_id: UUID, living: Callable[[], None]
) -> Iterable[dict[str, Any]]:
    for name in files.names(user_id):

        def pieces(name: str = name) -> Iterable[bytes]:
            with default_storage.open(name, "rb") as stored:
                while chunk := stored.read(CHUNK_BYTES):
                    yield chunk
                    living()

        inside = name.replace(f"{files.folder}/{user_id}/", f"files/{files.folder}/", 1)
        yield _write(archive, inside, pieces()).as_json()


def _write(archive: ZipFile, name: str, pieces: Iterable[bytes]) -> Contents:
    digest, size = hashlib.sha256(), 0
    with archive.open(name, "w", force_zip64=True) as member:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            member.write(piece)
    return Contents(name, digest.hexdigest(), size)


class Encoder(DjangoJSONEncoder):
    """Bytes as Base64, ranges by their bounds."""

    def default(self, o: Any) -> Any:
        if isinstance(o, bytes | bytearray | memoryview):
            return base64.b64encode(bytes(o)).decode()
        if isinstance(o, Range):
            return {"lower": o.lower, "upper": o.upper}
        return super().default(o)


def sign_of_life(row: ExportRequest) -> Callable[[], None]:
    """A function that notes now and then that the export is being built."""
    due = time.monotonic() + SECONDS_BETWEEN_SIGNS

    def note() -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due = time.monotonic() + SECONDS_BETWEEN_SIGNS
        with acting_as(row.user_id):
            ExportRequest.objects.filter(pk=row.pk).update(touched_at=Now())

    return note


def _is_ready(row: ExportRequest, name: str, size: int, digest: bytes) -> bool:
    """Give the row its file, unless it was taken over since."""
    now = timezone.now()
    ours = {"pk": row.pk, "status": ExportStatus.BUILDING, "attempts": row.attempts}
    with acting_as(row.user_id):
        return bool(
            ExportRequest.objects.filter(**ours).update(
                status=ExportStatus.READY,
                stored_as=name,
                size=size,
                sha256=digest,
                ready_at=now,
                touched_at=now,
                expires_at=now + timedelta(days=settings.EXPORT_DAYS),
            )
        )


def _digest_of(file: IO[bytes]) -> bytes:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]  # IO hides readinto


def remove_leftovers(user_id: UUID) -> None:
    """Afterwards the person has no file of an export that has no row: nobody else builds one."""
    with acting_as(user_id):
        known = set(ExportRequest.objects.visible_to(user_id).values_list("stored_as", flat=True))
    for name in PersonalFiles(FOLDER).names(user_id):
        if name not in known:
            default_storage.delete(name)


def expire_exports() -> int:
    """Afterwards no file of an export is older than it may be; runs as the operator."""
    past = list(ExportRequest.objects.past(timezone.now()))
    for row in past:
        # The row last: if it fails, it is tried again.
        default_storage.delete(row.stored_as)
        ExportRequest.objects.filter(pk=row.pk).update(
            status=ExportStatus.EXPIRED, stored_as="", link_digest=None, link_expires_at=None
        )
    return len(past)


def give_up_exports() -> None:
    """Afterwards what was begun MOST_ATTEMPTS times and never became ready has failed."""
    ExportRequest.objects.stalled(PATIENCE).filter(attempts__gte=MOST_ATTEMPTS).update(
        status=ExportStatus.FAILED
    )
