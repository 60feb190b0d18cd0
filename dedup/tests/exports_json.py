"""Exports of other programs, as they write them."""

import json
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

TARTS = "68a1f3c2-8d10-8004-9a51-2f6f0c1d7e01"
BREAD = "68a1f3c2-8d10-8004-9a51-2f6f0c1d7e02"
CLAUDE_TARTS = "0d0c2c38-56b5-4be7-9d3c-5b9f7c1e8a01"
CLAUDE_EMPTY = "0d0c2c38-56b5-4be7-9d3c-5b9f7c1e8a02"
CLAUDE_ROOT = "00000000-0000-4000-8000-000000000000"


def as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def as_lines(rows: Sequence[Any]) -> bytes:
    return b"".join(as_json(row) + b"\n" for row in rows)


# --- ChatGPT -------------------------------------------------------------------------------------


def chatgpt_message(key: str, role: str, content: Any, second: int = 0, **other: Any) -> Row:
    """A message; content that is a text is that of one part."""
    if isinstance(content, str):
        content = {"content_type": "text", "parts": [content]}
    return {
        "id": key,
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": 1772445600.0 + second,
        "update_time": None,
        "content": content,
        "status": "finished_successfully",
        "end_turn": None,
        "weight": 1.0,
        "metadata": {},
        "recipient": "all",
        "channel": None,
    } | other


def chatgpt_node(
    key: str, parent: str | None, message: Row | None = None, children: Sequence[str] = ()
) -> Row:
    return {"id": key, "message": message, "parent": parent, "children": list(children)}


def chatgpt_said(
    key: str, parent: str | None, role: str, content: Any, children: Sequence[str] = ()
) -> Row:
    """A node with a message of the same id."""
    return chatgpt_node(key, parent, chatgpt_message(key, role, content), children)


def chatgpt_conversation(
    nodes: Sequence[Row], key: str = TARTS, title: str = "Tarts", **other: Any
) -> Row:
    return {
        "title": title,
        "create_time": 1772445600.0,
        "update_time": 1772449200.5,
        "mapping": {node["id"]: node for node in nodes},
        "moderation_results": [],
        "current_node": nodes[-1]["id"] if nodes else None,
        "plugin_ids": None,
        "conversation_id": key,
        "conversation_template_id": None,
        "gizmo_id": None,
        "is_archived": False,
        "default_model_slug": "gpt-4o",
        "id": key,
    } | other


def chatgpt_conversations() -> list[Row]:
    """Tarts with an edited prompt, an image and a tool; bread that says "continue" twice."""
    image = {
        "content_type": "image_asset_pointer",
        "asset_pointer": "sediment://file_0001",
        "size_bytes": 20480,
        "width": 640,
        "height": 480,
    }
    photo = {"content_type": "multimodal_text", "parts": [image, "Is this crust done?"]}
    code = {"content_type": "code", "language": "python", "text": "print(180 * 9 / 5 + 32)"}
    output = {"content_type": "execution_output", "text": "356.0"}
    hidden = chatgpt_message(
        "t1", "system", "", weight=0.0, metadata={"is_visually_hidden_from_conversation": True}
    )
    run = chatgpt_message("t5", "assistant", code, 4, recipient="python")
    ran = chatgpt_message(
        "t6", "tool", output, 5, author={"role": "tool", "name": "python", "metadata": {}}
    )
    tarts = [
        chatgpt_node("root", None, None, ["t1"]),
        chatgpt_node("t1", "root", hidden, ["t2", "t3"]),
        chatgpt_said("t2", "t1", "user", "How long do tarts bake?", ["t4"]),
        chatgpt_said("t3", "t1", "user", photo, ["t5"]),
        chatgpt_said("t4", "t2", "assistant", "Twenty-five minutes."),
        chatgpt_node("t5", "t3", run, ["t6"]),
        chatgpt_node("t6", "t5", ran),
    ]
    bread = [
        chatgpt_node("root", None, None, ["b1"]),
        chatgpt_said("b1", "root", "user", "continue", ["b2"]),
        chatgpt_said("b2", "b1", "assistant", "Knead it.", ["b3"]),
        chatgpt_said("b3", "b2", "user", "continue", ["b4"]),
        chatgpt_said("b4", "b3", "assistant", "Let it rise."),
    ]
    return [chatgpt_conversation(tarts), chatgpt_conversation(bread, BREAD, "Bread")]


def chatgpt_export() -> bytes:
    return as_json(chatgpt_conversations())


# --- claude.ai -----------------------------------------------------------------------------------


