"""Codex: the rollout of a session, one JSON object a line.

`~/.codex/sessions/<year>/<month>/<day>/rollout-<time>-<session>.jsonl`. A row is
`{"timestamp", "type", "payload"}`; rows of before September 2025 are the payload itself, after
a first row with the session's id. What the model saw and said stands in `response_item` rows;
`event_msg` rows say the same once more for the screen.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePath
from typing import IO, Any

from dedup.choices import Role, Source
from dedup.formats.contract import Block, Header, ParsedMessage, ParsedRecord
from dedup.formats.values import (
    blocks_of,
    json_object,
    lines_of,
    moment,
    native_id,
    picked,
    short_text,
)

# The session's own row is the first; more are looked at where that one is damaged.
ROWS_BEFORE_SESSION = 50

ROLLOUT_NAME = re.compile(
    r"rollout-.*?(?P<session>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jsonl", re.IGNORECASE
)
# A first row may be longer than what is looked at.
FIRST_ROW = re.compile(
    rb'\s*\{"timestamp":\s*"[^"]*",\s*"type":\s*"session_meta",\s*"payload":\s*\{'
)
WRAPPED = {"session_meta", "response_item", "event_msg", "turn_context", "compacted"}

ROLES = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "tool": Role.TOOL,
}
# What the program itself writes in the name of the user.
INJECTED = re.compile(
    r"\s*(?:<(?:environment_context|user_instructions|instructions|permissions|turn_aborted|skill"
    r"|skills_instructions|apps_instructions|plugins_instructions|collaboration_mode|model_switch"
    r"|personality_spec|subagent_notification)\b|\# AGENTS\.md instructions\b)",
    re.IGNORECASE,
)
SESSION_METADATA = {
    "cli_version": "cli_version",
    "git": "git",
    "source": "source",
    "originator": "originator",
    "model_provider": "model_provider",
    "forked_from_id": "forked_from",
}
ITEM_METADATA = {"status": "status", "phase": "phase", "namespace": "namespace"}
ITEM_ENVELOPE = {"type", "id", "call_id", "name", *ITEM_METADATA}


class CodexRollout:
    source = Source.CODEX
    parser_version = 1

    def recognises(self, head: bytes, name: str) -> bool:
        named = bool(ROLLOUT_NAME.fullmatch(PurePath(name).name))
        rows = filter(None, map(json_object, head.split(b"\n")))
        return (
            (named and not head)
            or bool(FIRST_ROW.match(head))
            or any(_is_row(row) or (named and _item_type(row) is not None) for row in rows)
        )

    def records(self, file: IO[bytes], name: str) -> Iterator[ParsedRecord]:
        header = _header(file, name)
        file.seek(0)
        return map(_RolloutParser(header).parse, lines_of(file))


def _is_row(row: dict[str, Any]) -> bool:
    kind = row.get("type")
    if isinstance(kind, str):
        return kind in WRAPPED and isinstance(row.get("payload"), dict)
    return row.get("record_type") == "state" or _is_old_session(row)


def _is_old_session(row: dict[str, Any]) -> bool:
    return "type" not in row and {"id", "timestamp", "instructions"} <= row.keys()


def _item_type(item: dict[str, Any]) -> str | None:
    """The type of a response item if it carries a message."""
    kind = item.get("type")
    if isinstance(kind, str) and (
        kind in ("message", "reasoning") or kind.endswith(("_call", "_output"))
    ):
        return kind
    return None


def _header(file: IO[bytes], name: str) -> Header:
    """By the session's row, else by the name that the program gave the file."""
    for row in islice(filter(None, map(json_object, lines_of(file))), ROWS_BEFORE_SESSION):
        session = row.get("payload") if row.get("type") == "session_meta" else row
        if not isinstance(session, dict) or not (session is not row or _is_old_session(row)):
            continue
        if key := native_id(session.get("id")):
            return Header(
                key,
                project=short_text(session.get("cwd"), 1000),
                metadata=picked(session, SESSION_METADATA),
            )
    path = PurePath(name)
    if match := ROLLOUT_NAME.fullmatch(path.name):
        return Header(match["session"].lower())
    return Header(short_text(path.stem, 200) or "rollout", certain=False)


