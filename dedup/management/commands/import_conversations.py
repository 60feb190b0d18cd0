import json
import shutil
import signal
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError

from audit.choices import SecurityKind
from dedup.choices import Source
from dedup.doors import add_owner_argument, told_owner
from dedup.errors import ArchiveBusyError
from dedup.exports import EXPORT_SUFFIXES, Export, count_others_below, find_exports
from dedup.folders import processes_for, read_exports
from dedup.management.commands._lines import (
    line_of_conversation,
    line_of_file,
    line_of_totals,
    lines_of_report,
)
from dedup.management.commands._progress import progress_bar
from dedup.outcomes import Order, Outcome, Outcomes
from dedup.services import Wanted, preview
from dedup.watching import Watch

INTERRUPTED = 130
LEAST_FREE_BYTES = 100_000_000
# As the database holds it.
LONGEST_KEY = 500


class Command(BaseCommand):
    help = (
        "Import conversation exports: files, or folders with all that is below them, such as "
        "~/.claude/projects. Importing the same again adds nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", metavar="PATH", type=Path)
        add_owner_argument(parser)
        parser.add_argument(
            "--conversation",
            type=_conversation_key,
            metavar="KEY",
            help="file the one file under this conversation, whatever the file says",
        )
        parser.add_argument(
            "--source",
            choices=Source.values,
            default="",
            help="read files as exports of this source, whatever their names",
        )
        parser.add_argument(
            "--workers",
            type=_positive,
            metavar="N",
            help="processes that read (the number of cores, at most 4, for folders worth it)",
        )
        parser.add_argument(
            "--watch", action="store_true", help="go on importing what changes, until Ctrl-C"
        )
        parser.add_argument(
            "--poll", action="store_true", help="watch by looking again and again (network drives)"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="report what would come in, and keep nothing"
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object, or one a line with --watch"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        paths = [path.expanduser() for path in options["paths"]]
        _refuse_contradictions(paths, options)
        _require_room()
        wanted = Wanted(options["source"], options["conversation"] or "")
        owner = told_owner(options, SecurityKind.OPERATOR_ACTED, "import")
        order = Order(owner.pk, wanted)
        with _sigterm_as_interrupt():
            if options["watch"]:
                self._watch(paths, order, options)
            else:
                self._import(paths, order, options)

    # --- Once -----------------------------------------------------------------------------------

    def _import(self, paths: list[Path], order: Order, options: dict[str, Any]) -> None:
        outcomes = Outcomes()
        any_name = bool(order.wanted.source)
        dry, others = options["dry_run"], 0
        try:
            exports = list(find_exports(paths, outcomes.refuse, of_any_name=any_name))
            if order.wanted.conversation and len(exports) != 1:
                raise CommandError(
                    "--conversation says where one file belongs, and"
                    f" {len(exports) or 'none'} {'were' if exports else 'was'} found."
                )
            if not any_name:
                others = sum(count_others_below(path) for path in paths)
            processes = 1 if dry else processes_for(exports, options["workers"])
            with preview(user_id=order.user_id) if dry else nullcontext() as read:
                _read(exports, order, processes, outcomes.take, read)
        except KeyboardInterrupt:
            # What was being read is rolled back; what was read before is whole.
            outcomes.interrupted = True
        except ArchiveBusyError as error:
            raise CommandError(error.detail) from error
        if options["json"]:
            report = {**outcomes.as_json(), "others": others}
            self.stdout.write(json.dumps(report, indent=2))
        else:
            self._print(outcomes, others, dry=dry)
        self._end(outcomes, dry=dry)

    def _print(self, outcomes: Outcomes, others: int, *, dry: bool) -> None:
        for conversation in outcomes.conversations:
            self.stdout.write(line_of_conversation(conversation))
        for result in outcomes.results:
            for line in lines_of_report(result):
                self.stdout.write(line)
        self.stdout.write(line_of_totals(outcomes))
        if dry:
            self.stdout.write("This was a dry run: nothing was kept.")
        for path, reason in outcomes.skipped:
            self._warn(f"{path}: skipped. {reason}")
        if not (outcomes.read or outcomes.skipped or outcomes.errors):
            self._warn("Nothing was found that looks like an export.")
        if others:
            ends = ", ".join(EXPORT_SUFFIXES)
            self._warn(f"Not looked into, since their names end with none of {ends}: {others}.")

    def _end(self, outcomes: Outcomes, *, dry: bool) -> None:
        for path, reason in outcomes.errors:
            self.stderr.write(self.style.ERROR(f"{path}: {reason}"))
        if outcomes.interrupted:
            kept = "nothing was kept" if dry else "what is listed is kept"
            self.stderr.write(f"Interrupted: {kept}, the rest was not begun.")
            raise SystemExit(INTERRUPTED)
        if outcomes.errors:
            raise SystemExit(1)

    def _warn(self, line: str) -> None:
        self.stderr.write(line, self.style.WARNING)

    # --- For ever -------------------------------------------------------------------------------

    def _watch(self, folders: list[Path], order: Order, options: dict[str, Any]) -> None:
        files = new = 0

        def tell(outcome: Outcome) -> None:
            nonlocal files, new
            if outcome.result:
                files, new = files + 1, new + outcome.result.counts.new_messages
            self._tell(outcome, as_json=options["json"])

        def read_many(exports: list[Export], take: Callable[[int, Outcome], None]) -> None:
            _read(exports, order, processes_for(exports, options["workers"]), take)

        try:
            Watch(
                _outermost(folders),
                order,
                tell=tell,
                note=self._note,
                read_many=read_many,
                polling=options["poll"],
            ).run()
        except KeyboardInterrupt:
            pass
        except OSError as error:
            raise CommandError(
                f"The folders cannot be watched: {error}. --poll does without the system's help."
            ) from error
        if options["json"]:
            self._say({"event": "stopped", "files": files, "new_messages": new})
        else:
            self.stdout.write(f"Stopped: {files} files imported, {new} new messages.")
            self.stdout.flush()

    def _tell(self, outcome: Outcome, *, as_json: bool) -> None:
        if as_json:
            event = "imported" if outcome.result else "skipped" if outcome.skipped else "failed"
            self._say({"event": event, **outcome.as_json()})
        elif outcome.result:
            self.stdout.write(line_of_file(outcome.result))
            for line in lines_of_report(outcome.result):
                self.stdout.write(line)
            self.stdout.flush()
        elif outcome.skipped:
            self._warn(f"{outcome.path}: skipped. {outcome.skipped}")
        else:
            self.stderr.write(self.style.ERROR(f"{outcome.path}: {outcome.error}"))

    def _say(self, event: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(event))
        self.stdout.flush()

    def _note(self, sentence: str) -> None:
        self._warn(sentence)


def _read(
    exports: list[Export],
    order: Order,
    processes: int,
    take: Callable[[int, Outcome], None],
    read: Any = None,
) -> None:
    with progress_bar(exports) as hear:

        def take_and_show(number: int, outcome: Outcome) -> None:
            take(number, outcome)
            hear(number, None)

        read_exports(exports, order, processes=processes, hear=hear, take=take_and_show, read=read)


def _refuse_contradictions(paths: list[Path], options: dict[str, Any]) -> None:
    """Before anything is read: what does not go together, and paths that are not there."""
    for path in paths:
        if not path.exists():
            raise CommandError(f"{path} does not exist.")
        if options["watch"] and not path.is_dir():
            raise CommandError(f"{path} is a file: --watch watches folders.")
    for name in ("conversation", "dry_run"):
        if options["watch"] and options[name]:
            raise CommandError(f"--watch and --{name.replace('_', '-')} do not go together.")
    if options["poll"] and not options["watch"]:
        raise CommandError("--poll says how to watch: it needs --watch.")


def _require_room() -> None:
    """Of an object store nobody can say how much room there is."""
    try:
        folder = Path(default_storage.path(""))
    except NotImplementedError:
        return
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise CommandError(
            f"Only {free // 1_000_000} MB are free where the imported files are kept ({folder}):"
            f" at least {LEAST_FREE_BYTES // 1_000_000} MB are needed. Nothing was imported."
        )


def _outermost(folders: list[Path]) -> list[Path]:
    """Absolute, and without folders that lie in another one of them."""
    kept: list[Path] = []
    for folder in sorted((folder.absolute() for folder in folders), key=lambda f: len(f.parts)):
        if not any(folder.resolve().is_relative_to(other.resolve()) for other in kept):
            kept.append(folder)
    return kept


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """A service manager ends a command so, and it is to end in the same order as by Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _conversation_key(text: str) -> str:
    key = text.strip()
    if not key or "\x00" in key or len(key) > LONGEST_KEY:
        raise ArgumentTypeError(f"a key of 1 to {LONGEST_KEY} characters is needed")
    return key


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("a number of at least 1 is needed")
    return int(text)
