import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db.models import F, Min, Q

from accounts.doors import reason_for
from audit.choices import SecurityKind
from audit.recording import record_for_each
from common.locks import lift_time_limit, lock
from common.tenancy import acting_as, as_operator
from dedup.choices import Source
from dedup.doors import add_owner_argument, owner_of
from dedup.models import Conversation
from dedup.querysets import OwnedQuerySet
from dedup.rendering import (
    MERGEABLE,
    Branch,
    Form,
    file_name,
    render_conversation,
    render_conversations,
)

INTERRUPTED = 130
STANDARD_OUTPUT = "-"
MERGED_NAME = "conversations"
CHARACTERS_AT_ONCE = 1 << 20


class Command(BaseCommand):
    help = (
        "Write conversations as documents to read: one file for each, or one for all with "
        "--merge. Secrets are masked. Repeating it writes the same files again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_owner_argument(parser)
        parser.add_argument("--form", choices=Form.values, default=Form.MARKDOWN.value)
        parser.add_argument(
            "--output",
            default="conversations",
            metavar="DIR",
            help="folder to write to, - for standard output (conversations)",
        )
        parser.add_argument(
            "--branch",
            choices=["all", "active"],
            default="all",
            help="active leaves out the branches that were not gone on with",
        )
        parser.add_argument("--reveal-secrets", action="store_true", help="mask no secrets")
        parser.add_argument("--source", choices=Source.values, help="only those of this source")
        parser.add_argument(
            "--conversation",
            action="extend",
            nargs="+",
            metavar="KEY-OR-ID",
            help="only those with this id, or with this key at their source",
        )
        parser.add_argument(
            "--merge", action="store_true", help="one Markdown or JSON file, in order of time"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        form, output = Form(options["form"]), options["output"]
        if options["merge"] and form not in MERGEABLE:
            raise CommandError("--merge makes Markdown or JSON: choose one of them with --form.")
        owner = owner_of(options["owner"])
        reason = reason_for(owner, options["reason"]) or "export by command"
        chosen = _chosen(owner.pk, options["source"], options["conversation"])
        if output == STANDARD_OUTPUT and len(chosen) != 1 and not options["merge"]:
            raise CommandError(
                f"{len(chosen)} conversations are chosen, and standard output takes one document:"
                " name one with --conversation, or add --merge."
            )
        revealed: bool = options["reveal_secrets"]
        with as_operator(reason):
            record_for_each(
                SecurityKind.SECRETS_REVEALED if revealed else SecurityKind.DATA_EXPORTED,
                [owner.pk],
                subject="dedup_conversation",
                details={"action": "export", "form": form, "conversations": len(chosen)},
                required=True,
            )
        write = Writing(owner.pk, form, options["branch"], revealed=revealed)
        try:
            if output == STANDARD_OUTPUT:
                self._print(write, chosen, merge=options["merge"])
            else:
                self._write(write, chosen, Path(output).expanduser(), merge=options["merge"])
        except KeyboardInterrupt:
            self.stderr.write(
                "Interrupted: the files that are listed are whole, no other was made."
            )
            raise SystemExit(INTERRUPTED) from None
        except OSError as error:
            raise CommandError(f"It cannot be written: {error.strerror or error}.") from error

    def _print(self, write: "Writing", chosen: Sequence[UUID], *, merge: bool) -> None:
        # Whole before any of it is shown: who reads may take his time, and holds up nobody.
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as file:
            if merge:
                write.merged(chosen, file)
            else:
                write.one(chosen[0], file)
            file.seek(0)
            while text := file.read(CHARACTERS_AT_ONCE):
                self.stdout.write(text, ending="")

    def _write(
        self, write: "Writing", chosen: Sequence[UUID], folder: Path, *, merge: bool
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if merge:
            with new_file(folder) as (file, keep):
                write.merged(chosen, file)
                self.stdout.write(str(keep(f"{MERGED_NAME}.{write.form.suffix}")))
        else:
            for conversation in chosen:
                with new_file(folder) as (file, keep):
                    name = write.one(conversation, file)
                    self.stdout.write(str(keep(name)))
        self.stdout.write(f"{len(chosen)} conversations written.")


@dataclass(frozen=True)
class Writing:
    """Writes documents of one person's conversations."""

    owner: UUID
    form: Form
    branch: Branch
    revealed: bool

    def one(self, conversation_id: UUID, file: IO[str]) -> str:
        """Afterwards the document is in the file; returns the name that the file should have."""
        with self._reading():
            conversation = Conversation.objects.visible_to(self.owner).get(pk=conversation_id)
            file.writelines(
                render_conversation(
                    conversation, self.form, branch=self.branch, revealed=self.revealed
                )
            )
            return file_name(conversation, self.form)

    def merged(self, conversation_ids: Sequence[UUID], file: IO[str]) -> None:
        """Afterwards the document of all of them is in the file."""
        with self._reading():
            rows = Conversation.objects.visible_to(self.owner)
            file.writelines(
                render_conversations(
                    (rows.get(pk=pk) for pk in conversation_ids),
                    self.form,
                    branch=self.branch,
                    revealed=self.revealed,
                )
            )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with acting_as(self.owner):
            lift_time_limit()
            # An import that moved messages meanwhile would repeat some and leave out others.
            lock(f"archive:{self.owner}")
            yield


@contextmanager
def new_file(folder: Path) -> Iterator[tuple[IO[str], Callable[[str], Path]]]:
    """A file for its owner's eyes, and what gives it its name at once when it is whole.

    Without a name it is gone in the end.
    """
    file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed below, before it is renamed
        "w", encoding="utf-8", newline="", prefix=".", suffix=".part", dir=folder, delete=False
    )

    def keep(name: str) -> Path:
        file.close()
        return Path(file.name).replace(folder / name)

    try:
        with file:
            yield file, keep
    finally:
        Path(file.name).unlink(missing_ok=True)


def _chosen(owner: UUID, source: str | None, names: Sequence[str] | None) -> list[UUID]:
    """The conversations in order of time; of merged ones those that they are a part of.

    Raises CommandError for a name that none has.
    """
    with acting_as(owner):
        lift_time_limit()
        rows = Conversation.objects.visible_to(owner)
        if source:
            rows = rows.filter(source=source)
        whole = rows.filter(merged_into=None)
        if names is not None:
            whole = whole.filter(pk__in=[pk for name in names for pk in _named(rows, name)])
        timed = whole.annotate(began=Min("segments__placements__message__sent_at"))
        ordered = timed.order_by(F("began").asc(nulls_last=True), "created_at", "pk")
        return list(ordered.values_list("pk", flat=True))


def _named(rows: OwnedQuerySet[Conversation], name: str) -> list[UUID]:
    is_it = Q(native_key=name)
    with suppress(ValueError):
        is_it |= Q(pk=UUID(name))
    found = [row.merged_into_id or row.pk for row in rows.filter(is_it)]
    if not found:
        raise CommandError(f"There is no conversation {name}.")
    return found
