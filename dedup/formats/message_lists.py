"""Lists of messages without ids of their own: OpenAI's, ShareGPT's and LangChain's.

One object, an array of them, or one on each line; OpenAI's and LangChain's messages also as an
array by themselves, which is one conversation.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import IO, Any

from dedup.choices import Role, Source
from dedup.formats.contract import Block, Header, ParsedMessage, ParsedRecord
from dedup.formats.json_pieces import (
    FIRST_PIECES,
    CutObject,
    array_pieces,
    cut_object,
    first_objects,
    is_lines,
    object_in,
)
from dedup.formats.values import (
    LONGEST_TITLE,
    blocks_of,
    key_by_file,
    lines_of,
    moment,
    native_id,
    picked,
    short_text,
)

Row = dict[str, Any]

OPENAI_ROLES = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
# What becomes content, and with it what marks an OpenAI message.
SAID = {
    "content", "function_call", "invalid_tool_calls", "reasoning_content", "refusal",
    "tool_call_id", "tool_calls",
}  # fmt: skip
SHAREGPT_ROLES = {
    "human": Role.USER,
    "user": Role.USER,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "chatgpt": Role.ASSISTANT,
    "bing": Role.ASSISTANT,
    "bard": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "function_call": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "tool": Role.TOOL,
    "observation": Role.TOOL,
    "function_response": Role.TOOL,
}
LANGCHAIN_ROLES = {
    "human": Role.USER,
    "ai": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
CONVERSATION_METADATA = {
    name: name
    for name in (
        "model", "usage", "created", "created_at", "updated_at", "timestamp", "metadata", "source",
        "system", "tools", "functions", "temperature", "language", "category",
    )
}  # fmt: skip
TIMES = ("timestamp", "created_at", "create_time", "created")
API_ID_STARTS = ("msg_", "run-", "lc_run-", "chatcmpl")
# Blocks that are mostly encoded bytes, of which nothing is to be read.
ENCODED = {
    "image_url": "image",
    "input_image": "image",
    "input_audio": "document",
    "input_file": "document",
    "file": "document",
}


class _MessageLists:
    """What the three formats share. `list_key` is where a conversation has its messages."""

    source: Source
    parser_version = 1
    list_key = "messages"

    def recognises(self, head: bytes, name: str) -> bool:
        in_array, objects = first_objects(head)
        return any(
            self._is_conversation(row) or (in_array and self._is_bare(row)) for row in objects
        )

    def records(self, file: IO[bytes], name: str) -> Iterator[ParsedRecord]:
        pieces = _pieces(file)
        opening = next(pieces)
        bare, several = self._shape(filter(bytes.strip, pieces), in_array=opening != b"")
        pieces = _pieces(file)
        opening = next(pieces)
        if bare:
            return self._bare(opening, pieces, Header(key_by_file(name, 0), certain=False))
        conversations = self._conversations(pieces, name, several=several)
        return chain([ParsedRecord(opening)] if opening else [], conversations)

    def _shape(self, pieces: Iterator[bytes], *, in_array: bool) -> tuple[bool, bool]:
        """Whether messages stand there by themselves, and else whether there are several pieces."""
        asked = 0
        for piece in islice(pieces, FIRST_PIECES):
            row = object_in(piece) or {}
            if in_array and self._is_bare(row):
                return True, False
            asked += 1
            if self._is_conversation(row):
                break
        return False, asked > 1 or next(pieces, None) is not None

    def _bare(
        self, opening: bytes, pieces: Iterable[bytes], header: Header
    ) -> Iterator[ParsedRecord]:
        yield ParsedRecord(opening, header=header)
        for piece in pieces:
            yield self._record(piece, object_in(piece), header)

    def _conversations(
        self, pieces: Iterable[bytes], name: str, *, several: bool
    ) -> Iterator[ParsedRecord]:
        number = 0
        for piece in pieces:
            if not piece.strip():
                yield ParsedRecord(piece)
                continue
            number += 1
            cut = cut_object(piece, self.list_key, "[")
            if cut is None:
                yield ParsedRecord(piece, unreadable=True)
                continue
            header = _header(cut, key_by_file(name, number if several else 0))
            yield ParsedRecord(cut.head, unreadable=not cut.found, header=header)
            for entry in cut.entries:
                row = entry.value if isinstance(entry.value, dict) else None
                yield self._record(entry.raw, row, header)
            if cut.tail:
                yield ParsedRecord(cut.tail)

    def _record(self, raw: bytes, row: Row | None, header: Header) -> ParsedRecord:
        message = None if row is None else self._message(row)
        if message is None:
            return ParsedRecord(raw, unreadable=True)
        return ParsedRecord(raw, message, header=header)

    def _is_conversation(self, row: Row) -> bool:
        messages = row.get(self.list_key)
        if not isinstance(messages, list):
            return False
        return any(isinstance(message, dict) and self._is_message(message) for message in messages)

    def _is_bare(self, row: Row) -> bool:
        """Whether an object is a message where nothing around it says so."""
        return self._is_message(row)

    def _is_message(self, row: Row) -> bool:
        raise NotImplementedError

    def _message(self, row: Row) -> ParsedMessage | None:
        raise NotImplementedError


class OpenAIMessages(_MessageLists):
    """Messages as the chat completions API takes them."""

    source = Source.OPENAI

    def _is_message(self, row: Row) -> bool:
        return _role(OPENAI_ROLES, row.get("role")) is not None

    def _is_bare(self, row: Row) -> bool:
        # Lists of people have roles too.
        return self._is_message(row) and bool(SAID & row.keys())

    def _message(self, row: Row) -> ParsedMessage | None:
        return _message_of(_role(OPENAI_ROLES, row.get("role")), row, leave=("role",))


class ShareGPT(_MessageLists):
    """Conversations as data sets for training have them."""

    source = Source.SHAREGPT
    list_key = "conversations"

    def _is_message(self, row: Row) -> bool:
        return "value" in row and _role(SHAREGPT_ROLES, row.get("from")) is not None

    def _is_bare(self, row: Row) -> bool:
        return False

    def _message(self, row: Row) -> ParsedMessage | None:
        renamed = {name: value for name, value in row.items() if name not in ("from", "value")}
        if not isinstance(row.get("value"), str | list):
            return None
        role = _role(SHAREGPT_ROLES, row.get("from"))
        return _message_of(role, renamed | {"content": row["value"]})


class LangChainMessages(_MessageLists):
    """Messages as LangChain's `messages_to_dict` or its serialisation writes them."""

    source = Source.LANGCHAIN

    def _is_message(self, row: Row) -> bool:
        kind, _ = _langchain(row)
        return kind in LANGCHAIN_ROLES or kind == "chat"

    def _message(self, row: Row) -> ParsedMessage | None:
        kind, data = _langchain(row)
        if kind == "chat":
            role = _role(OPENAI_ROLES | LANGCHAIN_ROLES, data.get("role"))
        else:
            role = _role(LANGCHAIN_ROLES, kind)
        return _message_of(role, data, leave=("type", "role"))


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """What opens an array of conversations, if the file is one, and then each conversation."""
    file.seek(0)
    pieces = array_pieces(file)
    opening = next(pieces)
    file.seek(0)
    if not opening and is_lines(file):
        file.seek(0)
        return chain([b""], lines_of(file))
    file.seek(0)
    return array_pieces(file)


