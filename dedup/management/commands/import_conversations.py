import json
import logging
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from common.errors import DomainError
from dedup.doors import add_owner_argument, owner_of
from dedup.errors import ArchiveBusyError, UnknownFormatError
from dedup.exports import exports_below
from dedup.results import ConversationResult, FileResult, by_conversation, totals_of
from dedup.services import import_path, preview

logger = logging.getLogger(__name__)

INTERRUPTED = 130

Read = Callable[..., FileResult]


class Command(BaseCommand):
    help = (
        "Import conversation exports: files, or folders with all that is below them, such as "
        "~/.claude/projects. Importing the same again adds nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", metavar="PATH", type=Path)
        add_owner_argument(parser)
        parser.add_argument(
            "--dry-run", action="store_true", help="report what would come in, and keep nothing"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        run = Run()
        files = list(_files(options["paths"], run.refuse))
        owner = owner_of(options["owner"])
        reading = preview(user_id=owner.pk) if options["dry_run"] else nullcontext(import_path)
        try:
            with reading as read:
                run.read_all(files, partial(read, user_id=owner.pk))
        except ArchiveBusyError as error:
            raise CommandError(error.detail) from error
        if options["json"]:
            self.stdout.write(json.dumps(run.as_json(), indent=2))
        else:
            self._print(run, dry=options["dry_run"])
        for path, reason in run.errors:
            self.stderr.write(self.style.ERROR(f"{path}: {reason}"))
        if run.interrupted:
            kept = "nothing was kept" if options["dry_run"] else "what is listed is kept"
            self.stderr.write(f"Interrupted: {kept}, the rest was not begun.")
            raise SystemExit(INTERRUPTED)
        if run.errors:
            raise SystemExit(1)

    def _print(self, run: "Run", *, dry: bool) -> None:
        for conversation in by_conversation(run.results):
            self.stdout.write(_line(conversation))
        totals = totals_of(run.results)
        repeated = sum(result.already_imported for result in run.results)
        self.stdout.write(
            f"{len(run.results)} files ({repeated} imported before),"
            f" {totals['messages_in_export']} messages: {totals['new_messages']} new,"
            f" {totals['duplicates_filtered']} kept already, {totals['revisions']} revised,"
            f" {totals['unreadable_records']} unreadable records; saved {totals['savings_pct']} %."
        )
        if dry:
            self.stdout.write("This was a dry run: nothing was kept.")


class Run:
    """One run of the command over its files: results so far, and what failed."""

    def __init__(self) -> None:
        self.results: list[FileResult] = []
        self.skipped: list[tuple[Path, str]] = []
        self.errors: list[tuple[Path, str]] = []
        self.interrupted = False

    def refuse(self, error: OSError) -> None:
        """Note what cannot be read; the rest goes on."""
        self.errors.append((Path(error.filename or ""), f"It cannot be read: {error.strerror}."))

    def read_all(self, files: list[tuple[Path, bool]], read: Read) -> None:
        try:
            self._read_all(files, read)
        except KeyboardInterrupt:
            # The file that was being read is rolled back; those before it are whole.
            self.interrupted = True

    def _read_all(self, files: list[tuple[Path, bool]], read: Read) -> None:
        total = sum(_size(path) for path, _ in files)
        console = Console(stderr=True)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # In a log file it would leave an empty line.
            disable=not console.is_terminal,
        ) as bar:
            task = bar.add_task("", total=total)
            done = 0
            for path, named in files:
                bar.update(task, description=escape(path.name))

                def report(_: int, size: int, before: int = done) -> None:
                    bar.update(task, completed=before + size)

                self._read_one(path, partial(read, report=report), named=named)
                done += _size(path)
                bar.update(task, completed=done)

    def _read_one(self, path: Path, read: Read, *, named: bool) -> None:
        try:
            self.results.append(read(path=path))
        except UnknownFormatError as error:
            # Of a folder nobody said that everything in it is an export.
            (self.errors if named else self.skipped).append((path, error.detail))
        except DomainError as error:
            self.errors.append((path, error.detail))
        except (DatabaseError, psycopg.Error, OSError) as error:
            # The file is rolled back; the others may well be read.
            logger.exception("importing %s", path)
            self.errors.append((path, f"It could not be kept: {type(error).__name__}."))

    def as_json(self) -> dict[str, Any]:
        return {
            "files": [result.as_json() for result in self.results],
            "conversations": [found.as_json() for found in by_conversation(self.results)],
            "totals": totals_of(self.results),
            "skipped": [{"path": str(path), "reason": reason} for path, reason in self.skipped],
            "errors": [{"path": str(path), "reason": reason} for path, reason in self.errors],
            "interrupted": self.interrupted,
        }


def _files(paths: list[Path], refused: Callable[[OSError], None]) -> Iterator[tuple[Path, bool]]:
    """Each export below the paths once, and whether it was named itself."""
    seen: set[Path] = set()
    for path in [path.expanduser() for path in paths]:
        if not path.exists():
            raise CommandError(f"{path} does not exist.")
        for found in exports_below(path, refused):
            real = found.resolve()
            if real not in seen:
                seen.add(real)
                yield found, found == path


def _size(path: Path) -> int:
    """In bytes; 0 for a file that has gone meanwhile."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _line(conversation: ConversationResult) -> str:
    counts = conversation.counts
    return (
        f"{conversation.title or conversation.native_key}: {counts.messages_in_export} messages,"
        f" {counts.new_messages} new, {counts.duplicates_filtered} kept already,"
        f" {counts.revisions} revised; {conversation.total_unique_messages} in all"
    )
