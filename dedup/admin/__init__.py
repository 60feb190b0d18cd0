"""The operator's view of the archives. Nothing is edited; secrets in conversations are masked."""

from dedup.admin.conversations import ConversationAdmin
from dedup.admin.imports import ArtifactAdmin, DeduplicationLogAdmin, ImportAdmin
from dedup.admin.messages import MessageAdmin

__all__ = [
    "ArtifactAdmin",
    "ConversationAdmin",
    "DeduplicationLogAdmin",
    "ImportAdmin",
    "MessageAdmin",
]
