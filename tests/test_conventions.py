"""Rules of the house that no linter knows."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import current_app
from django.conf import settings
from django.core.management import get_commands

from common.api.errors import FRAMEWORK_CODES
from common.errors import DomainError

ROOT = settings.BASE_DIR
OF_TESTS = {"tests", "conftest.py"}


def sources(*folders: str, tests: bool = False) -> Iterator[Path]:
    """Our Python files, without those of tests unless they are asked for."""
    for folder in folders or packages():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if tests or not OF_TESTS & set(path.relative_to(ROOT).parts):
                yield path


def packages() -> list[str]:
    found = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    return sorted(set(found) - OF_TESTS)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def names_in(text: str) -> set[str]:
    """Every word that stands in `backticks`."""
    return {
        word for span in re.findall(r"`([^`\n]+)`", text) for word in re.split(r"[\s,=]+", span)
    }


def test_every_package_has_a_place_in_the_layers() -> None:
    linter = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]
    (apps,) = [contract for contract in linter["contracts"] if contract["name"] == "apps"]
    placed = [name.strip(" ()") for layer in apps["layers"] for name in re.split(r"[|:]", layer)]

    assert apps["type"] == "layers"
    assert sorted(placed) == packages()
    assert sorted(linter["root_packages"]) == packages()


def test_work_is_queued_only_through_the_one_door() -> None:
    doors = {
        relative(path)
        for path in sources()
        if re.search(r"\.(delay|apply_async|send_task)\(", path.read_text(encoding="utf-8"))
    }

    assert doors == {"common/queue.py"}


def test_no_file_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "base", "core"}

    assert [
        relative(path) for path in sources(*packages(), "tests", tests=True) if path.stem in empty
    ] == []


def settings_read() -> set[str]:
    """Every name that a reader of `common.environment` is called with in the settings."""
    readers = {
        "read_text",
        "read_optional",
        "read_boolean",
        "read_choice",
        "read_integer",
        "read_list",
        "read_pairs",
        "read_url",
    }
    tree = ast.parse(text_of("config/settings.py"))
    names: set[str] = set()
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        first = call.args[0] if call.args else None
        wrapped = call.func.id in {"_database", "_remote_database"}
        if (call.func.id in readers or wrapped) and isinstance(first, ast.Constant):
            names.add(str(first.value))
    return names


def test_every_setting_stands_in_the_example_and_every_example_is_a_setting() -> None:
    listed = set(re.findall(r"^#?\s?([A-Z][A-Z0-9_]+)=", text_of(".env.example"), re.MULTILINE))
    # Read by docker-compose and by the services, not by the settings.
    elsewhere = {name for name in listed if name in text_of("docker-compose.yml")}

    assert len(settings_read()) > 20
    assert settings_read() - listed == set()
    assert listed - settings_read() - elsewhere == set()


def codes(kind: type[DomainError]) -> Iterator[str]:
    yield kind.code
    for child in kind.__subclasses__():
        yield from codes(child)


def test_every_error_code_is_documented() -> None:
    """Importing the routes, as the first test client does, imports every errors module."""
    for path in sources():
        if path.name == "errors.py" and "api" not in path.parts:
            __import__(".".join(path.relative_to(ROOT).with_suffix("").parts))
    used = {*codes(DomainError), *FRAMEWORK_CODES.values(), "server_error"}

    assert used - names_in(text_of("docs/errors.md")) == set()


def test_no_two_errors_of_ours_share_a_code() -> None:
    found = list(codes(DomainError))

    assert len(found) == len(set(found))


def test_every_command_is_documented() -> None:
    ours = {name for name, app in get_commands().items() if app in packages()}
    documents = text_of("docs/operations.md") + text_of("README.md")

    assert {name for name in ours if name not in documents} == set()


def test_every_task_is_documented() -> None:
    current_app.loader.import_default_modules()
    ours = {
        name
        for name in current_app.tasks
        if name.split(".")[0] in packages() and ".tests." not in name
    }
    documents = text_of("docs/operations.md") + text_of("README.md")

    assert ours
    assert {name for name in ours if name.rpartition(".")[2] not in documents} == set()


def test_every_scheduled_task_exists() -> None:
    current_app.loader.import_default_modules()

    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert scheduled <= set(current_app.tasks)


def test_every_task_of_ours_has_one_of_the_bases_of_the_house() -> None:
    bare = {
        f"{relative(path)}: {function.name}"
        for path in sources()
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        for decorator in function.decorator_list
        if "shared_task" in ast.unparse(decorator)
        and not re.search(r"base=(Tenant|Sweep|Base)Task", ast.unparse(decorator))
    }

    assert bare == set()


def test_every_read_of_the_api_starts_from_what_its_person_may_see() -> None:
    """Both in `get_queryset` and wherever else the API asks a model."""
    wrong = [
        f"{relative(path)}: {function.name}"
        for path in sources()
        if path.parts[-2:] == ("api", "views.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef) and function.name == "get_queryset"
        if "visible_to(self.user_id)" not in ast.unparse(function)
    ]
    unfiltered = [
        f"{relative(path)}:{number}"
        for path in sources()
        if path.parent.name == "api"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\.objects\.(?!(visible_to|none)\()", line)
    ]

    assert wrong == []
    assert unfiltered == []


def test_nothing_sets_the_person_for_a_session() -> None:
    """Only transaction-local settings, and only in one place."""
    setters = {
        relative(path)
        for path in sources()
        if re.search(
            r"set_config\(|\bSET\s+(SESSION\s+|LOCAL\s+)?app\.", path.read_text(encoding="utf-8")
        )
    }

    assert setters == {"common/tenancy.py"}
    assert not re.search(r"set_config\([^)]*false\)", text_of("common/tenancy.py"))
    assert settings.DATABASES["default"].get("ATOMIC_REQUESTS", False) is False


@pytest.mark.parametrize("word", ["eval(", "exec(", "mark_safe(", "csrf_exempt"])
def test_what_the_house_does_without(word: str) -> None:
    assert [relative(path) for path in sources() if word in path.read_text(encoding="utf-8")] == []


def test_the_documents_speak_of_nothing_that_is_gone() -> None:
    """A path in backticks in the documents leads to a file."""
    missing = {
        f"{path.name}: {name}"
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        for name in names_in(path.read_text(encoding="utf-8"))
        if re.fullmatch(rf"({'|'.join(packages())}|docs|tests)/[\w./-]+\.(py|md|sql|yaml)", name)
        and not (ROOT / name).exists()
    }

    assert missing == set()