def _header(cut: CutObject, fallback_key: str) -> Header:
    row = cut.members
    # A number is the place in a data set, which others have too.
    identifiers = (short_text(row.get(name), 200) for name in ("id", "conversation_id"))
    identifier = next(filter(None, identifiers), "")
    title = short_text(row.get("title"), LONGEST_TITLE)
    return Header(
        key=identifier or fallback_key,
        title=title,
        metadata=picked(row, CONVERSATION_METADATA),
        certain=bool(identifier),
        declared=bool(identifier or title),
    )


def _role(roles: dict[str, Role], name: Any) -> Role | None:
    return roles.get(name) if isinstance(name, str) else None


def _langchain(row: Row) -> tuple[str, Row]:
    """The kind of a message and its fields, in either of LangChain's two forms."""
    kind, data, path = row.get("type"), row.get("data"), row.get("id")
    if kind == "constructor" and "lc" in row and isinstance(path, list) and path:
        data = row.get("kwargs")
        kind = str(path[-1]).removesuffix("Chunk").removesuffix("Message").lower()
    if not isinstance(kind, str) or not isinstance(data, dict):
        return "", {}
    return kind.removesuffix("MessageChunk").lower(), data


def _message_of(role: Role | None, row: Row, leave: Iterable[str] = ()) -> ParsedMessage | None:
    """A message of any of the formats with OpenAI's names for what it says."""
    blocks = _blocks(row.get("content"))
    if role is None or blocks is None:
        return None
    if role == Role.TOOL:
        blocks = [_tool_result(row, blocks)]
    api_id = _api_id(row)
    told = {*leave, *SAID} - ({"tool_call_id"} if role != Role.TOOL else set())
    return ParsedMessage(
        native_key="",
        role=role,
        content=[
            *_told(row, "reasoning_content", "thinking"),
            *blocks,
            *_told(row, "refusal", "refusal"),
            *_tool_uses(row, blocks),
        ],
        sent_at=next(filter(None, (moment(row.get(name)) for name in TIMES)), None),
        api_id=api_id,
        metadata=_models(row) | _other(row, told, api_id),
    )


