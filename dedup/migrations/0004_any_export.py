import django.contrib.postgres.search
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


# The words are taken apart in the staging table, while the file is still being parsed.
FILLED_BY_IMPORT = """
    ALTER TABLE dedup_revision ALTER COLUMN search DROP EXPRESSION;
    ALTER TABLE dedup_revision ALTER COLUMN search SET NOT NULL
"""
FILLED_BY_EXPRESSION = """
    ALTER TABLE dedup_revision DROP COLUMN search;
    ALTER TABLE dedup_revision ADD COLUMN search tsvector
        GENERATED ALWAYS AS (to_tsvector('english'::regconfig, COALESCE(text, ''))) STORED;
    COMMENT ON COLUMN dedup_revision.search
        IS 'The words of text, for full-text search in English';
    CREATE INDEX revision_search ON dedup_revision USING gin (search)
"""


class Migration(migrations.Migration):
    """What every format needs: rows of several conversations, of zips, of files that grow."""

    dependencies = [
        ("dedup", "0003_search"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="conversation",
            name="conversation_source_known",
        ),
        migrations.RemoveConstraint(
            model_name="import",
            name="import_source_known",
        ),
        migrations.AddField(
            model_name="conversation",
            name="merged_into",
            field=models.ForeignKey(
                blank=True,
                db_comment="The conversation that an export showed it to be a part of",
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="dedup.conversation",
            ),
        ),
        migrations.AddField(
            model_name="import",
            name="content_sha256",
            field=models.BinaryField(
                db_comment="SHA-256 of the records joined, where the file is a zip",
                max_length=32,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="import",
            name="extends",
            field=models.ForeignKey(
                blank=True,
                db_comment="The import of a file with which this one begins: its records are the first of this one",
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="dedup.import",
            ),
        ),
        migrations.AddField(
            model_name="import",
            name="reaches_at",
            field=models.DateTimeField(
                db_comment="Time of the latest message in this file or in those that begin with it",
                editable=False,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="import",
            name="report",
            field=models.JSONField(
                blank=True, db_comment="What a check of the file against itself found", default=dict
            ),
        ),
        migrations.AddField(
            model_name="import",
            name="wanted_conversation",
            field=models.CharField(
                blank=True, db_comment="The conversation it was said to belong to", max_length=500
            ),
        ),
        migrations.AddField(
            model_name="import",
            name="wanted_source",
            field=models.CharField(
                blank=True,
                choices=[
                    ("claude_code", "Claude Code"),
                    ("claude_code_text", "Claude Code /export text"),
                    ("claude_ai", "Claude.ai"),
                    ("chatgpt", "ChatGPT"),
                    ("codex", "Codex"),
                    ("openai", "OpenAI messages"),
                    ("sharegpt", "ShareGPT"),
                    ("langchain", "LangChain messages"),
                    ("legacy_state", "Legacy state directory"),
                ],
                db_comment="The format it was said to have",
                max_length=30,
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="native_index",
            field=models.PositiveIntegerField(
                db_comment="Its number in the conversation, where the source counts", null=True
            ),
        ),
        migrations.AddField(
            model_name="revision",
            name="secrets",
            field=models.JSONField(
                blank=True,
                db_comment="Kind, start and end of each secret in the words before they were masked",
                default=list,
            ),
        ),
        migrations.AlterField(
            model_name="alias",
            name="source",
            field=models.CharField(
                choices=[
                    ("claude_code", "Claude Code"),
                    ("claude_code_text", "Claude Code /export text"),
                    ("claude_ai", "Claude.ai"),
                    ("chatgpt", "ChatGPT"),
                    ("codex", "Codex"),
                    ("openai", "OpenAI messages"),
                    ("sharegpt", "ShareGPT"),
                    ("langchain", "LangChain messages"),
                    ("legacy_state", "Legacy state directory"),
                ],
                db_comment="As the message's",
                max_length=30,
            ),
        ),
        migrations.AlterField(
            model_name="conversation",
            name="source",
            field=models.CharField(
                choices=[
                    ("claude_code", "Claude Code"),
                    ("claude_code_text", "Claude Code /export text"),
                    ("claude_ai", "Claude.ai"),
                    ("chatgpt", "ChatGPT"),
                    ("codex", "Codex"),
                    ("openai", "OpenAI messages"),
                    ("sharegpt", "ShareGPT"),
                    ("langchain", "LangChain messages"),
                    ("legacy_state", "Legacy state directory"),
                ],
                db_comment="Where it was held",
                max_length=30,
            ),
        ),
        migrations.AlterField(
            model_name="import",
            name="source",
            field=models.CharField(
                blank=True,
                choices=[
                    ("claude_code", "Claude Code"),
                    ("claude_code_text", "Claude Code /export text"),
                    ("claude_ai", "Claude.ai"),
                    ("chatgpt", "ChatGPT"),
                    ("codex", "Codex"),
                    ("openai", "OpenAI messages"),
                    ("sharegpt", "ShareGPT"),
                    ("langchain", "LangChain messages"),
                    ("legacy_state", "Legacy state directory"),
                ],
                db_comment="The format that was recognised",
                max_length=30,
            ),
        ),
        migrations.AlterField(
            model_name="message",
            name="source",
            field=models.CharField(
                choices=[
                    ("claude_code", "Claude Code"),
                    ("claude_code_text", "Claude Code /export text"),
                    ("claude_ai", "Claude.ai"),
                    ("chatgpt", "ChatGPT"),
                    ("codex", "Codex"),
                    ("openai", "OpenAI messages"),
                    ("sharegpt", "ShareGPT"),
                    ("langchain", "LangChain messages"),
                    ("legacy_state", "Legacy state directory"),
                ],
                db_comment="As the conversation's",
                max_length=30,
            ),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(FILLED_BY_IMPORT, FILLED_BY_EXPRESSION)],
            state_operations=[
                migrations.AlterField(
                    model_name="revision",
                    name="search",
                    field=django.contrib.postgres.search.SearchVectorField(
                        db_comment="The words of text, for full-text search in English",
                        editable=False,
                    ),
                ),
            ],
        ),
        migrations.AlterField(
            model_name="revision",
            name="text",
            field=models.TextField(
                db_comment="Words for reading and search, of bounded length; secrets are masked"
            ),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(
                condition=models.Q(("merged_into__isnull", False)),
                fields=["merged_into"],
                name="conversation_merged_into",
            ),
        ),
        migrations.AddIndex(
            model_name="import",
            index=models.Index(
                condition=models.Q(("extends__isnull", False)),
                fields=["extends"],
                name="import_extends",
            ),
        ),
        migrations.AddIndex(
            model_name="revision",
            index=models.Index(fields=["user", "content_hash"], name="revision_content"),
        ),
        migrations.AddIndex(
            model_name="revision",
            index=models.Index(
                condition=models.Q(("secrets", []), _negated=True),
                fields=["message"],
                name="revision_with_secrets",
            ),
        ),
        migrations.AddConstraint(
            model_name="conversation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "source__in",
                        [
                            "claude_code",
                            "claude_code_text",
                            "claude_ai",
                            "chatgpt",
                            "codex",
                            "openai",
                            "sharegpt",
                            "langchain",
                            "legacy_state",
                        ],
                    )
                ),
                name="conversation_source_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="import",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("source", ""),
                    (
                        "source__in",
                        [
                            "claude_code",
                            "claude_code_text",
                            "claude_ai",
                            "chatgpt",
                            "codex",
                            "openai",
                            "sharegpt",
                            "langchain",
                            "legacy_state",
                        ],
                    ),
                    _connector="OR",
                ),
                name="import_source_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="import",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("wanted_source", ""),
                    (
                        "wanted_source__in",
                        [
                            "claude_code",
                            "claude_code_text",
                            "claude_ai",
                            "chatgpt",
                            "codex",
                            "openai",
                            "sharegpt",
                            "langchain",
                            "legacy_state",
                        ],
                    ),
                    _connector="OR",
                ),
                name="import_wanted_source_known",
            ),
        ),
    ]
