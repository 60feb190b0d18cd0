"""Every format: what comes out is what went in, in whatever order, and the second time for free."""

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup.choices import Source
from dedup.containers import members_of
from dedup.models import Placement
from dedup.services import import_path
from dedup.tests.exports_json import (
    as_json,
    as_lines,
    chatgpt_conversations,
    chatgpt_export,
    claude_ai_export,
    langchain_constructor,
    langchain_export,
    openai_export,
    sharegpt_export,
)
from dedup.tests.exports_text import (
    called,
    codex_rollout,
    export_text,
    legacy_message,
    legacy_state,
    returned,
    spoken,
    thought,
)
from dedup.tests.factories import (
    SESSION,
    counts_of_tables,
    dialogue,
    kept,
    latest_import,
    lines,
    prompt,
    rebuilt_files,
    reply,
    transcript,
)
from dedup.verification import imports_to_verify, integrity_problems, verify_import

pytestmark = pytest.mark.django_db(transaction=True)

SEEDS = range(3)
CODEX_SESSION = "0199f0aa-1111-7222-8333-444455556666"

Reading = dict[tuple[str, str], list[str]]


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def agent_rows() -> bytes:
    rows = [
        prompt("s0", "Look up the density of flour", agentId="a1", isSidechain=True),
        reply("s1", "0.53 g/ml", "s0", 1, agentId="a1", isSidechain=True),
    ]
    return lines(rows)


def transcripts_with_agents() -> dict[str, bytes]:
    """A folder of a project as Claude Code keeps it, packed by a person on a Mac."""
    folder = f"projects/-home-ada-bakery/{SESSION}"
    return {
        f"{folder}.jsonl": lines(dialogue(5)),
        f"{folder}/subagents/agent-a1.jsonl": agent_rows(),
        f"{folder}/subagents/agent-a1.meta.json": b'{"agentType":"x","description":"Densities"}',
        f"__MACOSX/{folder}.jsonl": b"\x00\x05\x16\x07",
        "projects/-home-ada-bakery/tart.png": b"\x89PNG\r\n",
    }


def text_turns() -> list[tuple[str, str]]:
    return [
        ("prompt", "How long does the rye bread bake?"),
        ("thinking", "Rye takes longer than wheat."),
        ("call", "Read(recipes/rye.md)"),
        ("result", "Bake for fifty minutes at 180 degrees"),
        ("reply", "Fifty minutes, and then let it cool on a rack for an hour before cutting it."),
        ("prompt", "continue"),
        ("reply", "Done."),
        ("prompt", "continue"),
        ("reply", "Done."),
    ]


def codex_items() -> list[dict[str, Any]]:
    return [
        spoken("user", "<environment_context>\n  <cwd>/home/ada</cwd>\n</environment_context>"),
        spoken("user", "How hot is the oven?"),
        thought("**Reading the sensor**"),
        called("call_1", "shell", command=["cat", "/dev/oven"]),
        returned("call_1", "180"),
        spoken("assistant", "180 degrees."),
    ]


def mill_messages() -> list[dict[str, Any]]:
    """A conversation of which only the file has a name."""
    texts = ["Is the mill open?", "Until six.", "continue", "The stones are new.", "continue"]
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


def mill_chain() -> list[dict[str, Any]]:
    kinds = {"user": "human", "assistant": "ai"}
    return [
        {"type": kinds[row["role"]], "data": {"content": row["content"]}} for row in mill_messages()
    ]


