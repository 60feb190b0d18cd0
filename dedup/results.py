"""What an import brought, as plain data for commands and their JSON."""

from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, field, fields, replace
from functools import reduce
from typing import Any, Self
from uuid import UUID

from dedup.models import DeduplicationLog, Import, savings


@dataclass(frozen=True)
class Counts:
    """What came in: new + duplicates + revisions = messages in the export."""

    messages_in_export: int = 0
    new_messages: int = 0
    duplicates_filtered: int = 0
    content_collisions: int = 0
    revisions: int = 0
    unreadable_records: int = 0
    processing_time_ms: int = 0

    def plus(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def as_json(self) -> dict[str, Any]:
        stored = self.new_messages + self.revisions
        return {**asdict(self), "savings_pct": savings(self.messages_in_export, stored)}


@dataclass(frozen=True)
class ConversationResult:
    """A conversation after an import, and what the import brought to it."""

    id: UUID
    source: str
    native_key: str
    title: str
    watermark: int
    total_unique_messages: int
    counts: Counts = field(default_factory=Counts)

    @classmethod
    def of(cls, line: DeduplicationLog, row: Import) -> Self:
        """Of a file that was imported before the line tells of the first time."""
        new = 0 if row.already_imported else line.new_messages
        revisions = 0 if row.already_imported else line.revisions
        conversation = line.conversation
        return cls(
            id=conversation.pk,
            source=conversation.source,
            native_key=conversation.native_key,
            title=conversation.title,
            watermark=conversation.watermark.highest_index,
            total_unique_messages=conversation.total_messages,
            counts=Counts(
                messages_in_export=line.messages_processed,
                new_messages=new,
                duplicates_filtered=line.messages_processed - new - revisions,
                content_collisions=0 if row.already_imported else line.content_collisions,
                revisions=revisions,
                processing_time_ms=row.processing_time_ms,
            ),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "source": self.source,
            "native_key": self.native_key,
            "title": self.title,
            "watermark": self.watermark,
            "total_unique_messages": self.total_unique_messages,
            **self.counts.as_json(),
        }


@dataclass(frozen=True)
class FileResult:
    """One imported file; `report` is what a legacy state directory was found to be."""

    path: str
    source: str
    sha256: str
    already_imported: bool
    counts: Counts
    conversations: list[ConversationResult]
    report: dict[str, Any]

    @classmethod
    def of(cls, row: Import) -> Self:
        counts = Counts(*(getattr(row, entry.name) for entry in fields(Counts)))
        lines = DeduplicationLog.objects.select_related("conversation__watermark").order_by("pk")
        conversations = [
            ConversationResult.of(line, row)
            for line in lines.filter(import_row=row.pk) or lines.filter(import_row=row.original_id)
        ]
        if len(conversations) == 1:
            conversations = [replace(conversations[0], counts=counts)]
        return cls(
            path=row.name,
            source=row.source,
            sha256=bytes(row.artifact.sha256).hex(),
            already_imported=row.already_imported,
            counts=counts,
            conversations=conversations,
            report=row.report,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "source": self.source,
            "sha256": self.sha256,
            "already_imported": self.already_imported,
            "conversations": [str(conversation.id) for conversation in self.conversations],
            "report": self.report,
            **self.counts.as_json(),
        }


def by_conversation(files: Iterable[FileResult]) -> list[ConversationResult]:
    """The conversations of several files, each once, with the counts of all its files."""
    found: dict[tuple[str, str], ConversationResult] = {}
    for file in files:
        for latest in file.conversations:
            key = (latest.source, latest.native_key)
            counts = found[key].counts if key in found else Counts()
            found[key] = replace(latest, counts=counts.plus(latest.counts))
    return list(found.values())


def totals_of(files: Iterable[FileResult]) -> dict[str, Any]:
    """The sums; copies of a session share messages, which count where they came first."""
    listed = list(files)
    counts = reduce(Counts.plus, (file.counts for file in listed), Counts())
    unique = sum(found.watermark + 1 for found in by_conversation(listed))
    return {**counts.as_json(), "total_unique_messages": unique}
