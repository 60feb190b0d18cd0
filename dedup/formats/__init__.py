"""The formats that archives come in. Detection asks each in turn."""

from dedup.errors import UnknownFormatError
from dedup.formats.claude_code import ClaudeCodeAgentNote, ClaudeCodeTranscript
from dedup.formats.contract import Format

FORMATS: list[Format] = [ClaudeCodeAgentNote(), ClaudeCodeTranscript()]


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