def exports(folder: Path) -> list[Path]:
    """One file or more of every format, beside each other in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    chatgpt = {
        "conversations.json": chatgpt_export(),
        "user.json": b'{"id": "user-1", "email": "ada@bakery.example"}',
        "message_feedback.json": b"[]",
        "chat.html": b"<html>",
        "file_0001-tart.png": b"\x89PNG\r\n",
    }
    langchain_lines = [
        {"id": "chain-1", "messages": json.loads(langchain_export())},
        {
            "id": "chain-2",
            "messages": [
                langchain_constructor("HumanMessage", content="Bread?", type="human"),
                langchain_constructor("AIMessage", content="Knead it.", type="ai"),
            ],
        },
    ]
    plain = {
        "rollout-2026-03-01T09-30-00-" + CODEX_SESSION + ".jsonl": codex_rollout(codex_items()),
        "2026-03-02-bakery.txt": export_text(text_turns()),
        "messages.json": as_json(mill_messages()),
        "openai.jsonl": openai_export(),
        "sharegpt.json": sharegpt_export(),
        "sharegpt.jsonl": as_lines(json.loads(sharegpt_export())),
        "langchain.json": as_json(mill_chain()),
        "langchain.jsonl": as_lines(langchain_lines),
        "tarts.json": as_json(chatgpt_conversations()[0]),
        "conversations.json": claude_ai_export(),
        "log-of-november.jsonl": (
            legacy_state(folder / "older", {"2025-11-16-mill": [legacy_message(0, "user", "Rye")]})
            / "conversation_log.jsonl"
        ).read_bytes(),
    }
    for name, data in plain.items():
        (folder / name).write_bytes(data)
    mixed = {"a/tarts.json": chatgpt_export(), "b/rye.txt": export_text(text_turns(), width=60)}
    talk = [
        legacy_message(0, "user", "I will look at the recipes."),
        legacy_message(1, "user", "Bash(grep -rn yeast)"),
        legacy_message(2, "assistant", "bread/rye.py:12"),
        legacy_message(3, "user", "I will look at the recipes."),
    ]
    return [
        *(folder / name for name in plain),
        transcript(folder, dialogue(6)),
        zipped(folder / "chatgpt.zip", chatgpt),
        zipped(folder / "claude-ai.zip", {"conversations.json": claude_ai_export()}),
        zipped(folder / "projects.zip", transcripts_with_agents()),
        zipped(folder / "mixed.zip", mixed),
        legacy_state(folder / "state", {"2025-11-17-bakery": talk}),
    ]


def bytes_of(path: Path) -> bytes:
    """What the records of the file, joined, must be: its own bytes, or what a zip has in it.

    A member is named in a line of its own; after the line its bytes follow if they are read.
    """
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir())
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name in names:
                archive.writestr(name, (path / name).read_bytes())
        data = packed.getvalue()
    else:
        data = path.read_bytes()
    if not data.startswith(b"PK"):
        return data
    joined = b""
    for member in members_of(io.BytesIO(data), path.name):
        content = member.content.read() if member.content else None
        read = content is not None and Path(member.name).name not in (
            "user.json",
            "message_feedback.json",
        )
        joined += member.manifest(read=read) + (content or b"" if read else b"")
    return joined


def reading(user_id: UUID) -> Reading:
    """What a reader meets in each conversation: the texts of its messages in order.

    Where lines break is left out: windows have widths.
    """
    with acting_as(user_id):
        placed = Placement.objects.order_by(
            "segment__conversation", "segment__number", "position"
        ).select_related("segment__conversation")
        found: Reading = {}
        for row in placed.prefetch_related("message__revisions"):
            conversation = row.segment.conversation
            texts = [" ".join(each.text.split()) for each in row.message.revisions.all()]
            key = (conversation.source, conversation.native_key)
            found.setdefault(key, []).append(" | ".join(sorted(texts)))
        return found


def placements(user_id: UUID) -> list[tuple[Any, ...]]:
    with acting_as(user_id):
        rows = Placement.objects.order_by("segment", "position")
        return list(rows.values_list("segment", "message", "position"))


def assert_sound(user_id: UUID) -> None:
    assert integrity_problems(user_id) == []
    for row in imports_to_verify(user_id):
        assert verify_import(user_id, row) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_each_file_of_every_format_comes_back_and_the_second_time_adds_import_rows(
    tmp_path: Path, seed: int
) -> None:
    owner, paths = make_user(), exports(tmp_path)
    random.Random(seed).shuffle(paths)

    for number, path in enumerate(paths, start=1):
        result = import_path(user_id=owner.pk, path=path)

        assert result.counts.unreadable_records == 0
        assert verify_import(owner.pk, latest_import(owner.pk)) == []
        assert integrity_problems(owner.pk) == []
        assert rebuilt_files(owner.pk)[str(path)] == bytes_of(path)
        assert len(imports_to_verify(owner.pk)) == number
    before, order = counts_of_tables(), placements(owner.pk)
    random.Random(-seed - 1).shuffle(paths)
    for path in paths:
        assert import_path(user_id=owner.pk, path=path).already_imported

    assert counts_of_tables() == before | {"dedup_import": before["dedup_import"] + len(paths)}
    assert placements(owner.pk) == order
    assert rebuilt_files(owner.pk) == {str(path): bytes_of(path) for path in paths}
    assert_sound(owner.pk)


def test_every_format_is_among_them(tmp_path: Path) -> None:
    owner, paths = make_user(), exports(tmp_path)

    sources = {import_path(user_id=owner.pk, path=path).source for path in paths}

    assert sources == set(Source.values)


def test_the_archive_does_not_depend_on_the_order_of_the_files(tmp_path: Path) -> None:
    archives: list[Any] = []
    for seed in SEEDS:
        owner, paths = make_user(), exports(tmp_path)
        random.Random(seed).shuffle(paths)
        for path in paths:
            import_path(user_id=owner.pk, path=path)
        # A conversation without an id has the name of the file that brought it first.
        texts = sorted((source, words) for (source, _), words in reading(owner.pk).items())
        archives.append((texts, len(kept(owner.pk))))

    assert archives[0] == archives[1]
    assert archives[0] == archives[2]


@pytest.mark.parametrize("name", ["conversation_log.jsonl", "watermarks.json"])
def test_a_file_of_a_state_directory_by_itself_is_imported(tmp_path: Path, name: str) -> None:
    owner = make_user()
    state = legacy_state(tmp_path, {"2025-11-16-mill": [legacy_message(0, "user", "Rye")]})

    import_path(user_id=owner.pk, path=state / name)

    row = latest_import(owner.pk)
    assert len(row.report["missing_files"]) == 2
    assert rebuilt_files(owner.pk) == {str(state / name): (state / name).read_bytes()}
    assert_sound(owner.pk)


def repacked(path: Path) -> Path:
    """The same members in other bytes, so that nothing is known before it is read."""
    copied = path.with_name(f"again-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copied, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    return copied


def spaced(path: Path) -> Path:
    """The same file with one more blank line, under the same name elsewhere."""
    copied = path.parent / "again" / path.name
    copied.parent.mkdir(exist_ok=True)
    copied.write_bytes(path.read_bytes() + b"\n")
    return copied


def other_copies(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_file():
            copy: Callable[[Path], Path] = repacked if path.suffix == ".zip" else spaced
            yield copy(path)


def test_other_bytes_that_say_the_same_bring_no_message(tmp_path: Path) -> None:
    owner, paths = make_user(), exports(tmp_path)
    for path in paths:
        import_path(user_id=owner.pk, path=path)
    before, order = counts_of_tables(), placements(owner.pk)

    for path in other_copies(paths):
        counts = import_path(user_id=owner.pk, path=path).counts
        assert (counts.new_messages, counts.revisions) == (0, 0)

    after = counts_of_tables()
    for table in ("message", "revision", "placement", "segment", "conversation", "alias"):
        assert after[f"dedup_{table}"] == before[f"dedup_{table}"]
    assert placements(owner.pk) == order
    assert_sound(owner.pk)
