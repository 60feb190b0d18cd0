"""What ships: the image, the compose file and the example of its settings, by their text."""

import ast
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from common.encryption.parsing import as_setting
from config.management.commands.run import programs

ROOT = settings.BASE_DIR
EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside a container; the ports are published with care
APP_SERVICES = ("web", "live", "worker", "beat")
PASSWORD = "hunter2-of-the-example"
PLACEHOLDER = re.compile(r"\$\{(\w+):-([^}]*)\}")

# Imports what the processes do where nothing is installed but the distributions of its arguments,
# and prints those that were used. Libraries try others, which tests may have brought.
IMPORTED_BY_THE_PROCESSES = """
import re, sys
from importlib.abc import MetaPathFinder
from importlib.metadata import packages_distributions

owners = {
    top: {re.sub("[-_.]+", "-", name).lower() for name in names}
    for top, names in packages_distributions().items()
}
installed = set(sys.argv[1:])

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if not installed.intersection(owners.get(name, installed)):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
before = set(sys.modules)
import config.asgi, config.wsgi, config.urls, config.live_urls, granian.server
import kombu.transport.redis, celery.apps.beat, celery.apps.worker, celery.concurrency.prefork
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
for top in tops & set(owners):
    print(*owners[top])
"""


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def environment_of(service: str) -> dict[str, str]:
    environment: dict[str, str] = compose()["services"][service]["environment"]
    return environment


