"""`describe_schema`: docs/schema.md, made of the models.

None of these tests may reach a database: pytest-django refuses it to a test that does not ask.
"""

import re
from io import StringIO
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connections, models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint
from django.db.models.functions import Length, Lower, Now
from django.test.utils import isolate_apps

from accounts.models import User
from common.fields import Uuid7Field
from operations.schema_documentation import describe_schema, describe_table

OURS = [
    model
    for model in apps.get_models(include_auto_created=True)
    if Path(model._meta.app_config.path).parent == settings.BASE_DIR
]
BOOKS = """\
### operations_book

Books | borrowed.

| Column | Type | Null | Default | References | Comment |
| --- | --- | --- | --- | --- | --- |
| `id` | uuid |  | `uuidv7()` |  |  |
| `owner_id` | uuid |  |  | [accounts_user](#accounts_user).id | Whose \\*it\\* is |
| `kind_id` | integer |  |  | django_content_type.id | What \\<b> it is |
| `sequel_id` | uuid | yes |  | operations_book.id | a \\| b |
| `isbn` | varchar(13) | yes |  |  |  |
| `pages` | integer |  | *1* |  |  |
| `read` | boolean |  | *false* |  |  |
| `rate` | numeric(3, 1) |  | `2.5` |  |  |
| `notes` | jsonb |  | *{}* |  |  |
| `language` | varchar(2) |  | `'%d'` |  |  |
| `words` | integer |  | generated: `LENGTH(isbn)` |  |  |
| `bought_at` | timestamp with time zone |  | `statement_timestamp()` |  |  |

Constraints:

- `PRIMARY KEY (id)`
- `UNIQUE (isbn)`
- `CHECK (pages >= 0)`
- `book_once: UNIQUE (owner_id, isbn) WHERE read`
- `book_any_case: UNIQUE ((LOWER(isbn)))`
- `book_language: CHECK (language IN ('"a" "b"', '100%'))`

Indexes:

- `(kind_id)`
- `book_sequel: (sequel_id, pages DESC) WHERE sequel_id IS NOT NULL`
"""


@isolate_apps("operations")
def test_one_table_exactly() -> None:
    class Book(models.Model):
        id = Uuid7Field()
        owner = models.ForeignKey(
            User, models.DO_NOTHING, db_index=False, db_constraint=False,
            related_name="+", db_comment="Whose *it* is",
        )  # fmt: skip
        kind = models.ForeignKey(
            ContentType,
            models.DO_NOTHING,
            related_name="+",
            db_comment="What <b> it is",
        )
        sequel = models.ForeignKey(
            "self", models.DO_NOTHING, null=True, db_index=False, db_comment="a | b"
        )
        isbn = models.CharField(max_length=13, unique=True, null=True)  # noqa: DJ001 - for the test
        pages = models.PositiveIntegerField(default=1)
        read = models.BooleanField(default=False)
        rate = models.DecimalField(max_digits=3, decimal_places=1, db_default=2.5)
        notes = models.JSONField(default=dict)
        language = models.CharField(max_length=2, db_default="%d")
        words = models.GeneratedField(
            expression=Length("isbn"), output_field=models.IntegerField(), db_persist=True
        )
        bought_at = models.DateTimeField(db_default=Now())

        class Meta:
            app_label = "operations"
            db_table_comment = "Books | borrowed"
            constraints = [
                UniqueConstraint(
                    fields=["owner", "isbn"], condition=Q(read=True), name="book_once"
                ),
                UniqueConstraint(Lower("isbn"), name="book_any_case"),
                CheckConstraint(
                    condition=Q(language__in=['"a" "b"', "100%"]), name="book_language"
                ),
            ]
            indexes = [
                Index(
                    F("sequel"),
                    F("pages").desc(),
                    condition=Q(sequel__isnull=False),
                    name="book_sequel",
                )
            ]

        def __str__(self) -> str:
            return self.isbn or ""

    assert describe_table(Book) + "\n" == BOOKS


