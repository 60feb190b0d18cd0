"""The texts that people agree to, as a page shows them: headings, paragraphs and lists."""

import re
from dataclasses import dataclass, field


@dataclass
class Block:
    """A part of a text: a "heading", a "paragraph", or a "list" with its items."""

    kind: str
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(self.lines)


def blocks_of(markdown: str) -> list[Block]:
    """What of Markdown a plain text needs; anything else in it is shown as it is written."""
    return [_block(part.splitlines()) for part in re.split(r"\n\s*\n", markdown) if part.strip()]


def _block(lines: list[str]) -> Block:
    lines = [line.strip() for line in lines if line.strip()]
    if lines[0].startswith("#"):
        return Block("heading", [" ".join(lines).lstrip("#").strip()])
    if lines[0].startswith(("- ", "* ")):
        return Block("list", _items(lines))
    return Block("paragraph", lines)


def _items(lines: list[str]) -> list[str]:
    items: list[str] = []
    for line in lines:
        if line.startswith(("- ", "* ")):
            items.append(line[2:].strip())
        else:
            items[-1] += f" {line}"
    return items