def variables_of_settings() -> set[str]:
    """The first argument of every call of a reader in config/settings.py, as far as literal."""
    calls = (
        node
        for node in ast.walk(ast.parse((ROOT / "config" / "settings.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id.startswith("read_")
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def lines_of_example() -> list[tuple[str, str, str]]:
    """Each setting of .env.example: "#" if it is commented out, its name and its value."""
    text = (ROOT / ".env.example").read_text()
    return re.findall(r"^(#?)([A-Z0-9_]+)=(.*)$", text, re.MULTILINE)


def run_manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in an environment that holds nothing else, as in a container."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def filled_environment(service: str, folder: Path) -> dict[str, str]:
    """The service's environment, with files of dummies for its secrets and defaults as given."""
    address = f"postgresql://app:{PASSWORD}@postgres:5432/commonplace"
    secrets = {
        "secret_key": "0123456789abcdefghijklmnopqrstuvwxyz-0123456789-abcdefg",
        "encryption_keys": f"first:{as_setting(bytes(32))}",
        "encryption_root_key": as_setting(bytes(64)),
        "database_url": address,
        "database_operator_url": address.replace("app", "operator", 1),
        "database_metrics_url": address.replace("app", "metrics", 1),
        "metrics_token": PASSWORD,
    }
    filled = {}
    for name, value in environment_of(service).items():
        if value.startswith("/run/secrets/"):
            secret = folder / Path(value).name
            secret.write_text(secrets[secret.name] + "\n")
            filled[name] = str(secret)
        else:
            filled[name] = PLACEHOLDER.sub(r"\2", value)
    return filled | {"SITE_URL": "https://commonplace.example", "LOCAL_DIR": str(folder)}


def test_there_are_at_most_six_containers() -> None:
    services = compose()["services"]

    assert set(services) == {"postgres", "redis", *APP_SERVICES}
    assert len(services) <= 6


def test_postgresql_18_keeps_its_data_in_a_volume() -> None:
    postgres = compose()["services"]["postgres"]

    assert postgres["image"] == "pgvector/pgvector:pg18"
    assert postgres["volumes"][0] == "postgres:/var/lib/postgresql"
    assert "postgres" in compose()["volumes"]


def test_postgresql_runs_with_the_settings_that_are_recommended() -> None:
    postgres = compose()["services"]["postgres"]
    place = "/etc/postgresql/commonplace.conf"

    assert postgres["volumes"][1:] == [f"./docs/postgresql.conf:{place}:ro"]
    assert postgres["command"] == [
        "postgres",
        *["-c", f"config_file={place}"],
        *["-c", "listen_addresses=*"],
        *["-c", "default_toast_compression=lz4"],
    ]


def test_only_the_network_of_the_machine_itself_is_trusted_without_encryption() -> None:
    for name in APP_SERVICES:
        assert environment_of(name)["DATABASE_TLS"] == "off", name
    assert "networks" not in compose()


def test_only_web_and_live_are_reached_and_only_from_this_machine() -> None:
    ports = {name: service.get("ports", []) for name, service in compose()["services"].items()}

    assert ports.pop("web") == ["127.0.0.1:8000:8000"]
    assert ports.pop("live") == ["127.0.0.1:8001:8001"]
    assert not any(ports.values())


def test_every_service_is_watched_and_restarted() -> None:
    for name, service in compose()["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name


@pytest.mark.parametrize("name", APP_SERVICES)
def test_processes_wait_for_what_they_need_and_share_the_files(name: str) -> None:
    service = compose()["services"][name]

    for needed in ("postgres", "redis"):
        assert service["depends_on"][needed] == {"condition": "service_healthy"}
    assert service["volumes"] == ["files:/files"]
    assert service["environment"]["FILES_DIR"] == "/files"


@pytest.mark.parametrize("name", APP_SERVICES)
def test_processes_run_as_they_do_in_development(name: str) -> None:
    (program,) = (program for program in programs(EVERYWHERE) if program.name == name)
    command = ["python", *program.command[1:]]
    environment = {**program.environment}
    for of_one_machine in ("PORT", "LOG_FILE", "READINESS_CHECKS"):
        environment.pop(of_one_machine, None)

    assert compose()["services"][name]["command"] == command
    assert environment.items() <= environment_of(name).items()


def test_the_image_runs_web_unless_told_otherwise() -> None:
    (shown,) = re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert ast.literal_eval(shown) == compose()["services"]["web"]["command"]


def test_secrets_come_from_files_only() -> None:
    described = compose()

    for name, service in described["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|DATABASE_\w*URL|ENCRYPTION_\w*KEY", variable):
                assert variable.endswith("_FILE"), variable
                assert Path(value).parent == Path("/run/secrets"), variable
                assert Path(value).name in service["secrets"], (name, variable)
            assert not re.search(r"://[^/]*@", value), variable
    for name, secret in described["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}


@pytest.mark.parametrize("name", APP_SERVICES)
def test_no_process_holds_the_logins_of_owner_and_superuser(name: str) -> None:
    service = compose()["services"][name]

    assert not re.search(r"owner|superuser", repr(service), re.IGNORECASE)


def test_only_admin_and_sweeps_hold_the_operators_login() -> None:
    holders = {
        name
        for name in APP_SERVICES
        if "database_operator_url" in repr(compose()["services"][name])
    }

    assert holders == {"web", "worker"}


@pytest.mark.parametrize("name", APP_SERVICES)
def test_compose_sets_only_what_the_settings_read(name: str) -> None:
    environment = environment_of(name)
    asked_for = {found for value in environment.values() for found, _ in PLACEHOLDER.findall(value)}

    used = {variable.removesuffix("_FILE") for variable in environment} | asked_for
    assert used <= variables_of_settings()
    assert not {variable for variable in environment if f"{variable}_FILE" in environment}


def test_every_placeholder_of_compose_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    assert len(PLACEHOLDER.findall(text)) == text.count("${")


def test_the_example_lists_every_setting_once() -> None:
    names = [name for _, name, _ in lines_of_example()]

    assert sorted(names) == sorted(variables_of_settings())


def test_the_example_sets_nothing_and_shows_no_secret() -> None:
    given = {name: value for comment, name, value in lines_of_example() if not comment}

    assert given == dict.fromkeys(
        [
            "SECRET_KEY",
            "ALLOWED_HOSTS",
            "DATABASE_URL",
            "DATABASE_OPERATOR_URL",
            "REDIS_URL",
            "ENCRYPTION_KEYS",
            "ENCRYPTION_ROOT_KEY",
        ],
        "",
    )


def test_every_setting_of_the_example_has_a_comment() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()

    for before, line in pairwise(lines):
        if re.match(r"#?[A-Z0-9_]+=", line):
            assert re.match(r"# [A-Z].*[^,]$", before), line


def test_the_processes_need_nothing_but_the_requirements_of_the_image(tmp_path: Path) -> None:
    text = (ROOT / "requirements.txt").read_text()
    required = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_BY_THE_PROCESSES, *required],
        cwd=ROOT,
        # A pool would go on looking for the database, which there is none.
        env=filled_environment("web", tmp_path) | {"DATABASE_POOL_SIZE": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert {"celery", "django", "granian", "redis"} <= set(done.stdout.split()) <= set(required)


def test_the_image_is_not_root_and_compiles_nothing() -> None:
    image = (ROOT / "Dockerfile").read_text()
    final = image.split("\nFROM ")[-1]

    assert image.count("\nFROM ") == 2
    assert "--require-hashes" in image
    assert "--only-binary=:all:" in image
    assert not re.search(r"apt-get|apk |gcc|build-essential", image)
    assert re.search(r"^USER commonplace$", final, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", final, re.MULTILINE)


def test_the_image_keeps_no_setting_of_its_build() -> None:
    image = (ROOT / "Dockerfile").read_text()
    kept = re.findall(r"^ENV (.*?[^\\])$", image, re.MULTILINE | re.DOTALL)

    assert kept
    assert not re.search(r"_KEYS?\b|DATABASE_URL|REDIS_URL", " ".join(kept))
    assert not re.search(r"^ARG ", image, re.MULTILINE)


def test_what_is_private_stays_out_of_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()

    assert {".git", ".local", ".venv", ".env", "secrets"} <= set(ignored)
    assert not {"common/bootstrap.sql", "*.sql", "embedded", "manage.py"} & set(ignored)


@pytest.mark.parametrize("name", ["web", "worker", "beat"])
def test_settings_of_each_process_pass_the_deployment_checks(name: str, tmp_path: Path) -> None:
    environment = filled_environment(name, tmp_path) | {"HSTS_SUBDOMAINS": "true"}

    done = run_manage("check", "--deploy", "--fail-level", "WARNING", **environment)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "System check identified no issues (0 silenced).\n"


def test_subdomains_are_left_alone_unless_asked_for(tmp_path: Path) -> None:
    done = run_manage("check", "--deploy", **filled_environment("web", tmp_path))

    assert done.returncode == 0
    assert re.findall(r"\((\w+\.[EW]\d+)\)", done.stderr) == ["security.W005", "security.W021"]


def test_the_live_process_only_lacks_what_belongs_to_pages(tmp_path: Path) -> None:
    done = run_manage("check", "--deploy", **filled_environment("live", tmp_path))

    # No admin, no forms, no frames: the checks of these three do not concern it.
    assert set(re.findall(r"\((\w+\.[EW]\d+)\)", done.stderr)) <= {
        "admin.E408",
        "admin.E409",
        "admin.E410",
        "security.W002",
        "security.W003",
        # Subdomains are left alone.
        "security.W005",
        "security.W021",
    }
    assert "ImproperlyConfigured" not in done.stderr


@pytest.mark.parametrize(
    "missing",
    ["SECRET_KEY", "DATABASE_URL", "REDIS_URL", "ENCRYPTION_KEYS", "ENCRYPTION_ROOT_KEY"],
)
def test_a_missing_setting_ends_the_start_with_its_name(missing: str, tmp_path: Path) -> None:
    environment = filled_environment("web", tmp_path)
    given = missing if missing in environment else f"{missing}_FILE"
    del environment[given]

    done = run_manage("check", **environment)

    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"Set {missing} in the environment (or {missing}_FILE).")
    assert PASSWORD not in done.stdout + done.stderr


def test_a_missing_secret_file_ends_the_start_with_its_path(tmp_path: Path) -> None:
    environment = filled_environment("web", tmp_path)
    secret = Path(environment["SECRET_KEY_FILE"])
    secret.unlink()

    done = run_manage("check", **environment)

    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        f"SECRET_KEY_FILE names {secret}, which cannot be read: No such file or directory."
    )
    assert PASSWORD not in done.stdout + done.stderr


def test_an_address_of_another_kind_is_refused_without_its_password(tmp_path: Path) -> None:
    environment = filled_environment("web", tmp_path)
    Path(environment["DATABASE_URL_FILE"]).write_text(f"mysql://app:{PASSWORD}@db/commonplace")

    done = run_manage("check", **environment)

    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        "DATABASE_URL must begin with postgres:// or postgresql://."
    )
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "LOG_LEVEL",
            "loud",
            "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, not 'loud'.",
        ),
        ("PORT", "65535", "PORT must be at most 65534, not 65535."),
        ("SITE_URL", "commonplace.example", "SITE_URL must begin with http:// or https://."),
        ("LIVE_URL", "ws://live", "LIVE_URL must begin with http:// or https://."),
        ("LIVE_INTERNAL_URL", "live", "LIVE_INTERNAL_URL must begin with http:// or https://."),
        ("HSTS_SECONDS", "-1", "HSTS_SECONDS must be at least 0, not -1."),
        ("HSTS_SUBDOMAINS", "all", "HSTS_SUBDOMAINS must be true or false, not 'all'."),
    ],
)
def test_a_bad_setting_ends_the_start_with_its_name(
    name: str, value: str, sentence: str, tmp_path: Path
) -> None:
    done = run_manage("check", **filled_environment("web", tmp_path) | {name: value})

    assert done.returncode == 1
    assert done.stderr.strip().endswith(sentence)


def test_connections_are_checked_before_they_are_used_again() -> None:
    assert {entry["CONN_HEALTH_CHECKS"] for entry in settings.DATABASES.values()} == {True}


def test_static_files_are_collected_with_the_values_of_the_image(tmp_path: Path) -> None:
    image = (ROOT / "Dockerfile").read_text()
    values = dict(re.findall(r"^\s*(?:RUN )?(\w+_(?:KEYS?|URL))=(\S+) \\$", image, re.MULTILINE))

    done = run_manage("collectstatic", "--noinput", **values, LOCAL_DIR=str(tmp_path))

    assert len(values) == 5
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "static" / "staticfiles.json").exists()
