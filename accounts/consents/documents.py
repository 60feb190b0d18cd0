import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings

from accounts.choices import ConsentType


@dataclass(frozen=True)
class Document:
    """A text as it is shown; `version` is what its number is in the settings."""

    type: ConsentType
    version: int
    text: str

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.text.encode()).digest()


def current_documents() -> list[Document]:
    """Every text that has to be agreed to, in its current version."""
    return [current_document(kind) for kind in ConsentType]


def current_document(kind: ConsentType) -> Document:
    path = Path(settings.CONSENT_DOCUMENTS_DIR) / f"{kind.value}.md"
    return Document(kind, current_version(kind), _text_of(path))


def current_version(kind: ConsentType) -> int:
    return int(settings.CONSENT_VERSIONS.get(kind.value, 1))


@cache
def _text_of(path: Path) -> str:
    """Read once: a process shows the text that it began with."""
    return path.read_text(encoding="utf-8")
