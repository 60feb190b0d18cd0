"""ChatGPT: `conversations.json` or `conversations-000.json` of a data export.

An array of conversations, each a tree of nodes under `mapping`. Also one such conversation by
itself. Nodes are told apart by conversation and key: root nodes of several conversations share
their keys, and a message's own id is not always that of its node.
"""

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

# The id of a conversation and the key of a node share a key column.
LONGEST_ID = 99

CONVERSATION_MARKS = {"conversation_id", "create_time", "current_node"}
NODE_MARKS = {"children", "message", "parent"}
ROLES = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "tool": Role.TOOL,
}
CONVERSATION_METADATA = {
    name: name
    for name in (
        "create_time", "update_time", "current_node", "default_model_slug", "is_archived",
        "is_starred", "is_study_mode", "gizmo_id", "gizmo_type", "conversation_origin",
        "conversation_template_id", "memory_scope", "voice",
    )
}  # fmt: skip
MESSAGE_METADATA = {
    "status": "status",
    "end_turn": "end_turn",
    "channel": "channel",
    "update_time": "update_time",
}
INNER_METADATA = {
    "model_slug": "model",
    "finish_details": "finish_details",
    "is_visually_hidden_from_conversation": "is_hidden",
    "attachments": "attachments",
    "citations": "citations",
    "command": "command",
    "gizmo_id": "gizmo_id",
    "reasoning_status": "reasoning_status",
    "request_id": "request_id",
}


class ChatGPT:
    """Conversations with all their branches."""

    source = Source.CHATGPT
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
    mapping = row.get("mapping")
    if not isinstance(mapping, dict):
        return False
    nodes = [node for node in mapping.values() if isinstance(node, dict)]
    return bool(CONVERSATION_MARKS & row.keys()) or any(NODE_MARKS & node.keys() for node in nodes)


def _conversation(raw: bytes, fallback_key: str) -> Iterator[ParsedRecord]:
    cut = cut_object(raw, "mapping", "{") if raw.strip() else None
    if cut is None:
        yield ParsedRecord(raw, unreadable=bool(raw.strip()))
        return
    header = _header(cut, fallback_key)
    yield ParsedRecord(cut.head, unreadable=not cut.found, header=header)
    yield from _nodes(cut.entries, header)
    if cut.tail:
        yield ParsedRecord(cut.tail)


def _header(cut: CutObject, fallback_key: str) -> Header:
    row = cut.members
    identifier = _short_id(row.get("conversation_id")) or _short_id(row.get("id"))
    title = short_text(row.get("title"), LONGEST_TITLE)
    return Header(
        key=identifier or fallback_key,
        title=title,
        project=short_text(row.get("project_name") or row.get("gizmo_id"), 1000),
        metadata=picked(row, CONVERSATION_METADATA),
        certain=bool(identifier),
        declared=bool(identifier or title),
    )


def _short_id(value: Any) -> str:
    identifier = native_id(value)
    return identifier if len(identifier) <= LONGEST_ID else ""


def _nodes(entries: Sequence[Entry], header: Header) -> Iterator[ParsedRecord]:
    messages = [_message(entry, position, header) for position, entry in enumerate(entries)]
    parents, ranked = _tree(entries)
    placed = in_reading_order(messages, parents, ranked)
    for entry, message in zip(entries, placed, strict=True):
        if message is not None:
            yield ParsedRecord(entry.raw, message, header=header)
        else:
            yield ParsedRecord(entry.raw, unreadable=not _is_empty_node(entry.value))


def _tree(entries: Sequence[Entry]) -> tuple[list[int | None], list[int]]:
    """Each node's parent, and the nodes so that siblings stand in their parent's order.

    A node says who its parent is; where it does not, it is the child of the node that lists it.
    """
    positions = {entry.key: position for position, entry in enumerate(entries)}
    listed: dict[int, tuple[int, int]] = {}
    for position, entry in enumerate(entries):
        for rank, child in enumerate(_children(entry.value)):
            if child in positions:
                listed.setdefault(positions[child], (rank, position))
    parents: list[int | None] = []
    for position, entry in enumerate(entries):
        own = entry.value.get("parent") if isinstance(entry.value, dict) else None
        lister = listed[position][1] if position in listed else None
        parents.append(positions.get(own, lister) if isinstance(own, str) else lister)
    unlisted = (len(entries), 0)
    ranked = sorted(range(len(entries)), key=lambda position: listed.get(position, unlisted)[0])
    return parents, ranked


def _children(node: Any) -> list[str]:
    children = node.get("children") if isinstance(node, dict) else None
    if not isinstance(children, list):
        return []
    return [child for child in children if isinstance(child, str)]


def _is_empty_node(node: Any) -> bool:
    return isinstance(node, dict) and node.get("message") is None


def _message(entry: Entry, position: int, header: Header) -> ParsedMessage | None:
    message = entry.value.get("message") if isinstance(entry.value, dict) else None
    if not isinstance(message, dict) or not isinstance(message.get("author"), dict):
        return None
    role, content = message["author"].get("role"), _content(message.get("content"))
    if not isinstance(role, str) or role not in ROLES or content is None:
        return None
    return ParsedMessage(
        native_key=_native_key(header, entry.key, position),
        role=ROLES[role],
        content=content,
        sent_at=moment(message.get("create_time")),
        metadata=_metadata(message, entry.key),
    )


def _native_key(header: Header, node: str, position: int) -> str:
    """Without an id of the conversation its nodes have none: their keys recur in others."""
    return f"{header.key}/{_short_id(node) or position}" if header.certain else ""


def _metadata(message: dict[str, Any], node: str) -> dict[str, Any]:
    inner = message["metadata"] if isinstance(message.get("metadata"), dict) else {}
    metadata = picked(message, MESSAGE_METADATA) | picked(inner, INNER_METADATA)
    unusual = {
        "message_id": (message.get("id"), node),
        "author": (message["author"].get("name"), None),
        "recipient": (message.get("recipient"), "all"),
        "weight": (message.get("weight"), 1),
    }
    return metadata | {
        name: value for name, (value, usual) in unusual.items() if value not in (None, usual)
    }


def _content(content: Any) -> list[Block] | None:
    if content is None:
        return []
    if not isinstance(content, dict):
        return blocks_of(content)
    parts = content.get("parts")
    if not isinstance(parts, list):
        return [_block(content)]
    blocks = [_part(part) for part in parts]
    rest = {name: value for name, value in content.items() if name != "parts" and value is not None}
    if rest in ({"content_type": "text"}, {"content_type": "multimodal_text"}):
        return blocks
    return [*blocks, _block(rest)]


def _part(part: Any) -> Block:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return _block(part) if isinstance(part, dict) else {"type": "unknown", "value": part}


def _block(value: dict[str, Any]) -> Block:
    """A value with its content type as its type."""
    kind = value.get("content_type")
    if not isinstance(kind, str) or "type" in value:
        return {"type": "unknown"} | value
    rest = {name: item for name, item in value.items() if name != "content_type"}
    return {"type": "image" if kind == "image_asset_pointer" else kind} | rest
