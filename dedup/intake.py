"""One file on its way into the archive: staged part after part, and merged."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import IO
from uuid import UUID

from common.locks import lock
from dedup.artifacts import Snapshot
from dedup.beginnings import Beginning, beginning_of, extend_reach
from dedup.choices import Operation, Source
from dedup.conversations import (
    count_messages,
    describe_conversations,
    ensure_conversations,
    find_conversations,
    merge_conversations,
)
from dedup.errors import SeveralConversationsError
from dedup.formats.contract import ParsedRecord
from dedup.formats.legacy_check import check_state
from dedup.matching import Found, Matcher
from dedup.merging import MergeCounts, Target, merge_staged
from dedup.models import Conversation, DeduplicationLog, Import, savings
from dedup.reading import Part, is_zipped, member_opener, parts_of
from dedup.records import StoredRecord, stored_record
from dedup.staging import StagedConversation, stage
from dedup.statements import rows

Report = Callable[[int, int], None]

COUNT = """
    SELECT count(*) FILTER (WHERE unreadable), max(sent_at) FROM staged
"""


class Intake:
    """The work of one import. Its row gets the counts, the log a line for each conversation."""

    def __init__(self, row: Import, snapshot: Snapshot, report: Report, started: float) -> None:
        self._row = row
        self._snapshot = snapshot
        self._report = report
        self._started = started
        self._zipped = is_zipped(snapshot.file)
        self._digest = hashlib.sha256()
        self._records = 0
        self._bytes = 0
        self._beginning: Beginning | None = None
        self._brought: dict[UUID, MergeCounts] = {}
        self._emptied: set[UUID] = set()

    def read(self) -> None:
        """Afterwards everything in the file is kept. Needs an open transaction."""
        row, file = self._row, self._snapshot.file
        for part in parts_of(file, row.name, row.wanted_source):
            if part.kind and not row.source:
                row.source, row.parser_version = part.kind.source, part.kind.parser_version
            self._keep(part, self._unkept(part))
        if self._zipped:
            row.content_sha256 = self._digest.digest()
        if row.source == Source.LEGACY_STATE:
            with member_opener(file, row.name) as open_member:
                row.report = check_state(open_member)
        self._account()

    def _unkept(self, part: Part) -> Iterable[ParsedRecord]:
        """The records of a part that are not known to be kept."""
        if self._zipped:
            return part.records()
        beginning = self._beginning = beginning_of(self._row, self._snapshot, part)
        if beginning is None:
            self._snapshot.file.seek(0)
            return part.records()
        shorter = self._row.extends = beginning.row
        self._records, self._bytes = shorter.records, shorter.artifact.size
        self._row.unreadable_records = shorter.unreadable_records
        self._row.last_sent_at = shorter.last_sent_at
        for line in DeduplicationLog.objects.filter(import_row=shorter):
            self._brought[line.conversation_id] = MergeCounts(messages=line.messages_processed)
        return beginning.rest

    def _keep(self, part: Part, records: Iterable[ParsedRecord]) -> None:
        row = self._row
        if row.wanted_conversation:
            records = _filed_under(row.wanted_conversation, records)
        staged = stage(map(stored_record, records), self._records, self._hear)
        # What two files share the later one must see, under whatever id and in whatever
        # conversation: files are parsed side by side, and merged one after the other.
        lock(f"archive:{row.user_id}")
        source = part.kind.source if part.kind else Source(row.source)
        found = _found(row, source, staged)
        describe_conversations([(match.known_id, match.conversation) for match in found])
        beginnings = self._beginning.imports if self._beginning else ()
        brought = merge_staged(Target(row.user_id, row.pk, source, beginnings), found)
        for conversation in dict.fromkeys(match.known_id for match in found):
            self._add(conversation, brought.get(conversation, MergeCounts()))
        for match in found:
            if match.parts:
                merge_conversations(match.known_id, match.parts)
                self._emptied.update(match.parts)
        ((unreadable, last_sent_at),) = rows(COUNT)
        row.unreadable_records += unreadable
        row.last_sent_at = max(filter(None, [row.last_sent_at, last_sent_at]), default=None)

    def _hear(self, record: StoredRecord) -> None:
        self._records += 1
        self._bytes += len(record.raw)
        if self._zipped:
            self._digest.update(record.raw)
        self._report(self._records, min(self._bytes, self._snapshot.size))

    def _add(self, conversation: UUID, counts: MergeCounts) -> None:
        self._brought[conversation] = self._brought.get(conversation, MergeCounts()).plus(counts)

    def _account(self) -> None:
        """Bring the statistics up to date and write the log."""
        row = self._row
        totals = MergeCounts()
        for counts in self._brought.values():
            totals = totals.plus(counts)
        row.records = self._records
        row.messages_in_export = totals.messages
        row.new_messages = totals.new
        row.revisions = totals.revisions
        row.duplicates_filtered = totals.duplicates
        row.content_collisions = totals.collisions
        row.reaches_at = row.last_sent_at
        if self._beginning:
            extend_reach(row, self._beginning)
        count_messages(row.user_id, {*self._brought, *self._emptied})
        write_log(row, self._brought, self._started)


def name_another(row: Import, file: IO[bytes], started: float) -> None:
    """Notes on two sub-agents may have equal bytes: where they lie says which one is meant."""
    if row.messages_in_export or row.wanted_conversation or is_zipped(file):
        return
    (part,) = parts_of(file, row.name, row.wanted_source)
    header = next((record.header for record in part.records() if record.header), None)
    if header is None or not header.declared:
        return
    lock(f"archive:{row.user_id}")
    if not Conversation.objects.filter(native_key=header.key, title=header.title).exists():
        staged = [StagedConversation(0, header)]
        found = _found(row, Source(row.source), staged)
        describe_conversations([(match.known_id, match.conversation) for match in found])
        brought = {match.known_id: MergeCounts() for match in found}
        count_messages(row.user_id, brought)
        write_log(row, brought, started)


def write_log(row: Import, brought: dict[UUID, MergeCounts], started: float) -> None:
    milliseconds = round((time.perf_counter() - started) * 1000)
    migrated = row.source == Source.LEGACY_STATE
    DeduplicationLog.objects.bulk_create(
        DeduplicationLog(
            user_id=row.user_id,
            import_row=row,
            conversation_id=conversation,
            operation=Operation.MIGRATE if migrated else Operation.PROCESS_EXPORT,
            messages_processed=counts.messages,
            new_messages=counts.new,
            duplicates_filtered=counts.duplicates,
            revisions=counts.revisions,
            content_collisions=counts.collisions,
            storage_savings_pct=savings(counts.messages, counts.new + counts.revisions),
            processing_time_ms=milliseconds,
        )
        for conversation, counts in brought.items()
    )


def _found(row: Import, source: Source, staged: Sequence[StagedConversation]) -> list[Found]:
    """Afterwards every staged conversation has a row, and every staged message an id."""
    unkeyed = [conversation for conversation in staged if conversation.unkeyed]
    certain = {entry.header.key for entry in staged if entry.header.certain}
    known = ensure_conversations(row.user_id, source, certain)
    matched: dict[int, Found] = {}
    if unkeyed:
        known |= find_conversations(row.user_id, source, (e.header.key for e in unkeyed))
        matcher = Matcher(row.user_id, row.pk, source)
        matched = {match.conversation.number: match for match in matcher.match(unkeyed, known)}
    unknown = {
        entry.header.key
        for entry in staged
        if entry.header.key not in known
        and (entry.number not in matched or matched[entry.number].conversation_id is None)
    }
    known |= ensure_conversations(row.user_id, source, unknown)
    return [
        replace(match, conversation_id=match.conversation_id or known[entry.header.key])
        for entry in staged
        for match in [matched.get(entry.number, Found(entry, None))]
    ]


def _filed_under(key: str, records: Iterable[ParsedRecord]) -> Iterator[ParsedRecord]:
    """The records with their one conversation renamed. Raises SeveralConversationsError."""
    own = None
    for record in records:
        if record.header is None:
            yield record
            continue
        own = own or record.header
        if record.header.key != own.key:
            raise SeveralConversationsError(
                f"The file holds {own.key}, {record.header.key} and maybe more:"
                " it cannot be filed under one conversation."
            )
        yield replace(record, header=replace(own, key=key, certain=True))
