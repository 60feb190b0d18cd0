"""Every table as the models say it, in Markdown, without asking a database.

Policies, triggers and the owner in the key of a reference stand in migrations; the document says
so once, for all tables.
"""

import re
from collections.abc import Iterator, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Field, ForeignKey, Model
from django.db.models.fields import NOT_PROVIDED
from django.db.models.options import Options

if TYPE_CHECKING:
    AnyField = Field[Any, Any]
else:
    AnyField = Field

# What the statements are written for: without a connection nothing else could tell.
POSTGRESQL = 18_00_00
MIGRATIONS_TABLE = "django_migrations"

INTRODUCTION = """
    # Schema

    Written by `make schema` from the models and their comments; `make lint` fails when it is out
    of date.

    - A default in `code` is the database's. One in *italics* is given by Django: a row that comes
      in by SQL has to bring it.
    - A reference between two tables of people's things has the owner in its key, as in
      `(user_id, artifact_id)`: nothing can point at a stranger's row. Such keys, policies, grants
      and triggers stand in the migrations; [tenancy.md](tenancy.md) explains them.
    - A diagram shows the keys of one app and the references inside it. References to other apps
      are in the tables.
    - The views for analytics are described in [operations.md](operations.md#reporting).
"""

IDENTIFIER = re.compile(r'"([a-z_][a-z0-9_]*)"')
SPACES = re.compile(r" {2,}")
STRING = re.compile(r"('(?:[^']|'')*')")
# How Django begins the statements that make a constraint and an index.
MAKES_CONSTRAINT = re.compile(r"^ALTER TABLE \S+ ADD CONSTRAINT \S+ ")
MAKES_INDEX = re.compile(r"^CREATE (UNIQUE )?INDEX \S+ ON \S+ ")


def describe_schema() -> str:
    """All tables of our apps, app by app; those of others by name. The same for the same models."""
    ours = [(app, tables_of(app)) for app in our_apps() if tables_of(app)]
    editor = _offline_editor()
    parts = [cleandoc(INTRODUCTION), _contents([model for _, models in ours for model in models])]
    for app, models in ours:
        parts += [f"## {app.verbose_name}", _diagram(models, editor.connection)]
        parts += [describe_table(model, editor) for model in models]
    return "\n\n".join([*parts, _tables_of_others([app for app, _ in ours])]) + "\n"


def our_apps() -> list[AppConfig]:
    return [app for app in apps.get_app_configs() if Path(app.path).parent == settings.BASE_DIR]


def tables_of(app: AppConfig) -> list[type[Model]]:
    """The models of an app that have a table of their own, in the order of their definition."""
    return [
        model for model in app.get_models(include_auto_created=True) if not options(model).proxy
    ]


def describe_table(model: type[Model], editor: BaseDatabaseSchemaEditor | None = None) -> str:
    """One table: its comment, its columns, its constraints and its indexes."""
    editor = editor or _offline_editor()
    meta = options(model)
    rows = [_column(field, editor) for field in meta.concrete_fields]
    parts = [
        f"### {meta.db_table}",
        f"{meta.db_table_comment}." if meta.db_table_comment else "",
        _table(("Column", "Type", "Null", "Default", "References", "Comment"), rows),
        _list("Constraints", _constraints(model, editor)),
        _list("Indexes", _indexes(model, editor)),
    ]
    return "\n\n".join(part for part in parts if part)


def options(model: type[Model]) -> "Options[Any]":
    return model._meta  # noqa: SLF001 - Django documents this name


def _offline_editor() -> BaseDatabaseSchemaEditor:
    """Writes SQL through a connection that is never opened."""
    connection = connections.create_connection(DEFAULT_DB_ALIAS)
    # Otherwise Django would ask the server what it can do.
    connection.pg_version = POSTGRESQL  # type: ignore[attr-defined]  # of PostgreSQL's wrapper
    return connection.schema_editor(collect_sql=True)


def _contents(models: Sequence[type[Model]]) -> str:
    rows = [(_link(model), _cell(options(model).db_table_comment or "")) for model in models]
    return _table(("Table", "Rows are"), rows)


def _column(field: AnyField, editor: BaseDatabaseSchemaEditor) -> tuple[str, ...]:
    return (
        f"`{field.column}`",
        _type(field, editor.connection),
        "yes" if field.null else "",
        _default(field, editor),
        _reference(field),
        _cell(field.db_comment or ""),
    )


def _type(field: AnyField, connection: BaseDatabaseWrapper) -> str:
    found = field.db_type(connection) or ""
    suffix = field.db_type_suffix(connection)
    return f"{found} {suffix.lower()}" if suffix else found


def _default(field: AnyField, editor: BaseDatabaseSchemaEditor) -> str:
    if getattr(field, "generated", False):
        expression, values = field.generated_sql(editor.connection)  # type: ignore[attr-defined]  # of a GeneratedField
        return f"generated: {_code(_filled(expression, values, editor))}"
    if field.db_default is not NOT_PROVIDED:
        made = _filled(*editor.db_default_sql(field), editor)
        return _code(made.lower() if made.endswith("()") else made)
    if field.default is NOT_PROVIDED:
        return ""
    return f"*{_cell(_shown(field.default))}*"


