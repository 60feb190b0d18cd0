"""The state directory of an earlier de-duplication: three files beside each other.

`conversation_log.jsonl` holds the messages, `watermarks.json` the highest index of each
conversation, `content_hashes.json` the hashes of its messages. The log is what is kept; the
other two say what ought to be in it.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any

from dedup.choices import Role, Source
from dedup.formats.claude_code_text import tool_call
from dedup.formats.contract import Block, Header, ParsedMessage, ParsedRecord
from dedup.formats.values import blocks_of, json_object, lines_of, moment, short_text

LOG = "conversation_log.jsonl"
WATERMARKS = "watermarks.json"
HASHES = "content_hashes.json"

# A larger file is kept in pieces that are not read; a watermark takes some 50 bytes.
LARGEST_FILE = 128 << 20
PIECE_BYTES = 64 << 10

# Indexes fit the database's integers, and what has none is read after what has one.
FIRST_WITHOUT_INDEX = 1 << 30
LAST_ORDER = (1 << 31) - 1

PLAIN_ID = re.compile(r"(?!sha256:)[\x21-\x7e]{1,200}")
PROMPT_LINE = re.compile("^[>\u276f] ", re.MULTILINE)
HASH = re.compile(r"[0-9a-fA-F]{8,128}")
BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{[ \t]*(?:\r?\n)?")
WATERMARK = re.compile(
    rb'[\s,]*(?P<key>"(?:[^"\\]|\\.)*")\s*:\s*(?P<value>-?\d+)[ \t]*,?[ \t]*(?:\r?\n)?'
)

ROLES = {
    "user": Role.USER,
    "human": Role.USER,
    "prompt": Role.USER,
    "assistant": Role.ASSISTANT,
    "response": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "tool": Role.TOOL,
}


class LegacyLog:
    """The log: `{"conversation_id", "timestamp", "content_hash", "message"}` a line.

    The hash is SHA-256, as hexadecimal digits, of
    `json.dumps({"role": …, "content": …, "index": …}, sort_keys=True)`: with ", " and ": "
    between, and all but ASCII escaped. The role is the message's `type`, or else its `role`; the
    content is its `message`, or else its `content`; an index that is missing is 0.

    Of messages from `/export` texts the role is wrong: "user" are replies and calls of tools,
    "assistant" are results of tools, and prompts stand at the end of the message before them.
    """

    source = Source.LEGACY_STATE
    parser_version = 1

    def recognises(self, head: bytes, name: str) -> bool:
        if PurePath(name).name == LOG:
            return True
        rows = filter(None, map(json_object, head.split(b"\n")))
        return any({"conversation_id", "content_hash", "message"} <= row.keys() for row in rows)

    def records(self, file: IO[bytes], name: str) -> Iterator[ParsedRecord]:
        without_index: Counter[str] = Counter()
        for raw in lines_of(file):
            row = read_row(raw)
            if row is None:
                yield ParsedRecord(raw, unreadable=bool(raw.strip()))
                continue
            number = without_index[row.conversation]
            if row.index is None:
                without_index[row.conversation] += 1
            yield _log_record(raw, row, number)


class LegacyWatermarks:
    """`{conversation: highest index}`."""

    source = Source.LEGACY_STATE
    parser_version = 1

    def recognises(self, head: bytes, name: str) -> bool:
        return PurePath(name).name == WATERMARKS

    def records(self, file: IO[bytes], name: str) -> Iterator[ParsedRecord]:
        """An entry a record, whether or not it has a line of its own."""
        raw = file.read(LARGEST_FILE)
        if read_watermarks(raw) is None:
            yield from (ParsedRecord(piece, unreadable=True) for piece in _rest(raw, file))
            return
        beginning = BEGINNING.match(raw)
        cut = beginning.end() if beginning else 0
        if cut:
            yield ParsedRecord(raw[:cut])
        while entry := WATERMARK.match(raw, cut):
            yield ParsedRecord(raw[cut : entry.end()], header=_watermark_header(entry))
            cut = entry.end()
        if cut < len(raw):
            yield ParsedRecord(raw[cut:])


class LegacyHashes:
    """`{conversation: [hash, …]}`: nothing that the log does not say, kept as it is."""

    source = Source.LEGACY_STATE
    parser_version = 1

    def recognises(self, head: bytes, name: str) -> bool:
        return PurePath(name).name == HASHES

    def records(self, file: IO[bytes], name: str) -> Iterator[ParsedRecord]:
        damaged = read_hashes(file.read(LARGEST_FILE)) is None
        file.seek(0)
        return (ParsedRecord(piece, unreadable=damaged) for piece in _pieces(file))


@dataclass(frozen=True, slots=True)
class LogRow:
    conversation: str
    message: dict[str, Any]
    content_hash: str
    timestamp: Any

    @property
    def index(self) -> int | None:
        index = self.message.get("index")
        fits = type(index) is int and 0 <= index < FIRST_WITHOUT_INDEX
        return index if fits else None

    @property
    def verified(self) -> bool:
        return self.content_hash != "" and legacy_hash(self.message) == self.content_hash


def read_row(raw: bytes) -> LogRow | None:
    row = json_object(raw) or {}
    conversation, message = row.get("conversation_id"), row.get("message")
    if not isinstance(conversation, str) or not _key(conversation) or not isinstance(message, dict):
        return None
    stored = row.get("content_hash")
    return LogRow(
        conversation, message, stored if isinstance(stored, str) else "", row.get("timestamp")
    )


def legacy_hash(message: dict[str, Any]) -> str:
    """The hash by the rule that `LegacyLog` states; empty where it cannot be made."""
    hashed = {
        "role": message.get("type", message.get("role")),
        "content": message.get("message", message.get("content")),
        "index": message.get("index", 0),
    }
    try:
        return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
    except (RecursionError, ValueError):
        return ""


def _key(conversation: str) -> str:
    """The id itself where a key column holds it, else a digest of it after its beginning."""
    short = short_text(conversation, 200)
    if short == conversation:
        return short
    digest = hashlib.sha256(conversation.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{short[:100]} {digest}"


def _native_key(conversation: str, last: str) -> str:
    """Unique, since the conversation is what stands before the last stroke."""
    if PLAIN_ID.fullmatch(conversation):
        return f"{conversation}/{last}"
    digest = hashlib.sha256(conversation.encode("utf-8", "surrogatepass")).hexdigest()
    return f"sha256:{digest}/{last}"


def _log_record(raw: bytes, row: LogRow, number: int) -> ParsedRecord:
    header = Header(_key(row.conversation))
    try:
        return ParsedRecord(raw, _message(row, number), header=header)
    except RecursionError:
        # Nested deeper than it could be written again.
        return ParsedRecord(raw, unreadable=True, header=header)


def _message(row: LogRow, number: int) -> ParsedMessage:
    """`number` counts the messages without index before this one in its conversation."""
    name, content = _content(row.message)
    role, content = _spoken(row.message, content)
    index = row.index
    last, order = f"line-{number}", min(FIRST_WITHOUT_INDEX + number, LAST_ORDER)
    if index is not None:
        last, order = str(index), index
    return ParsedMessage(
        native_key=_native_key(row.conversation, last),
        role=role,
        content=content,
        sent_at=moment(row.timestamp),
        metadata=_metadata(row, name),
        index=index,
        order=order,
    )


def _content(message: dict[str, Any]) -> tuple[str, list[Block]]:
    """The content and the name under which the message has it; without any, all of it."""
    inner = message.get("message")
    for name, value in (
        ("content", message.get("content")),
        ("message", inner.get("content") if isinstance(inner, dict) else inner),
        ("parts", message.get("parts")),
    ):
        blocks = blocks_of(value)
        if blocks is not None:
            return name, blocks
    whole = json.dumps(message, ensure_ascii=False, sort_keys=True)
    return "", [{"type": "text", "text": whole}]


def _from_text(message: dict[str, Any]) -> bool:
    """Whether the message comes from an `/export` text: those have a type, equal to the role."""
    return (
        isinstance(message.get("content"), str)
        and message.get("role") in ("user", "assistant")
        and message.get("role") == message.get("type")
    )


def _spoken(message: dict[str, Any], content: list[Block]) -> tuple[Role, list[Block]]:
    if _from_text(message):
        text = message["content"]
        if message["role"] == "user":
            return Role.ASSISTANT, [tool_call(text) or content[0]]
        return Role.TOOL, [{"type": "tool_result", "content": text}]
    if any(block.get("type") == "tool_result" for block in content):
        return Role.TOOL, content
    named = message.get("type", message.get("role"))
    return ROLES.get(named, Role.SYSTEM) if isinstance(named, str) else Role.SYSTEM, content


def _metadata(row: LogRow, name: str) -> dict[str, Any]:
    message = row.message
    rest = {key: value for key, value in message.items() if key != name} if name else {}
    if name == "message" and isinstance(message["message"], dict):
        rest["message"] = {k: v for k, v in message["message"].items() if k != "content"}
    metadata: dict[str, Any] = {
        "legacy_role": message.get("role", message.get("type")),
        "roles_trusted": False,
        "legacy_hash": row.content_hash,
        "legacy_hash_verified": row.verified,
        "legacy_message": rest,
    }
    if _from_text(message) and (prompts := len(PROMPT_LINE.findall(message["content"]))):
        metadata["swallowed_prompts"] = prompts
    return metadata


def read_watermarks(raw: bytes) -> dict[str, int] | None:
    values = json_object(raw)
    if values is None or any(type(value) is not int for value in values.values()):
        return None
    return values


def read_hashes(raw: bytes) -> dict[str, list[str]] | None:
    values = json_object(raw)
    if values is None:
        return None
    for hashes in values.values():
        if not isinstance(hashes, list):
            return None
        if not all(isinstance(value, str) and HASH.fullmatch(value) for value in hashes):
            return None
    return values


def _watermark_header(entry: re.Match[bytes]) -> Header | None:
    conversation = json.loads(entry["key"])
    if not (key := _key(conversation)):
        return None
    return Header(key, metadata={"legacy_watermark": int(entry["value"])}, declared=True)


def _rest(raw: bytes, file: IO[bytes]) -> Iterator[bytes]:
    """The bytes read and those still to come."""
    while raw:
        yield raw
        raw = file.read(PIECE_BYTES)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Whole lines together, as long as they are short enough."""
    piece = b""
    for line in iter(lambda: file.readline(PIECE_BYTES), b""):
        if piece and len(piece) + len(line) > PIECE_BYTES:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece
