"""Whether the files of the stream are what was written: whole, in order, unchanged."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from django.core.files.storage import default_storage

from audit.batches import FOLDER
from audit.errors import StreamBrokenError
from audit.exporting import is_in_the_way, stream_lag
from audit.lines import BEGINNING, is_unchanged, parsed
from audit.models import ExportBatch
from common.locks import lift_time_limit
from common.storage import names_below
from common.tenancy import as_operator


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was written; `line` counts from 1 within the file."""

    file: str
    line: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f', line {self.line}'}: {self.what}"


@dataclass
class StreamReport:
    """What was looked at, what was found, and the hash that the stream ends with.

    How long the oldest event waits for its file is not known of a stream that cannot go on.
    """

    files: int = 0
    lines: int = 0
    head: str = BEGINNING.hex()
    lag_seconds: float | None = None
    problems: list[Problem] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def verify_stream(*, known_head: tuple[int, str] | None = None) -> StreamReport:
    """Every file of the stream, compared line by line with its hashes and with what its row says.

    `known_head`, the number and the hash of a line that somebody noted elsewhere, must be part
    of the stream: without it nobody can tell a stream that was written anew as a whole, rows
    included, from the one that was.
    """
    report = StreamReport()
    # Before the rows: an exporter at work plans first and writes then.
    stored = list(names_below(FOLDER))
    with as_operator("verify the stream"):
        batches = list(ExportBatch.objects.written().order_by("sequence"))
        known = set(ExportBatch.objects.values_list("stored_as", flat=True))
        lift_time_limit()
        in_the_way = [batch for batch in ExportBatch.objects.planned() if is_in_the_way(batch)]
    report.problems += [
        Problem(name, None, "nothing was written under this name")
        for name in stored
        if name not in known
    ]
    report.problems += [
        Problem(batch.stored_as, None, "it is in the way: other lines are to be written there")
        for batch in in_the_way
    ]
    chain = Chain(known_head)
    for expected, batch in enumerate(batches, 1):
        if batch.sequence != expected:
            report.problems.append(
                Problem(batch.stored_as, None, f"the row of file {expected} is missing")
            )
            break
        report.problems += chain.follow(batch)
    report.files, report.lines = len(batches), chain.lines
    report.head = chain.head.hex()
    if known_head and not chain.met_known_head:
        number, _ = known_head
        report.problems.append(Problem(FOLDER, None, f"line {number} has not the noted hash"))
    try:
        with as_operator("verify the stream"):
            report.lag_seconds = round(stream_lag(), 3)
    except StreamBrokenError as error:
        report.problems.append(Problem(FOLDER, None, error.detail))
    return report


class Chain:
    """The files one after the other, each line following the one before."""

    def __init__(self, known_head: tuple[int, str] | None) -> None:
        self.head, self.lines = BEGINNING, 0
        self.met_known_head = known_head == (0, BEGINNING.hex())
        self._known_head = known_head

    def follow(self, batch: ExportBatch) -> Iterator[Problem]:
        """What is wrong with the next file; afterwards the chain stands at its end."""
        if (batch.first_line, bytes(batch.previous_head)) != (self.lines + 1, self.head):
            yield Problem(batch.stored_as, None, "its row does not follow the row before")
        try:
            with default_storage.open(batch.stored_as, "rb") as file:
                yield from self._read(batch, file)
        except FileNotFoundError:
            yield Problem(batch.stored_as, None, "the file is missing")
        # What follows is compared with what was written, so that one fault is told once.
        self.head = bytes(batch.head or b"")
        self.lines = batch.first_line + batch.lines - 1

    def _read(self, batch: ExportBatch, file: Any) -> Iterator[Problem]:
        digest, found, place = hashlib.sha256(), False, Place(batch)
        for number, text in enumerate(file, 1):
            digest.update(text)
            line = parsed(text)
            if what := place.fault_of(line):
                found = True
                yield Problem(batch.stored_as, number, what)
            elif line:
                self.met_known_head |= (line["n"], line["hash"]) == self._known_head
        if what := place.fault_at_end():
            found = True
            yield Problem(batch.stored_as, None, what)
        if not found and digest.digest() != bytes(batch.sha256 or b""):
            yield Problem(batch.stored_as, None, "it is not the file that was written")


class Place:
    """Where the reading of a file stands: which line is next, and which hash it must follow."""

    def __init__(self, batch: ExportBatch) -> None:
        self._first, self._end = batch.first_line, batch.first_line + batch.lines
        self._next = self._first
        self._head: str | None = bytes(batch.previous_head).hex()
        # Lines since the last good one that may be any: added ones, or those that were here.
        self._doubtful = 0

    def fault_of(self, line: dict[str, Any] | None) -> str:
        """What is wrong with the next line, or ""; a fault is told of one line only."""
        if line is None or not is_unchanged(line):
            self._doubtful += 1
            self._head = None
            return "it is no line of the stream" if line is None else "it was changed"
        number = line["n"]
        if not self._next <= number < self._end:
            return f"line {number} of the stream does not belong here"
        fault = ""
        if number > self._next + self._doubtful:
            fault = missing(self._next + self._doubtful, number - 1) + " before it"
        elif self._head not in (None, line["previous"]):
            fault = f"it does not follow line {number - 1}: one of the two was written anew"
        self._next, self._doubtful, self._head = number + 1, 0, line["hash"]
        return fault

    def fault_at_end(self) -> str:
        if self._next + self._doubtful < self._end:
            return missing(self._next + self._doubtful, self._end - 1)
        return ""


def missing(first: int, last: int) -> str:
    if first == last:
        return f"line {first} of the stream is missing"
    return f"lines {first} to {last} of the stream are missing"
