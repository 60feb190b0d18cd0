"""Claude Code: session transcripts, one JSON object a line, and notes on sub-agents.

`~/.claude/projects/<folder>/<session>.jsonl`, sub-agents beside it as `agent-<id>.jsonl` or in
`<session>/subagents/`, there with `agent-<id>.meta.json`. The schema is not published and
changes; only what is needed is read, and every line is kept as it is.
"""

import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import PurePath
from typing import IO, Any

from dedup.choices import Role, Source
from dedup.formats.contract import Block, Header, ParsedMessage, ParsedRecord
from dedup.formats.values import (
    LONGEST_TITLE,
    blocks_of,
    json_object,
    lines_of,
    moment,
    native_id,
    picked,
    short_text,
)

ROWS_BEFORE_FOLDER = 50

SESSION_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
AGENT_NOTE_NAME = re.compile(r"(?P<agent>agent-[\w-]+)\.meta\.json")
ROW_TYPE = re.compile(
    rb'"type"\s*:\s*"(?:user|assistant|system|summary|progress|attachment|file-history-snapshot'
    rb'|queue-operation|permission-mode|last-prompt|custom-title|ai-title|agent-name|pr-link)"'
)
ROW_IDENTITY = re.compile(rb'"(?:sessionId|uuid|leafUuid|messageId|snapshot)"\s*:')

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

    def records(self, file: IO[bytes], name: str) -> Iterator[ParsedRecord]:
        header = _header(file, name)
        file.seek(0)
        parser = _TranscriptParser(header)
        return map(parser.parse, lines_of(file))


class ClaudeCodeAgentNote:
    """What a sub-agent was started for: one JSON object beside its transcript."""

    source = Source.CLAUDE_CODE
    parser_version = 1

    def recognises(self, head: bytes, name: str) -> bool:
        return bool(AGENT_NOTE_NAME.fullmatch(PurePath(name).name)) and b'"agentType"' in head

    def records(self, file: IO[bytes], name: str) -> Iterator[ParsedRecord]:
        raw = file.read()
        note = json_object(raw)
        if raw:
            yield ParsedRecord(raw, unreadable=note is None, header=_noted(note, PurePath(name)))


def _noted(note: dict[str, Any] | None, path: PurePath) -> Header | None:
    """The sub-agent that a note is about: where the note lies says whose it is."""
    match = AGENT_NOTE_NAME.fullmatch(path.name)
    if match is None or path.parent.name != "subagents":
        return None
    session = path.parent.parent.name
    title = short_text(note.get("description"), LONGEST_TITLE) if note else ""
    return Header(
        f"{session}/{match['agent']}", parent_key=session, title=title, declared=bool(title)
    )


def _header(file: IO[bytes], name: str) -> Header:
    """By the file's name where that is a session's id, else by the first row that has one."""
    stem = PurePath(name).stem
    rows = filter(None, map(json_object, lines_of(file)))
    row = next((row for row in rows if native_id(row.get("sessionId"))), None)
    if row is None:
        return Header(short_text(stem, 200))
    session = str(row["sessionId"])
    # Rows that only administer the session, often the first, do not name its folder.
    folders = (row.get("cwd") for row in chain([row], islice(rows, ROWS_BEFORE_FOLDER)))
    project = short_text(next(filter(None, folders), None), 1000)
    if agent := native_id(row.get("agentId")):
        return Header(f"{session}/agent-{agent}", parent_key=session, project=project)
    return Header(stem if SESSION_NAME.fullmatch(stem) else session, project=project)


class _TranscriptParser:
    """Reads the rows of one file in order.

    Progress rows are no messages but stand in the chain of parents, so a message whose parent
    is one gets the nearest ancestor that is a message.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._parent_of_progress: dict[str, str] = {}

    def parse(self, raw: bytes) -> ParsedRecord:
        if not raw.strip():
            return ParsedRecord(raw)
        row = json_object(raw)
        if row is None:
            return ParsedRecord(raw, unreadable=True)
        kind = row.get("type")
        if kind == "progress":
            self._remember(row)
        if not isinstance(kind, str) or kind not in ROLES or "uuid" not in row:
            return ParsedRecord(raw)
        message = self._message(row)
        return ParsedRecord(raw, message, message is None, self._header)

    def _remember(self, row: dict[str, Any]) -> None:
        if identifier := native_id(row.get("uuid")):
            self._parent_of_progress[identifier] = self._parent(row)

    def _parent(self, row: dict[str, Any]) -> str:
        # After a compact boundary parentUuid is null and the logical parent is the real one.
        parent = native_id(row.get("parentUuid")) or native_id(row.get("logicalParentUuid"))
        return self._parent_of_progress.get(parent, parent)

    def _message(self, row: dict[str, Any]) -> ParsedMessage | None:
        identifier = native_id(row["uuid"])
        content = _content(row)
        if not identifier or content is None:
            return None
        inner = row["message"] if isinstance(row.get("message"), dict) else {}
        timestamp = row.get("timestamp")
        role = ROLES[row["type"]]
        if role == Role.USER and any(block.get("type") == "tool_result" for block in content):
            role = Role.TOOL
        return ParsedMessage(
            native_key=identifier,
            parent_key=self._parent(row),
            role=role,
            content=content,
            sent_at=moment(timestamp) if isinstance(timestamp, str) else None,
            api_id=native_id(inner.get("id")),
            metadata=picked(row, ROW_METADATA) | picked(inner, MESSAGE_METADATA),
        )


def _content(row: dict[str, Any]) -> list[Block] | None:
    """The content blocks of a row, or None if it has not the shape of its type."""
    if row["type"] in ("user", "assistant"):
        inner = row.get("message")
        return blocks_of(inner.get("content")) if isinstance(inner, dict) else None
    if isinstance(row.get("content"), str):
        return [{"type": "text", "text": row["content"]}]
    own = {key: value for key, value in row.items() if key not in ENVELOPE}
    return [{**own, "type": row["type"]}]