def claude_ai_message(
    key: str, sender: str, text: str, parent: str | None = None, second: int = 0, **other: Any
) -> Row:
    """A message; it names a parent if one is given."""
    time = f"2026-03-02T10:00:{second:02}.000000Z"
    block: Row = {
        "start_timestamp": time,
        "stop_timestamp": time,
        "flags": None,
        "type": "text",
        "text": text,
        "citations": [],
    }
    message = {
        "uuid": key,
        "text": text,
        "content": [block],
        "sender": sender,
        "created_at": time,
        "updated_at": time,
        "attachments": [],
        "files": [],
    }
    return message | ({} if parent is None else {"parent_message_uuid": parent}) | other


def claude_ai_conversation(
    messages: Sequence[Row], key: str = CLAUDE_TARTS, name: str = "Tarts", **other: Any
) -> Row:
    return {
        "uuid": key,
        "name": name,
        "summary": "",
        "created_at": "2026-03-02T10:00:00.000000Z",
        "updated_at": "2026-03-02T11:00:00.000000Z",
        "account": {"uuid": "account-1"},
        "chat_messages": list(messages),
    } | other


def claude_ai_conversations() -> list[Row]:
    """Tarts with an edited prompt, a tool and attachments, and a conversation without a word."""
    recipe = {
        "file_name": "recipe.txt",
        "file_size": 24,
        "file_type": "txt",
        "extracted_content": "Two hundred grams of flour",
    }
    search = {"type": "tool_use", "name": "web_search", "input": {"query": "oven temperature"}}
    found = {
        "type": "tool_result",
        "name": "web_search",
        "content": [{"type": "text", "text": "180"}],
    }
    messages = [
        claude_ai_message("m1", "human", "continue", CLAUDE_ROOT, 1, attachments=[recipe]),
        claude_ai_message("m2", "assistant", "Bake it.", "m1", 2, content=[search, found]),
        claude_ai_message("m3", "human", "continue", "m2", 3, files=[{"file_name": "tart.png"}]),
        claude_ai_message("m4", "human", "How hot?", CLAUDE_ROOT, 4),
        claude_ai_message("m5", "assistant", "It is golden.", "m3", 5),
        claude_ai_message("m6", "assistant", "180 degrees.", "m4", 6),
    ]
    return [
        claude_ai_conversation(messages, current_leaf_message_uuid="m6"),
        claude_ai_conversation([], CLAUDE_EMPTY, "Never asked"),
    ]


def claude_ai_export() -> bytes:
    return as_json(claude_ai_conversations())


# --- Lists of messages ---------------------------------------------------------------------------


def openai_messages() -> list[Row]:
    """A conversation with a tool, an image and a repeated prompt."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "oven", "arguments": '{"degrees": 180}'},
    }
    photo = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    return [
        {"role": "developer", "content": "You bake."},
        {"role": "user", "content": [{"type": "text", "text": "Is it done?"}, photo]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "180 degrees"},
        {"role": "assistant", "content": "Almost."},
        {"role": "user", "content": "continue"},
        {"role": "user", "content": "continue"},
    ]


def openai_export() -> bytes:
    """One conversation a line."""
    bread = [{"role": "user", "content": "Bread?"}, {"role": "assistant", "content": "Knead."}]
    return as_lines(
        [
            {"id": "chat-1", "model": "gpt-4o", "messages": openai_messages()},
            {"id": "chat-2", "model": "gpt-4o", "messages": bread},
        ]
    )


def sharegpt_export() -> bytes:
    return as_json(
        [
            {
                "id": "tarts_0",
                "conversations": [
                    {"from": "system", "value": "You bake."},
                    {"from": "human", "value": "How hot?"},
                    {"from": "gpt", "value": "180 degrees."},
                    {"from": "tool", "value": "The oven is hot."},
                ],
            },
            {"id": "bread_0", "conversations": [{"from": "human", "value": "How hot?"}]},
        ]
    )


def langchain_export() -> bytes:
    """What `messages_to_dict` gives: one conversation."""
    call = {"name": "oven", "args": {"degrees": 180}, "id": "call_1", "type": "tool_call"}
    answer = {
        "content": "",
        "additional_kwargs": {},
        "response_metadata": {"model_name": "gpt-4o", "finish_reason": "tool_calls"},
        "type": "ai",
        "name": None,
        "id": "run-7d0b1f52",
        "tool_calls": [call],
        "invalid_tool_calls": [],
        "usage_metadata": {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17},
    }
    result = {"content": "180 degrees", "type": "tool", "tool_call_id": "call_1", "id": "r1"}
    return as_json(
        [
            {"type": "system", "data": {"content": "You bake.", "type": "system"}},
            {"type": "human", "data": {"content": "Heat the oven.", "type": "human", "id": "h1"}},
            {"type": "ai", "data": answer},
            {"type": "tool", "data": result},
        ]
    )


def langchain_constructor(name: str, **fields: Any) -> Row:
    """A message as LangChain serialises its objects."""
    path = ["langchain", "schema", "messages", name]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": fields}
