"""Whether the files of the stream are what was written: whole, in order, unchanged."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from django.core.files.storage import default_storage

from audit.exporting import FOLDER
from audit.lines import BEGINNING, hash_of
from audit.models import ExportBatch
from common.storage import names_below
from common.tenancy import as_operator

FILE_NAME = re.compile(r"(\d{12})\.jsonl$")


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
    """What was looked at, what was found, and the hash that the stream ends with."""

    files: int = 0
    lines: int = 0
    head: str = BEGINNING.hex()
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
    with as_operator("verify the stream"):
        batches = list(ExportBatch.objects.written().order_by("sequence"))
        planned = {batch.sequence for batch in ExportBatch.objects.planned()}
    report.problems += unknown_files({batch.sequence for batch in batches} | planned)
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
    return report


class Chain:
    """The files one after the other, each line following the one before."""

    def __init__(self, known_head: tuple[int, str] | None) -> None:
        self.head, self.lines = BEGINNING, 0
        self.met_known_head = False
        self._known_head = known_head

    def follow(self, batch: ExportBatch) -> Iterator[Problem]:
        """What is wrong with the next file; afterwards the chain stands at its end."""
        try:
            with default_storage.open(batch.stored_as, "rb") as file:
                yield from self._read(batch, file)
        except FileNotFoundError:
            yield Problem(batch.stored_as, None, "the file is missing")
        # What follows is compared with what was written, so that one fault is told once.
        self.head = bytes(batch.head or b"")
        self.lines = batch.first_line + batch.lines - 1

    def _read(self, batch: ExportBatch, file: Any) -> Iterator[Problem]:
        digest, found = hashlib.sha256(), False
        expected = batch.first_line
        for place, text in enumerate(file, 1):
            digest.update(text)
            line = parsed(text)
            if line is None:
                found = True
                yield Problem(batch.stored_as, place, "it is no line of the stream")
                continue
            if what := self._fault_of(line, expected):
                found = True
                yield Problem(batch.stored_as, place, what)
            expected = line["n"] + 1
            self.head = bytes.fromhex(line["hash"])
            self.met_known_head |= (line["n"], line["hash"]) == self._known_head
        end = batch.first_line + batch.lines
        if expected < end:
            found = True
            yield Problem(batch.stored_as, None, missing(expected, end - 1))
        if not found and digest.digest() != bytes(batch.sha256 or b""):
            yield Problem(batch.stored_as, None, "it is not the file that was written")

    def _fault_of(self, line: dict[str, Any], expected: int) -> str:
        if hash_of(line).hex() != line["hash"]:
            return f"line {line['n']} of the stream was changed"
        if line["n"] > expected:
            return missing(expected, line["n"] - 1) + " before it"
        if line["n"] < expected:
            return f"line {line['n']} of the stream does not belong here"
        if line["previous"] != self.head.hex():
            return f"it does not follow line {expected - 1}: one of the two was written anew"
        return ""


def missing(first: int, last: int) -> str:
    if first == last:
        return f"line {first} of the stream is missing"
    return f"lines {first} to {last} of the stream are missing"


def parsed(text: bytes) -> dict[str, Any] | None:
    """The line, if it has what every line has."""
    try:
        line = json.loads(text)
        bytes.fromhex(line["hash"])
        int(line["n"])
        str(line["previous"])
    except (ValueError, TypeError, KeyError):
        return None
    return line if isinstance(line, dict) else None


def unknown_files(known: set[int]) -> Iterator[Problem]:
    """Files of the stream that no row tells of."""
    for name in names_below(FOLDER):
        match = FILE_NAME.search(name)
        if match is None or int(match[1]) not in known:
            yield Problem(name, None, "nothing was written under this name")
