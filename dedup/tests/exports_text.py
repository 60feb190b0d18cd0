"""Exports in forms that are lines of text, as their programs write them."""

import hashlib
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Row = dict[str, Any]

SESSION = "0199f0aa-1111-7222-8333-444455556666"
STARTED_AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
# Where a kind of turn begins a line, and where its further lines stand.
MARGINS = {
    "prompt": ("> ", ""),
    "reply": ("⏺ ", "  "),
    "call": ("⏺ ", "      "),
    "result": ("  ⎿  ", "     "),
    "thinking": ("  ", "  "),
}


# --- Claude Code's /export ---------------------------------------------------------------------


def export_text(
    turns: Iterable[tuple[str, str]],
    *,
    width: int = 80,
    folder: str = "/home/ada/bakery",
    compacted: bool = False,
) -> bytes:
    """Turns of the kinds prompt, reply, call, result and thinking, in a window of that width."""
    lines = [
        "",
        "▗ ▗   ▖ ▖  Claude Code v2.0.42",
        "           Sonnet 4.5 · Claude Max",
        f"  ▘▘ ▝▝    {folder}",
    ]
    if compacted:
        lines.append(" Conversation compacted · ctrl+o for history ".center(width, "═"))
    for kind, text in turns:
        if kind != "result":
            lines.append("")
        if kind == "thinking":
            lines += ["✻ Thinking…", ""]
        lines += _wrapped(text, width, *MARGINS[kind])
    return "\n".join([*lines, "", "", ""]).encode()


def _wrapped(text: str, width: int, first: str, further: str) -> list[str]:
    lines = [
        piece
        for line in text.split("\n")
        for piece in textwrap.wrap(line, width - len(first or further), break_on_hyphens=False)
        or [""]
    ]
    return [(further if number else first) + line for number, line in enumerate(lines)]


# --- Codex -------------------------------------------------------------------------------------


def spoken(role: str, text: str) -> Row:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def called(call_id: str, name: str, **arguments: Any) -> Row:
    return {
        "type": "function_call",
        "name": name,
        "arguments": json.dumps(arguments),
        "call_id": call_id,
    }


def returned(call_id: str, output: Any) -> Row:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def thought(text: str, encrypted: str = "gAAAAABo") -> Row:
    summary = [{"type": "summary_text", "text": text}]
    return {
        "type": "reasoning",
        "summary": summary,
        "content": None,
        "encrypted_content": encrypted,
    }


def codex_rollout(items: Sequence[Row], *, session: str = SESSION, **meta: Any) -> bytes:
    """Response items between the rows that surround them: each event says an item once more."""
    rows = [
        (
            "session_meta",
            {
                "id": session,
                "timestamp": STARTED_AT.isoformat(),
                "cwd": "/home/ada/bakery",
                "originator": "codex_cli_rs",
                "cli_version": "0.65.0",
                "source": "cli",
                "model_provider": "openai",
                "git": {"branch": "main", "commit_hash": "4f2c"},
                **meta,
            },
        ),
        ("turn_context", {"cwd": "/home/ada/bakery", "model": "gpt-5.1-codex", "effort": "high"}),
    ]
    for item in items:
        rows.append(("response_item", item))
        rows += _events(item)
    lines = (
        {"timestamp": _time(number), "type": kind, "payload": payload}
        for number, (kind, payload) in enumerate(rows)
    )
    return json_lines(lines)


def _events(item: Row) -> list[tuple[str, Row]]:
    if item["type"] != "message" or item["role"] not in ("user", "assistant"):
        return []
    kind = {"user": "user_message", "assistant": "agent_message"}[item["role"]]
    usage = {"input_tokens": 900, "output_tokens": 12, "total_tokens": 912}
    return [
        ("event_msg", {"type": kind, "message": item["content"][0]["text"]}),
        ("event_msg", {"type": "token_count", "info": {"last_token_usage": usage}}),
    ]


def _time(number: int) -> str:
    moment = STARTED_AT + timedelta(seconds=number)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- The state directory -----------------------------------------------------------------------


def legacy_message(index: int, role: str, content: str) -> Row:
    return {"index": index, "role": role, "type": role, "content": content}


def legacy_row(conversation: str, message: Row, second: int = 0) -> Row:
    hashed = {
        "content": message["content"],
        "index": message.get("index", 0),
        "role": message.get("type", message.get("role")),
    }
    return {
        "conversation_id": conversation,
        "timestamp": f"2025-11-17T13:31:{second:02}.642900",
        "content_hash": hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest(),
        "message": message,
    }


def legacy_state(folder: Path, conversations: Mapping[str, Sequence[Row]]) -> Path:
    """The three files, of messages as `legacy_message` makes them."""
    rows = {
        conversation: [legacy_row(conversation, message) for message in messages]
        for conversation, messages in conversations.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    log = json_lines(row for found in rows.values() for row in found)
    (folder / "conversation_log.jsonl").write_bytes(log)
    watermarks = {
        conversation: max(message.get("index", 0) for message in messages)
        for conversation, messages in conversations.items()
    }
    hashes = {
        conversation: [row["content_hash"] for row in found] for conversation, found in rows.items()
    }
    for name, values in (("watermarks.json", watermarks), ("content_hashes.json", hashes)):
        (folder / name).write_text(json.dumps(values, indent=2))
    return folder


def json_lines(rows: Iterable[Row]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
