"""claude.ai: `conversations.json` of a data export, or one conversation as the site's API has it.

Where messages name their parents, the list of a conversation is a tree: an edited prompt stands
beside the one it replaces. Blocks of unknown types appear without notice and are kept whole.
"""

import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

from dedup.choices import Role, Source
from dedup.formats.contract import Block, Header, ParsedMessage, ParsedRecord
from dedup.formats.json_pieces import CutObject, Entry, array_pieces, cut_object, first_objects
from dedup.formats.values import (
    LONGEST_TITLE,
    blocks_of,
    in_reading_order,
    key_by_file,
    moment,
    native_id,
    picked,
    short_text,
)

# The position of a message without an id stands behind the id of its conversation.
LONGEST_ID = 180
LARGEST_INDEX = (1 << 31) - 1

# What the first messages of a conversation have as their parent.
ROOT_ID = re.compile(r"0{8}-0{4}-[04]0{3}-[08]0{3}-0{12}")
ROLES = {"human": Role.USER, "user": Role.USER, "assistant": Role.ASSISTANT}
CONVERSATION_METADATA = {
    name: name
    for name in (
        "summary", "created_at", "updated_at", "model", "settings", "is_starred", "is_temporary",
        "current_leaf_message_uuid", "project", "project_uuid", "account", "platform",
    )
}  # fmt: skip
MESSAGE_METADATA = {
    name: name
    for name in ("updated_at", "truncated", "stop_reason", "input_mode", "sync_sources", "model")
}
# What exports of one message differ in.
VOLATILE = {"start_timestamp", "stop_timestamp", "flags"}


class ClaudeAI:
    """Conversations of the site and the apps."""

    source = Source.CLAUDE_AI
    parser_version = 1

    def recognises(self, head: bytes, name: str) -> bool:
        _, objects = first_objects(head)
        return any(map(_is_conversation, objects))

    def records(self, file: IO[bytes], name: str) -> Iterator[ParsedRecord]:
        pieces = array_pieces(file)
        opening = next(pieces)
        if opening:
            yield ParsedRecord(opening)
        for number, piece in enumerate(pieces, 1):
            yield from _conversation(piece, key_by_file(name, number if opening else 0))


def _is_conversation(row: dict[str, Any]) -> bool:
    messages = row.get("chat_messages")
    if not isinstance(messages, list):
        return False
    return "uuid" in row or any(isinstance(item, dict) and "sender" in item for item in messages)


def _conversation(raw: bytes, fallback_key: str) -> Iterator[ParsedRecord]:
    cut = cut_object(raw, "chat_messages", "[") if raw.strip() else None
    if cut is None:
        yield ParsedRecord(raw, unreadable=bool(raw.strip()))
        return
    header = _header(cut, fallback_key)
    yield ParsedRecord(cut.head, unreadable=not cut.found, header=header)
    for entry, message in zip(cut.entries, _messages(cut.entries, header), strict=True):
        if message is None:
            yield ParsedRecord(entry.raw, unreadable=True)
        else:
            yield ParsedRecord(entry.raw, message, header=header)
    if cut.tail:
        yield ParsedRecord(cut.tail)


def _header(cut: CutObject, fallback_key: str) -> Header:
    row = cut.members
    identifier = _short_id(row.get("uuid"))
    title = short_text(row.get("name"), LONGEST_TITLE)
    project = row.get("project")
    project_name = project.get("name") if isinstance(project, dict) else None
    return Header(
        key=identifier or fallback_key,
        title=title,
        project=short_text(project_name or row.get("project_uuid"), 1000),
        metadata=picked(row, CONVERSATION_METADATA),
        certain=bool(identifier),
        declared=bool(identifier or title),
    )


def _short_id(value: Any) -> str:
    identifier = native_id(value)
    return identifier if len(identifier) <= LONGEST_ID else ""


def _messages(entries: Sequence[Entry], header: Header) -> Sequence[ParsedMessage | None]:
    rows = [entry.value if isinstance(entry.value, dict) else {} for entry in entries]
    keys = _native_keys(rows, header)
    messages = [_message(row, key) for row, key in zip(rows, keys, strict=True)]
    if not any("parent_message_uuid" in row for row in rows):
        return messages
    # Of two messages with one id the first is the parent of those that name it.
    positions = {key: position for position, key in reversed(list(enumerate(keys)))}
    parents = [positions.get(_parent(row)) if _parent(row) else None for row in rows]
    return in_reading_order(messages, parents, range(len(rows)))


def _native_keys(rows: Sequence[dict[str, Any]], header: Header) -> list[str]:
    """The ids; where one is missing, the place in the conversation.

    A conversation without an id is known by its first message; the file's name would make one
    conversation of two. Where there is no id at all, no message has one.
    """
    ids = [_short_id(row.get("uuid")) for row in rows]
    base = header.key if header.certain else next(filter(None, ids), "")
    places = (f"{base}/{position}" if base else "" for position in range(len(rows)))
    return [key or place for key, place in zip(ids, places, strict=True)]


def _parent(row: dict[str, Any]) -> str:
    return native_id(row.get("parent_message_uuid"))


def _message(row: dict[str, Any], native_key: str) -> ParsedMessage | None:
    sender, said = row.get("sender"), _said(row)
    if not isinstance(sender, str) or sender not in ROLES or said is None:
        return None
    content = [*said, *_files(row)]
    compared = [_compared(block) for block in content]
    parent, index = _parent(row), row.get("index")
    return ParsedMessage(
        native_key=native_key,
        parent_key="" if ROOT_ID.fullmatch(parent) else parent,
        role=ROLES[sender],
        content=content,
        sent_at=moment(row.get("created_at")),
        metadata=picked(row, MESSAGE_METADATA),
        index=index if type(index) is int and 0 <= index <= LARGEST_INDEX else None,
        compared=None if compared == content else compared,
    )


def _said(row: dict[str, Any]) -> list[Block] | None:
    """The content, or the text where the content says nothing."""
    content, text = row.get("content"), row.get("text")
    blocks = blocks_of([] if content is None else content)
    if blocks is not None and any(block != _text("") for block in map(_compared, blocks)):
        return blocks
    if isinstance(text, str):
        return [_text(text)] if text else []
    return blocks


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _files(row: dict[str, Any]) -> Iterator[Block]:
    """Attachments, of which the export holds the text, and files, of which it holds the name."""
    for attachment in _objects(row.get("attachments")):
        yield _as("attachment", attachment)
    files = _objects(row.get("files"))
    names = [file.get("file_name") for file in files]
    for file in files:
        yield _as("file", file)
    for file in _objects(row.get("files_v2")):
        if file.get("file_name") not in names:
            yield _as("file", file)


def _objects(values: Any) -> list[dict[str, Any]]:
    if not isinstance(values, list):
        return []
    return [value if isinstance(value, dict) else {"value": value} for value in values]


def _as(kind: str, value: dict[str, Any]) -> Block:
    return {"type": kind} | value


def _compared(block: Block) -> Block:
    """What all exports of the message have of the block."""
    if block.get("type") == "file" and "file_name" in block:
        return {"type": "file", "file_name": block["file_name"]}
    return {
        name: value
        for name, value in block.items()
        if name not in VOLATILE and not (name == "citations" and not value)
    }
