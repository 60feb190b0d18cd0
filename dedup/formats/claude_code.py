"""Claude Code: session transcripts, one JSON object a line, and notes on sub-agents.

`~/.claude/projects/<folder>/<session>.jsonl`, sub-agents beside it as `agent-<id>.jsonl` or in
`<session>/subagents/`, there with `agent-<id>.meta.json`. The schema is not published and
changes; only what is needed is read, and every line is kept as it is.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import PurePath
from typing import IO, Any

from dedup.choices import Role, Source
from dedup.formats.contract import HEAD_BYTES, Block, Header, ParsedMessage, ParsedRecord, Parser

# A longer line is kept in pieces, none of which parses; no transcript comes near it.
LONGEST_LINE = 128 << 20

ROWS_BEFORE_FOLDER = 50

SESSION_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
AGENT_NOTE_NAME = re.compile(r"(?P<agent>agent-[\w-]+)\.meta\.json")
ROW_TYPE = re.compile(
    rb'"type"\s*:\s*"(?:user|assistant|system|summary|progress|attachment|file-history-snapshot'
    rb'|queue-operation|permission-mode|last-prompt|custom-title|ai-title|agent-name|pr-link)"'
)
ROW_IDENTITY = re.compile(rb'"(?:sessionId|uuid|leafUuid|messageId|snapshot)"\s*:')
# An id must fit a key column of the database.
NATIVE_ID = re.compile(r"[\x21-\x7e]{1,200}")

ROLES = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "attachment": Role.SYSTEM,
}
# What surrounds a system row's own content, and changes between copies of one record.
ENVELOPE = {
    "agentId", "cwd", "entrypoint", "forkedFrom", "gitBranch", "isMeta", "isSidechain", "level",
    "logicalParentUuid", "parentUuid", "promptId", "sessionId", "sessionKind", "slug", "timestamp",
    "type", "userType", "uuid", "version",
}  # fmt: skip
ROW_METADATA = {
    "cwd": "cwd",
    "gitBranch": "git_branch",
    "version": "version",
    "isMeta": "is_meta",
    "isSidechain": "is_sidechain",
    "isCompactSummary": "is_compact_summary",
    "isApiErrorMessage": "is_api_error",
    "requestId": "request_id",
    "subtype": "subtype",
}
MESSAGE_METADATA = {"model": "model", "usage": "usage", "stop_reason": "stop_reason"}


class ClaudeCodeTranscript:
    """A session or the part of a sub-agent in it."""

    source = Source.CLAUDE_CODE
    parser_version = 1

    def recognises(self, head: bytes, name: str) -> bool:
        if not head:
            return name.endswith(".jsonl")
        return any(
            line.lstrip(b"\xef\xbb\xbf \t").startswith(b"{")
            and ROW_TYPE.search(line)
            and ROW_IDENTITY.search(line)
            for line in head.split(b"\n")
        )

    def header(self, file: IO[bytes], name: str) -> Header | None:
        """By the file's name where that is a session's id, else by the first row that has one."""
        stem = PurePath(name).stem
        rows = _rows(file)
        row = next((row for row in rows if _native_id(row.get("sessionId"))), None)
        if row is None:
            return Header(_clean(stem, 200))
        session = str(row["sessionId"])
        # Rows that only administer the session, often the first, do not name its folder.
        folders = (row.get("cwd") for row in chain([row], islice(rows, ROWS_BEFORE_FOLDER)))
        project = _clean(next(filter(None, folders), None), 1000)
        if agent := _native_id(row.get("agentId")):
            return Header(f"{session}/agent-{agent}", parent_key=session, project=project)
        return Header(stem if SESSION_NAME.fullmatch(stem) else session, project=project)

    def split(self, file: IO[bytes]) -> Iterator[bytes]:
        return iter(lambda: file.readline(LONGEST_LINE), b"")

    def parser(self) -> Parser:
        return _TranscriptParser().parse


class ClaudeCodeAgentNote:
    """What a sub-agent was started for: one JSON object beside its transcript."""

    source = Source.CLAUDE_CODE
    parser_version = 1

    def recognises(self, head: bytes, name: str) -> bool:
        return bool(AGENT_NOTE_NAME.fullmatch(PurePath(name).name)) and b'"agentType"' in head

    def header(self, file: IO[bytes], name: str) -> Header | None:
        path = PurePath(name)
        match = AGENT_NOTE_NAME.fullmatch(path.name)
        if match is None or path.parent.name != "subagents":
            return None
        session = path.parent.parent.name
        note = _load(file.read(HEAD_BYTES))
        title = _clean(note.get("description"), 300) if note else ""
        return Header(f"{session}/{match['agent']}", parent_key=session, title=title)

    def split(self, file: IO[bytes]) -> Iterator[bytes]:
        return iter(lambda: file.read(LONGEST_LINE), b"")

    def parser(self) -> Parser:
        return lambda raw: ParsedRecord(raw, unreadable=_load(raw) is None)


class _TranscriptParser:
    """Reads the rows of one file in order.

    Progress rows are no messages but stand in the chain of parents, so a message whose parent
    is one gets the nearest ancestor that is a message.
    """

    def __init__(self) -> None:
        self._parent_of_progress: dict[str, str] = {}

    def parse(self, raw: bytes) -> ParsedRecord:
        if not raw.strip():
            return ParsedRecord(raw)
        row = _load(raw)
        if row is None:
            return ParsedRecord(raw, unreadable=True)
        kind = row.get("type")
        if kind == "progress":
            self._remember(row)
        if not isinstance(kind, str) or kind not in ROLES or "uuid" not in row:
            return ParsedRecord(raw)
        message = self._message(row)
        return ParsedRecord(raw, message, unreadable=message is None)

    def _remember(self, row: dict[str, Any]) -> None:
        if identifier := _native_id(row.get("uuid")):
            self._parent_of_progress[identifier] = self._parent(row)

    def _parent(self, row: dict[str, Any]) -> str:
        # After a compact boundary parentUuid is null and the logical parent is the real one.
        parent = _native_id(row.get("parentUuid")) or _native_id(row.get("logicalParentUuid"))
        return self._parent_of_progress.get(parent, parent)

    def _message(self, row: dict[str, Any]) -> ParsedMessage | None:
        identifier = _native_id(row["uuid"])
        content = _content(row)
        if not identifier or content is None:
            return None
        inner = row["message"] if isinstance(row.get("message"), dict) else {}
        role = ROLES[row["type"]]
        if role == Role.USER and any(block.get("type") == "tool_result" for block in content):
            role = Role.TOOL
        return ParsedMessage(
            native_key=identifier,
            parent_key=self._parent(row),
            role=role,
            content=content,
            sent_at=_moment(row.get("timestamp")),
            api_id=_native_id(inner.get("id")),
            metadata=_picked(row, ROW_METADATA) | _picked(inner, MESSAGE_METADATA),
        )


def _content(row: dict[str, Any]) -> list[Block] | None:
    """The content blocks of a row, or None if it has not the shape of its type."""
    if row["type"] in ("user", "assistant"):
        inner = row.get("message")
        return _blocks(inner.get("content")) if isinstance(inner, dict) else None
    if isinstance(row.get("content"), str):
        return [{"type": "text", "text": row["content"]}]
    own = {key: value for key, value in row.items() if key not in ENVELOPE}
    return [{**own, "type": row["type"]}]


def _blocks(content: Any) -> list[Block] | None:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list):
        return [
            block if isinstance(block, dict) else {"type": "unknown", "value": block}
            for block in content
        ]
    return None


def _rows(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    while line := file.readline(LONGEST_LINE):
        if (row := _load(line)) is not None:
            yield row


def _load(raw: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _picked(source: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {new: source[old] for old, new in names.items() if source.get(old) not in (None, False)}


def _native_id(value: Any) -> str:
    return value if isinstance(value, str) and NATIVE_ID.fullmatch(value) else ""


def _clean(value: Any, longest: int) -> str:
    """A short text for a column: without what PostgreSQL's text cannot hold."""
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", "").encode(errors="replace").decode()[:longest]


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