def _shown(default: Any) -> str:
    """A default of Django; what is made by a function of ours goes by the function's name."""
    if default in (dict, list):
        return str(default())
    if callable(default):
        return f"{default.__name__}()"
    if isinstance(default, bool):
        return str(default).lower()
    return str(getattr(default, "value", default)) or "empty"


def _filled(statement: str, values: Sequence[Any], editor: BaseDatabaseSchemaEditor) -> str:
    """The SQL with its values in it, and without the brackets around the whole."""
    filled = statement % tuple(editor.quote_value(value) for value in values)
    bare = filled.removeprefix("(").removesuffix(")")
    return _readable(bare if filled == f"({bare})" else filled)


def _reference(field: AnyField) -> str:
    if not isinstance(field, ForeignKey):
        return ""
    target = field.target_field
    if options(target.model).app_config in our_apps():
        return f"{_link(target.model)}.{target.column}"
    return f"{options(target.model).db_table}.{target.column}"


def _constraints(model: type[Model], editor: BaseDatabaseSchemaEditor) -> Iterator[str]:
    """The key, then what single columns say, then those with names."""
    fields = options(model).concrete_fields
    keys = getattr(options(model), "pk_fields", None) or [options(model).pk]
    yield f"PRIMARY KEY ({', '.join(field.column for field in keys)})"
    for field in fields:
        if field.unique and not field.primary_key:
            yield f"UNIQUE ({field.column})"
    for field in fields:
        if check := field.db_check(editor.connection):
            yield f"CHECK ({_readable(check)})"
    for constraint in options(model).constraints:
        yield _statement(constraint.name, str(constraint.create_sql(model, editor)))


def _indexes(model: type[Model], editor: BaseDatabaseSchemaEditor) -> Iterator[str]:
    """Without those of the constraints, which PostgreSQL makes by itself."""
    for field in options(model).concrete_fields:
        if getattr(field, "db_index", False) and not field.unique:
            yield f"({field.column})"
    for index in options(model).indexes:
        yield _statement(index.name, str(index.create_sql(model, editor)))


def _statement(name: str, statement: str) -> str:
    """What makes a constraint or an index, from behind the name of the table."""
    short = MAKES_CONSTRAINT.sub("", MAKES_INDEX.sub(lambda found: found[1] or "", statement))
    return f"{name}: {_readable(short)}"


def _readable(statement: str) -> str:
    """SQL without needless quotes around names and spaces; a string in it is left alone."""
    parts = STRING.split(statement)
    parts[::2] = [SPACES.sub(" ", IDENTIFIER.sub(r"\1", part)) for part in parts[::2]]
    # Django doubles what would stand for a value.
    return "".join(parts).replace("%%", "%")


def _diagram(models: Sequence[type[Model]], connection: BaseDatabaseWrapper) -> str:
    """The keys of an app's tables, and what refers to what among them."""
    lines = ["```mermaid", "erDiagram"]
    for model in models:
        inside = [field for field in options(model).concrete_fields if _target(field) in models]
        keys = [field for field in options(model).concrete_fields if field.primary_key]
        lines.append(f"    {options(model).db_table} {{")
        for field in dict.fromkeys([*keys, *inside]):
            marks = ["PK"] * field.primary_key + ["FK"] * (field in inside)
            kind = re.sub(r"\W+", "_", field.db_type(connection) or "")
            lines.append(f"        {kind} {field.column} {', '.join(marks)}")
        lines.append("    }")
        lines += [f"    {_line(field)}" for field in inside]
    return "\n".join([*lines, "```"])


def _target(field: AnyField) -> type[Model] | None:
    return field.target_field.model if isinstance(field, ForeignKey) else None


def _line(field: AnyField) -> str:
    """The parent at the left: one, or none where the reference may be empty."""
    target = _target(field)
    parent = "|o" if field.null else "||"
    child = "o|" if field.unique else "o{"
    table = options(target).db_table if target else ""
    return f"{table} {parent}--{child} {options(field.model).db_table} : {field.column}"


def _tables_of_others(ours: Sequence[AppConfig]) -> str:
    tables = {
        options(model).db_table
        for app in apps.get_app_configs()
        if app not in ours
        for model in tables_of(app)
    }
    names = ", ".join(f"`{name}`" for name in sorted({*tables, MIGRATIONS_TABLE}))
    return f"## Tables of Django\n\nOf its own apps, as its documentation describes them: {names}."


def _link(model: type[Model]) -> str:
    table = options(model).db_table
    return f"[{table}](#{table})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(title: str, entries: Iterator[str]) -> str:
    lines = [f"- `{entry}`" for entry in entries]
    return "\n".join([f"{title}:", "", *lines]) if lines else ""


def _cell(text: str) -> str:
    """Text that neither ends a cell nor marks anything up."""
    return re.sub(r"([\\|*<`\[\]])", r"\\\1", text)


def _code(statement: str) -> str:
    return "`" + statement.replace("|", r"\|") + "`"
