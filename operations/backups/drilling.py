"""A drill: a backup is restored beside everything else, and the copy is questioned."""

import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage, Storage, default_storage, storages
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.data_keys import keys_in_use
from audit.choices import SecurityKind
from audit.recording import record
from common.bootstrap import database_name, led_to
from common.errors import DomainError
from common.tenancy import as_operator
from dedup.models import Import
from operations.backups.making import make_backup
from operations.backups.places import find_backup, reading, root
from operations.backups.restoring import Copy, complete_copy, restored_copy
from operations.backups.verifying import require_whole

FILE_NAME = "drills.jsonl"
SCRATCH = ".drill-"


@dataclass
class Drill:
    """One drill: how long each step took, and what went wrong."""

    begun_at: datetime
    backup: str = ""
    steps: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    owners: int = 0
    rows: int = 0
    keys: int = 0
    files: int = 0

    @property
    def passed(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"begun_at": self.begun_at.isoformat(), "passed": self.passed}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.steps[name] = round(time.monotonic() - begun, 3)


def run_drill(name: str = "") -> Drill:
    """Afterwards it is known, and noted, whether the backup (or a new one) can be restored.

    The database and the files that serve are not touched, and nothing of the copy is left.
    """
    drill = Drill(timezone.now())
    try:
        _rehearse(drill, name)
    except DomainError as error:
        drill.problems.append(error.detail)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the drill has found
        first = (str(error).splitlines() or [""])[0]
        drill.problems.append(f"{type(error).__name__}: {first}")
    _note(drill)
    record(
        SecurityKind.DRILL_RUN,
        details={"backup": drill.backup, "passed": drill.passed, "problems": len(drill.problems)},
    )
    return drill


def last_drill() -> Drill | None:
    """The latest drill, passed or not, if this process may look for it."""
    try:
        lines = (Path(settings.BACKUP_DIR) / FILE_NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            said = json.loads(line)
            del said["passed"]
            return Drill(**said | {"begun_at": datetime.fromisoformat(said["begun_at"])})
        except (ValueError, KeyError, TypeError):
            # A kill may have cut it short.
            continue
    return None


def _rehearse(drill: Drill, name: str) -> None:
    if not name:
        with drill.step("backup"):
            name = make_backup(label="drill").manifest.name
    backup = find_backup(name)
    drill.backup = backup.name
    with ExitStack() as used:
        used.enter_context(reading())
        with drill.step("verify"):
            manifest = require_whole(backup)
        with drill.step("database"):
            copy = used.enter_context(restored_copy(backup, manifest, database_name()))
        storage = used.enter_context(_scratch_storage())
        drill.rows, drill.files = copy.manifest.rows, copy.manifest.files
        with _storage_led_to(storage):
            with drill.step("files"):
                complete_copy(copy)
            with led_to(copy.name):
                _question(drill, copy)


def _question(drill: Drill, copy: Copy) -> None:
    with as_operator("recovery drill: whose archives there are"):
        owners = sorted(set(Import.objects.values_list("user__username", flat=True)))
    drill.owners = len(owners)
    if copy.pending_migrations:
        drill.problems.append("The backup is of an older version: its archives were not verified.")
        return
    with drill.step("keys"):
        drill.keys = copy.keys
        drill.problems += _problems_of_keys()
    with drill.step("verify_archive"):
        for owner in owners:
            _call(drill, "verify_archive", owner=owner, reason="recovery drill")
    with drill.step("audit_verify"):
        _call(drill, "audit_verify")


def _problems_of_keys() -> list[str]:
    """One of each kind is opened: by each key of the house, or of KMS, that wraps any."""
    with as_operator("recovery drill: whether the keys open anything"):
        return [use.problem for use in keys_in_use() if use.problem]


def _call(drill: Drill, command: str, **options: str) -> None:
    """What the command found wrong is a problem of the drill."""
    complaints = io.StringIO()
    try:
        call_command(command, stdout=io.StringIO(), stderr=complaints, **options)
    except CommandError as error:
        drill.problems.append(f"{command}: {error}")
    except SystemExit as end:
        if end.code:
            found = complaints.getvalue().splitlines() or ["it found something wrong."]
            drill.problems += [f"{command}: {line}" for line in found]


@contextmanager
def _scratch_storage() -> Iterator[Storage]:
    """An empty storage beside the backups, where there is room for what they hold."""
    # Of drills that were killed: no other one lives while we restore.
    for leftover in root().glob(f"{SCRATCH}*"):
        shutil.rmtree(leftover)
    folder = tempfile.mkdtemp(prefix=SCRATCH, dir=root())
    try:
        yield FileSystemStorage(
            location=folder, file_permissions_mode=0o600, directory_permissions_mode=0o700
        )
    finally:
        shutil.rmtree(folder)


@contextmanager
def _storage_led_to(storage: Storage) -> Iterator[None]:
    """Within the block the default storage of this process is another one."""
    # Django has no door for this: one is the name that code imports, the other is asked by alias.
    usual = default_storage._wrapped  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    usual_of_alias = storages["default"]
    default_storage._wrapped = storage  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    storages._storages["default"] = storage  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    try:
        yield
    finally:
        default_storage._wrapped = usual  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        storages._storages["default"] = usual_of_alias  # type: ignore[attr-defined]  # noqa: SLF001 - see above


def _note(drill: Drill) -> None:
    descriptor = os.open(root() / FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(drill.as_json()).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
