from django.db.models import TextChoices


class Source(TextChoices):
    """The program a conversation was held in, or the form in which it was handed on."""

    CLAUDE_CODE = "claude_code", "Claude Code"
    CLAUDE_CODE_TEXT = "claude_code_text", "Claude Code /export text"
    CLAUDE_AI = "claude_ai", "Claude.ai"
    CHATGPT = "chatgpt", "ChatGPT"
    CODEX = "codex", "Codex"
    OPENAI = "openai", "OpenAI messages"
    SHAREGPT = "sharegpt", "ShareGPT"
    LANGCHAIN = "langchain", "LangChain messages"
    LEGACY_STATE = "legacy_state", "Legacy state directory"


class Role(TextChoices):
    USER = "user", "User"
    ASSISTANT = "assistant", "Assistant"
    SYSTEM = "system", "System"
    TOOL = "tool", "Tool"


class ImportStatus(TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"


UNFINISHED = (ImportStatus.QUEUED, ImportStatus.RUNNING)


class Operation(TextChoices):
    """What a line of the de-duplication log tells of."""

    PROCESS_EXPORT = "process_export", "Process export"
    MIGRATE = "migrate", "Migrate"
    REBUILD = "rebuild", "Rebuild"
