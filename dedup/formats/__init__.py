"""The formats that archives come in. Detection asks each in turn."""

from dedup.choices import Source
from dedup.errors import UnknownFormatError
from dedup.formats.chatgpt import ChatGPT
from dedup.formats.claude_ai import ClaudeAI
from dedup.formats.claude_code import ClaudeCodeAgentNote, ClaudeCodeTranscript
from dedup.formats.claude_code_text import ClaudeCodeText
from dedup.formats.codex import CodexRollout
from dedup.formats.contract import Format
from dedup.formats.legacy_state import LegacyHashes, LegacyLog, LegacyWatermarks
from dedup.formats.message_lists import LangChainMessages, OpenAIMessages, ShareGPT

FORMATS: list[Format] = [
    ClaudeCodeAgentNote(),
    LegacyLog(),
    LegacyWatermarks(),
    LegacyHashes(),
    CodexRollout(),
    ClaudeCodeTranscript(),
    ChatGPT(),
    ClaudeAI(),
    OpenAIMessages(),
    ShareGPT(),
    LangChainMessages(),
    ClaudeCodeText(),
]


def formats_of(source: Source) -> list[Format]:
    return [candidate for candidate in FORMATS if candidate.source == source]


def detect(head: bytes, name: str) -> Format:
    """The format of a file by its first bytes and its name. Raises UnknownFormatError."""
    for candidate in FORMATS:
        if candidate.recognises(head, name):
            return candidate
    if not head:
        raise UnknownFormatError("The file is empty, and its name does not say what it would be.")
    if b"\x00" in head:
        raise UnknownFormatError("The file is binary. Give a transcript as the program wrote it.")
    known = ", ".join(sorted({candidate.source.label for candidate in FORMATS}))
    raise UnknownFormatError(f"Nothing in the file looks like a format known here: {known}.")