def _other(row: Row, said: set[str], api_id: str) -> Row:
    """What a message has besides, so that nothing of it goes unseen."""
    other = {name: value for name, value in row.items() if name not in said and value}
    if other.get("id") == api_id:
        del other["id"]
    return other


def _models(row: Row) -> dict[str, Any]:
    answer = _object(row, "response_metadata")
    names = {"model_name": "model", "model": "model", "token_usage": "usage", "usage": "usage"}
    return picked(answer, names) | picked(row, {"usage_metadata": "usage"})


def _api_id(row: Row) -> str:
    answered = native_id(_object(row, "response_metadata").get("id"))
    own = native_id(row.get("id"))
    return answered or (own if own.startswith(API_ID_STARTS) else "")


def _object(row: Row, name: str) -> Row:
    value = row.get(name)
    return value if isinstance(value, dict) else {}


def _blocks(content: Any) -> list[Block] | None:
    """Content as blocks: parts may be plain texts, and encoded bytes are not for reading."""
    if not content:
        return []
    if isinstance(content, list):
        content = [_part(part) for part in content]
    return blocks_of(content)


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type") if isinstance(part, dict) else None
    return part | {"type": ENCODED[kind]} if isinstance(kind, str) and kind in ENCODED else part


def _told(row: Row, name: str, kind: str) -> list[Block]:
    """What is said beside the content."""
    return [{"type": kind, kind: row[name]}] if row.get(name) else []


def _tool_result(row: Row, blocks: list[Block]) -> Block:
    content = row.get("content")
    return {
        "type": "tool_result",
        **picked(row, {"tool_call_id": "tool_use_id"}),
        "content": content if isinstance(content, str) else blocks,
    }


def _tool_uses(row: Row, blocks: list[Block]) -> Iterator[Block]:
    """The calls of a message, without those that its content has already."""
    told = [block.get("id") for block in blocks if block.get("type") == "tool_use"]
    own = row.get("tool_calls") or _object(row, "additional_kwargs").get("tool_calls")
    for calls in (own, row.get("invalid_tool_calls")):
        for call in calls if isinstance(calls, list) else filter(None, [calls]):
            block = _tool_use(call)
            if block.get("id") is None or block["id"] not in told:
                yield block
    if row.get("function_call"):
        yield _tool_use({"function": row["function_call"]})


def _tool_use(call: Any) -> Block:
    """A call by its own fields, or those of the function in it, as LangChain and OpenAI do."""
    if not isinstance(call, dict):
        return {"type": "unknown", "value": call}
    function = call.get("function")
    if not isinstance(function, dict):
        renamed = {"input" if name == "args" else name: value for name, value in call.items()}
        return renamed | {"type": "tool_use"}
    named = picked(call, {"id": "id"}) | picked(function, {"name": "name"})
    return {"type": "tool_use", **named, "input": _decoded(function.get("arguments"))}


def _decoded(arguments: Any) -> Any:
    """The arguments of a call, which stand as JSON in a string."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
