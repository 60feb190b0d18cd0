"""Use cases of the archives."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import UUID

from django.db import transaction

from common.locks import lift_time_limit, try_lock
from common.queue import enqueue
from common.tenancy import acting_as, current_alias
from dedup.artifacts import Snapshot, keep_bytes, snapshot_of_path, snapshot_of_stream
from dedup.choices import ImportStatus
from dedup.containers import pack_folder
from dedup.errors import ArchiveBusyError
from dedup.exports import STATE_FILES, is_state_directory
from dedup.importing import join_archive, read_into_archive, tell_planner
from dedup.intake import Report
from dedup.models import Artifact, Import
from dedup.reading import parts_of
from dedup.results import FileResult
from dedup.tasks import read_import

LONGEST_NAME = 1000


@dataclass(frozen=True)
class Wanted:
    """What whoever imports knows better than the file: where it comes from, and the key of the
    one conversation that it holds. Empty where the file is to say."""

    source: str = ""
    conversation: str = ""


AS_THE_FILE_SAYS = Wanted()


@dataclass(frozen=True)
class KeptUpload:
    """Bytes that lie in the file storage and wait for their import."""

    name: str
    sha256: bytes
    size: int
    stored_as: str
    wanted: Wanted


def import_path(
    *,
    user_id: UUID,
    path: Path,
    wanted: Wanted = AS_THE_FILE_SAYS,
    report: Report | None = None,
) -> FileResult:
    """Afterwards the file, or the legacy state directory, has been read into the person's
    archive, here and not in a worker.

    Raises UnreadableFileError, FileChangedError, UnknownFormatError, UnsafeArchiveError,
    SeveralConversationsError and, during a dry run, ArchiveBusyError. Whatever ends it early,
    the database is as it was before.
    """
    with _recognised(path, wanted) as snapshot:
        stored_as = keep_bytes(user_id, snapshot)
        with acting_as(user_id):
            _join_archive(user_id)
            # Another importer of these bytes may have their row until it is done.
            lift_time_limit()
            result = _read_now(user_id, path, snapshot, stored_as, wanted, report)
        tell_planner(user_id, result.counts.new_messages)
        return result


@contextmanager
def preview(*, user_id: UUID) -> Iterator[Callable[..., FileResult]]:
    """Gives what answers as `import_path` would, file after file; in the end nothing is kept.

    Until then the person's uploads wait. Raises ArchiveBusyError while imports are running.
    """

    def preview_path(
        *,
        user_id: UUID,
        path: Path,
        wanted: Wanted = AS_THE_FILE_SAYS,
        report: Report | None = None,
    ) -> FileResult:
        with _recognised(path, wanted) as snapshot, acting_as(user_id):
            return _read_now(user_id, path, snapshot, "", wanted, report)

    with acting_as(user_id):
        # Alone: what is written here and rolled back must keep nobody waiting.
        if not try_lock(f"archive-use:{user_id}"):
            raise ArchiveBusyError("Imports are running: try the dry run when they are done.")
        yield preview_path
        transaction.set_rollback(True)


def keep_upload(
    *, user_id: UUID, upload: IO[bytes], name: str, wanted: Wanted = AS_THE_FILE_SAYS
) -> KeptUpload:
    """Afterwards the bytes of an upload lie in the file storage, outside of any transaction.

    Raises UnknownFormatError and UnsafeArchiveError, and then nothing is stored.
    """
    with snapshot_of_stream(upload) as snapshot:
        _recognise(snapshot, name, wanted)
        stored_as = keep_bytes(user_id, snapshot)
        return KeptUpload(_storable_name(name), snapshot.sha256, snapshot.size, stored_as, wanted)


def start_import(*, user_id: UUID, kept: KeptUpload) -> Import:
    """Afterwards an import of the kept bytes is queued, and a worker reads it soon.

    Raises ArchiveBusyError during a dry run.
    """
    with acting_as(user_id):
        _join_archive(user_id)
        row = Import.objects.create(
            user_id=user_id,
            artifact=_artifact(user_id, kept.sha256, kept.size, kept.stored_as),
            name=kept.name,
            wanted_source=kept.wanted.source,
            wanted_conversation=kept.wanted.conversation,
        )
        enqueue(read_import, str(row.pk))
    return row


@contextmanager
def _recognised(path: Path, wanted: Wanted) -> Iterator[Snapshot]:
    folder = is_state_directory(path)
    taken = pack_folder(path, STATE_FILES) if folder else snapshot_of_path(path)
    with taken as snapshot:
        _recognise(snapshot, _name_of(path), wanted)
        yield snapshot


def _recognise(snapshot: Snapshot, name: str, wanted: Wanted) -> None:
    """Raises UnknownFormatError and UnsafeArchiveError, also for damage in a zip's last member."""
    for _ in parts_of(snapshot.file, name, wanted.source):
        pass
    snapshot.file.seek(0)


def _name_of(path: Path) -> str:
    """Absolute, since the folders above say which session a sub-agent's note belongs to."""
    return _storable_name(str(path.absolute()))


def _storable_name(name: str) -> str:
    # A name need not be Unicode; of a long one the end says more.
    return name.replace("\x00", "").encode(errors="replace").decode()[-LONGEST_NAME:]


def _read_now(
    user_id: UUID,
    path: Path,
    snapshot: Snapshot,
    stored_as: str,
    wanted: Wanted,
    report: Report | None,
) -> FileResult:
    row = Import.objects.create(
        user_id=user_id,
        artifact=_artifact(user_id, snapshot.sha256, snapshot.size, stored_as),
        name=_name_of(path),
        wanted_source=wanted.source,
        wanted_conversation=wanted.conversation,
        status=ImportStatus.RUNNING,
        attempts=1,
    )
    read_into_archive(row, nullcontext(snapshot), report)
    return FileResult.of(row)


def _artifact(user_id: UUID, sha256: bytes, size: int, stored_as: str) -> Artifact:
    artifact, _ = Artifact.objects.get_or_create(
        user_id=user_id, sha256=sha256, defaults={"size": size, "stored_as": stored_as}
    )
    if stored_as not in ("", artifact.stored_as):
        # What lay under the old name is damaged or gone.
        artifact.stored_as = stored_as
        artifact.save(update_fields=["stored_as"])
    return artifact


def _join_archive(user_id: UUID) -> None:
    if not join_archive(user_id):
        raise ArchiveBusyError("A dry run is reading this archive: try again when it is done.")


def retry_imports(*, import_ids: Sequence[UUID]) -> int:
    """Afterwards those of the imports that had failed are queued again; returns how many.

    Runs as whoever calls: a person within `acting_as`, or the operator.
    """
    with transaction.atomic(using=current_alias()):
        failed = Import.objects.filter(pk__in=import_ids).failed().select_for_update(of=("self",))
        rows = list(failed.order_by("pk"))
        Import.objects.filter(pk__in=[row.pk for row in rows]).queue_again()
        for row in rows:
            enqueue(read_import, str(row.pk), actor=row.user_id)
    return len(rows)
