"""Generated transcripts of Claude Code: rows of about 2.4 kB, the same for the same seed.

The sentences are those of the LoCoMo conversations where the folder `shared` lies beside the
checkout; else they are made of words whose frequency falls with their rank (Zipf).
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from pathlib import Path
from typing import Any
from uuid import UUID

Row = dict[str, Any]

LOCOMO = Path(__file__).resolve().parents[2] / "shared" / "data" / "memory" / "locomo_dev.json"
FIRST_MOMENT = datetime(2026, 3, 2, 9, tzinfo=UTC)

VOCABULARY = 20_000
SENTENCES = 6_000
SYLLABLES = (
    "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su",
    "ta", "ve", "wi", "tra", "ster", "ment", "ing",
)  # fmt: skip
COMMON = (
    "the", "of", "and", "to", "a", "in", "is", "that", "it", "for", "was", "on", "are", "as",
    "with", "his", "they", "at", "be", "this", "from", "have", "or", "by", "one", "had", "not",
    "but", "what", "all", "were", "when", "we", "there", "can", "an", "your", "which", "their",
)  # fmt: skip

# Of 100 steps so many begin with a prompt; parts of answers by their weight.
PROMPTS = 8
REPLIES, THOUGHTS, CALLS = 22, 8, 31


@dataclass(frozen=True)
class Words:
    """Sentences to write with, and where they come from."""

    origin: str
    sentences: list[str] = field(repr=False)


def words(seed: int = 7) -> Words:
    if LOCOMO.exists():
        return Words("LoCoMo", _sentences_of_locomo(json.loads(LOCOMO.read_bytes())))
    return Words("built-in vocabulary", _made_sentences(random.Random(seed)))


def _sentences_of_locomo(samples: list[dict[str, Any]]) -> list[str]:
    return [
        turn["text"]
        for sample in samples
        for session in sample["conversation"].values()
        if isinstance(session, list)
        for turn in session
    ]


def _made_sentences(chance: random.Random) -> list[str]:
    made = {"".join(chance.choices(SYLLABLES, k=chance.randint(2, 4))) for _ in range(VOCABULARY)}
    # In any order but that of the letters, and the same one for every hash seed.
    vocabulary = [*COMMON, *chance.sample(sorted(made), len(made))]
    weights = list(accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))
    return [
        " ".join(chance.choices(vocabulary, cum_weights=weights, k=chance.randint(6, 24))) + "."
        for _ in range(SENTENCES)
    ]


def write_transcript(path: Path, rows: Iterator[Row], count: int) -> Path:
    """Afterwards the file ends with the next `count` rows; it may have had some before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        for row in islice(rows, count):
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return path


def transcript_path(folder: Path, seed: int) -> Path:
    """Named after its session, as Claude Code does."""
    return folder / f"{UUID(int=random.Random(seed).getrandbits(128), version=4)}.jsonl"


def session_rows(source: Words, seed: int) -> Iterator[Row]:
    """The rows of one endless session, each the child of the one before."""
    return _Session(source, seed).rows()


class _Session:
    """A person asks, and the model answers, thinks, calls tools and gets their results."""

    def __init__(self, source: Words, seed: int) -> None:
        self._chance = random.Random(seed)
        self._sentences = source.sentences
        self._id = str(UUID(int=random.Random(seed).getrandbits(128), version=4))
        self._moment = FIRST_MOMENT
        self._parent: str | None = None

    def rows(self) -> Iterator[Row]:
        while True:
            yield self._row("user", {"role": "user", "content": self._text(500)})
            # Until the next prompt the model answers in parts, as often as prompts are rare.
            while self._chance.randrange(100) >= PROMPTS:
                yield from self._part_of_answer()

    def _part_of_answer(self) -> Iterator[Row]:
        kind = self._chance.randrange(REPLIES + THOUGHTS + CALLS)
        if kind < REPLIES:
            yield self._answer({"type": "text", "text": self._text(1600)})
        elif kind < REPLIES + THOUGHTS:
            thought = {"type": "thinking", "thinking": self._text(1200), "signature": self._hex(60)}
            yield self._answer(thought)
        else:
            yield from self._tool_use()

    def _tool_use(self) -> Iterator[Row]:
        call = f"toolu_{self._hex(12)}"
        path = f"/home/ada/project/src/{self._hex(2)}/{self._hex(3)}.py"
        given = {"file_path": path, "content": self._text(1150)}
        yield self._answer({"type": "tool_use", "id": call, "name": "Write", "input": given})
        output = self._text(1150)
        block = {"type": "tool_result", "tool_use_id": call, "content": output}
        # The program writes what a tool gave out twice, the second time for itself.
        result = {"stdout": output, "stderr": "", "interrupted": False, "filePath": path}
        message = {"role": "user", "content": [block]}
        yield self._row("user", message) | {"toolUseResult": result}

    def _answer(self, block: Row) -> Row:
        message = {
            "id": f"msg_{self._hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [block],
            "stop_reason": "tool_use" if block["type"] == "tool_use" else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": self._chance.randrange(20),
                "cache_creation_input_tokens": self._chance.randrange(5_000),
                "cache_read_input_tokens": self._chance.randrange(150_000),
                "output_tokens": self._chance.randrange(2_000),
                "service_tier": "standard",
            },
        }
        return self._row("assistant", message) | {"requestId": f"req_{self._hex(12)}"}

    def _row(self, kind: str, message: Row) -> Row:
        key = str(UUID(int=self._chance.getrandbits(128), version=4))
        self._moment += timedelta(milliseconds=self._chance.randint(400, 20_000))
        row = {
            "parentUuid": self._parent,
            "isSidechain": False,
            "userType": "external",
            "cwd": "/home/ada/project",
            "sessionId": self._id,
            "version": "2.0.14",
            "gitBranch": "main",
            "type": kind,
            "message": message,
            "uuid": key,
            "timestamp": self._moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        self._parent = key
        return row

    def _text(self, length: int) -> str:
        """Sentences of about `length` letters together, some half or twice as many."""
        wanted = length * self._chance.uniform(0.4, 1.6)
        chosen: list[str] = []
        size = 0
        while size < wanted:
            chosen.append(self._chance.choice(self._sentences))
            size += len(chosen[-1]) + 1
        return " ".join(chosen)

    def _hex(self, size: int) -> str:
        return self._chance.randbytes(size).hex()
