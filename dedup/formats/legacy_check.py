"""Do the three files of a legacy state directory agree with one another?"""

import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from dedup.formats.legacy_state import (
    HASHES,
    LARGEST_FILE,
    LOG,
    WATERMARKS,
    read_hashes,
    read_row,
    read_watermarks,
)
from dedup.formats.values import lines_of

MISMATCHES_LISTED = 100
READ_ERRORS = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


def check_state(open_member: Callable[[str], IO[bytes] | None]) -> dict[str, Any]:
    """What the three files say of each other.

    `open_member` opens a file of the directory by its name, or gives None if there is none; it
    closes what it opened.
    A missing or damaged file is a finding. A damaged line of the log makes the log damaged, and
    the other lines are checked all the same.
    """
    check = _StateCheck()
    check.read_log(open_member)
    watermarks = check.read_whole(open_member, WATERMARKS, read_watermarks)
    hashes = check.read_whole(open_member, HASHES, read_hashes)
    return check.report(watermarks, hashes)


@dataclass(slots=True)
class _StateCheck:
    messages: int = 0
    unreadable_lines: int = 0
    mismatched: int = 0
    mismatches: list[dict[str, Any]] = field(default_factory=list)
    hashes_of: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    highest_of: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def read_log(self, open_member: Callable[[str], IO[bytes] | None]) -> None:
        try:
            file = open_member(LOG)
            if file is None:
                self.missing.append(LOG)
                return
            for number, raw in enumerate(lines_of(file), start=1):
                self._read_line(raw, number)
        except READ_ERRORS:
            self.unreadable_lines += 1
        if self.unreadable_lines:
            self.damaged.append(LOG)

    def _read_line(self, raw: bytes, number: int) -> None:
        row = read_row(raw)
        if row is None:
            self.unreadable_lines += bool(raw.strip())
            return
        conversation = row.conversation
        self.messages += 1
        if row.content_hash:
            self.hashes_of[conversation].add(row.content_hash)
        # Without an index a message counted as the first.
        index = row.index or 0
        self.highest_of[conversation] = max(index, self.highest_of.get(conversation, index))
        if not row.verified:
            self.mismatched += 1
            if len(self.mismatches) < MISMATCHES_LISTED:
                self.mismatches.append({"conversation": conversation, "line": number})

    def read_whole(
        self,
        open_member: Callable[[str], IO[bytes] | None],
        name: str,
        read: Callable[[bytes], dict[str, Any] | None],
    ) -> dict[str, Any] | None:
        values = None
        try:
            file = open_member(name)
            if file is None:
                self.missing.append(name)
                return None
            values = read(file.read(LARGEST_FILE))
        except READ_ERRORS:
            pass
        if values is None:
            self.damaged.append(name)
        return values

    def report(
        self, watermarks: dict[str, int] | None, hashes: dict[str, list[str]] | None
    ) -> dict[str, Any]:
        return {
            "hashes": {
                "checked": self.messages,
                "verified": self.messages - self.mismatched,
                "mismatched": self.mismatches,
            },
            "conversations": len(self.highest_of),
            "messages": self.messages,
            "watermarks": len(watermarks or {}),
            "watermark_mismatches": self._watermark_mismatches(watermarks),
            "hash_file": self._hash_file(hashes),
            "unreadable_lines": self.unreadable_lines,
            "missing_files": self.missing,
            "damaged_files": self.damaged,
        }

    def _watermark_mismatches(self, watermarks: dict[str, int] | None) -> list[dict[str, Any]]:
        """Empty, too, where there is no file of watermarks to be compared."""
        if watermarks is None:
            return []
        return [
            {
                "conversation": conversation,
                "watermark": watermarks.get(conversation),
                "highest_index": self.highest_of.get(conversation),
            }
            for conversation in sorted({*watermarks, *self.highest_of})
            if watermarks.get(conversation) != self.highest_of.get(conversation)
        ]

    def _hash_file(self, hashes: dict[str, list[str]] | None) -> dict[str, int]:
        """Nothing is missing where there is no file of hashes to be compared."""
        if hashes is None:
            return {"missing_in_log": 0, "missing_in_file": 0}
        conversations = {*hashes, *self.hashes_of}
        listed = {key: set(hashes.get(key, [])) for key in conversations}
        logged = {key: self.hashes_of.get(key, set()) for key in conversations}
        return {
            "missing_in_log": sum(len(listed[key] - logged[key]) for key in conversations),
            "missing_in_file": sum(len(logged[key] - listed[key]) for key in conversations),
        }