def section(text: str, table: str) -> str:
    (found,) = re.findall(rf"^### {table}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    return str(found)


def test_every_table_every_column_and_every_comment_is_there() -> None:
    text = describe_schema()

    for model in OURS:
        rows = section(text, model._meta.db_table).splitlines()
        for field in model._meta.concrete_fields:
            (row,) = [line for line in rows if line.startswith(f"| `{field.column}` |")]
            assert str(field.db_type(connections["default"])) in row
            assert not field.db_comment or field.db_comment[:10] in row
    assert len(re.findall(r"^### ", text, re.MULTILINE)) == len(OURS)


def test_every_reference_constraint_and_index_is_there() -> None:
    text = describe_schema()

    for model in OURS:
        found = section(text, model._meta.db_table)
        for field in model._meta.concrete_fields:
            if isinstance(field, models.ForeignKey):
                assert field.related_model._meta.db_table in found
        for named in (*model._meta.constraints, *model._meta.indexes):
            assert f"- `{named.name}: " in found


def test_references_that_only_migrations_enforce_are_shown() -> None:
    found = section(describe_schema(), "dedup_placement")

    assert "[dedup_segment](#dedup_segment).id | In which stretch" in found
    assert "[accounts_user](#accounts_user).id | Whose it is" in found


def test_its_links_lead_to_headings_and_files() -> None:
    text = describe_schema()
    headings = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    targets = set(re.findall(r"\]\(([^)]+)\)", text))

    assert {target[1:] for target in targets if target.startswith("#")} <= headings
    for target in targets:
        if not target.startswith("#"):
            path, _, place = target.partition("#")
            document = (settings.BASE_DIR / "docs" / path).read_text(encoding="utf-8")
            assert not place or f"\n## {place.capitalize()}\n" in document


def test_every_diagram_is_one() -> None:
    entity = r"    \w+ \{\n(?:        [a-z]\w* \w+ (?:PK|FK|PK, FK)\n)+    \}\n"
    relation = r"    \w+ (?:\|\||\|o)--o[{|] \w+ : \w+\n"
    diagrams = re.findall(r"^```mermaid\n(.*?)^```$", describe_schema(), re.MULTILINE | re.DOTALL)

    assert len(diagrams) == len({model._meta.app_label for model in OURS})
    for diagram in diagrams:
        assert re.fullmatch(rf"erDiagram\n(?:{entity}(?:{relation})*)+", diagram)


def test_a_diagram_shows_references_inside_its_app_only() -> None:
    text = describe_schema()

    assert "    dedup_segment ||--o{ dedup_placement : segment_id\n" in text
    assert "    dedup_record |o--o{ dedup_observation : record_id\n" in text
    assert "    dedup_conversation ||--o| dedup_watermark : conversation_id\n" in text
    assert "accounts_user ||--o{ dedup" not in text


def test_tables_of_django_stand_there_by_name_only() -> None:
    text = describe_schema()

    assert "### auth" not in text
    assert "`auth_group`, `auth_group_permissions`, `auth_permission`, `django_admin_log`" in text


def test_the_committed_document_is_up_to_date() -> None:
    committed = (settings.BASE_DIR / "docs" / "schema.md").read_text(encoding="utf-8")

    assert committed == describe_schema(), "Run: make schema"


def test_the_command_prints_it() -> None:
    output = StringIO()

    call_command("describe_schema", stdout=output)

    assert output.getvalue() == describe_schema()


def test_the_command_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "schema.md"
    path.write_text("old", encoding="utf-8")

    call_command("describe_schema", output=path)

    assert path.read_text(encoding="utf-8") == describe_schema()
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandError, match=r"nowhere/schema\.md cannot be written: No such file"):
        call_command("describe_schema", output=tmp_path / "nowhere" / "schema.md")

    path = tmp_path / "schema.md"
    path.mkdir()
    with pytest.raises(CommandError, match=r"schema\.md cannot be written: Is a directory"):
        call_command("describe_schema", output=path)
    assert list(tmp_path.iterdir()) == [path]
    assert list(path.iterdir()) == []