class _RolloutParser:
    """Reads the rows of one file in order: a message follows the one before it."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._line = -1
        self._previous = ""
        self._model = ""

    def parse(self, raw: bytes) -> ParsedRecord:
        self._line += 1
        if not raw.strip():
            return ParsedRecord(raw)
        row = json_object(raw)
        if row is None:
            return ParsedRecord(raw, unreadable=True)
        if row.get("type") == "turn_context" and isinstance(row.get("payload"), dict):
            self._model = short_text(row["payload"].get("model"), 200)
        item = row.get("payload") if row.get("type") == "response_item" else row
        if not isinstance(item, dict):
            return ParsedRecord(raw, unreadable=True)
        kind = _item_type(item)
        if kind is None:
            return ParsedRecord(raw)
        message = self._message(kind, item, row)
        return ParsedRecord(raw, message, message is None, self._header)

    def _message(
        self, kind: str, item: dict[str, Any], row: dict[str, Any]
    ) -> ParsedMessage | None:
        said = _said(kind, item)
        if said is None:
            return None
        role, content, metadata = said
        if role == Role.ASSISTANT and self._model:
            metadata = {"model": self._model} | metadata
        # Of a session without an id, the number of the line says nothing.
        key = f"{self._header.key}/{self._line}" if self._header.certain else ""
        parent, self._previous = self._previous, key
        return ParsedMessage(
            native_key=key,
            parent_key=parent,
            role=role,
            content=content,
            sent_at=moment(row.get("timestamp")),
            api_id=native_id(item.get("id")),
            metadata=picked(item, ITEM_METADATA) | metadata,
        )


def _said(kind: str, item: dict[str, Any]) -> tuple[Role, list[Block], dict[str, Any]] | None:
    """Who says what in a response item, and what is to be known about it."""
    if kind == "message":
        return _spoken(item)
    if kind == "reasoning":
        return Role.ASSISTANT, _thoughts(item), {}
    if kind.endswith("_output"):
        return Role.TOOL, [_result(item)], {}
    return Role.ASSISTANT, [_call(kind, item)], {}


def _spoken(item: dict[str, Any]) -> tuple[Role, list[Block], dict[str, Any]] | None:
    content, name = _content(item.get("content")), item.get("role")
    role = ROLES.get(name) if isinstance(name, str) else None
    if content is None or role is None:
        return None
    injected = role == Role.USER and content and all(map(_is_injected, content))
    return role, content, {"is_meta": True} if injected else {}


def _is_injected(block: Block) -> bool:
    text = block.get("text")
    return isinstance(text, str) and bool(INJECTED.match(text))


def _content(value: Any) -> list[Block] | None:
    blocks = blocks_of(value)
    return None if blocks is None else [_block(block) for block in blocks]


def _block(block: Block) -> Block:
    if block.get("type") in ("input_text", "output_text"):
        return {**block, "type": "text"}
    if block.get("type") == "input_image":
        return {**block, "type": "image"}
    return block


def _thoughts(item: dict[str, Any]) -> list[Block]:
    """The summary and the text of the reasoning; it is encrypted where it is not for us."""
    parts = [*(_content(item.get("summary")) or []), *(_content(item.get("content")) or [])]
    thoughts: list[Block] = [
        {"type": "thinking", "thinking": part["text"]}
        for part in parts
        if isinstance(part.get("text"), str)
    ]
    thoughts = thoughts or [{"type": "thinking", "thinking": ""}]
    if item.get("encrypted_content") is not None:
        thoughts[-1]["encrypted_content"] = item["encrypted_content"]
    return thoughts


def _call(kind: str, item: dict[str, Any]) -> Block:
    name = item.get("name")
    return {
        "type": "tool_use",
        "id": item.get("call_id") or item.get("id") or "",
        "name": name if isinstance(name, str) else kind.removesuffix("_call"),
        "input": _input(item),
    }


def _input(item: dict[str, Any]) -> Any:
    if "arguments" in item:
        return _parsed(item["arguments"])
    for name in ("input", "action"):
        if name in item:
            return item[name]
    return _rest(item)


def _rest(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ITEM_ENVELOPE}


def _parsed(arguments: Any) -> Any:
    """Arguments are JSON within JSON, but a model may have written what is none."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _result(item: dict[str, Any]) -> Block:
    output, failed = item.get("output", _rest(item)), False
    if isinstance(output, dict) and "content" in output:
        failed = output.get("success") is False
        output = output["content"]
    content = _content(output) if isinstance(output, list) else output
    block = {"type": "tool_result", "tool_use_id": item.get("call_id") or "", "content": content}
    return block | {"is_error": True} if failed else block
