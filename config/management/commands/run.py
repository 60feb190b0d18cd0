import io
import json
import os
import secrets
import shlex
import sys
import urllib.request
from argparse import ArgumentParser
from itertools import chain
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from accounts.choices import Scope
from accounts.models import User
from accounts.services.access_tokens import issue_token
from accounts.services.users import create_operator, first_operator
from accounts.tokens import bearer_of
from common.encryption.checks import verify_keys
from common.encryption.errors import EncryptionError
from common.health import CHECKS
from embedded.supervisor import Program, supervise

FIRST_OPERATOR = "admin"
SAMPLE_SEARCH = "recipe"


class Command(BaseCommand):
    help = (
        "Run everything on this machine: database and queue, set up where they are new, then"
        " web, live, worker and beat. Ctrl-C stops all of it. For development: production runs"
        " the same programs one by one (docs/operations.md)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="address to listen on (this machine only)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.EMBEDDED:
            raise CommandError(
                "`run` is for the embedded services: unset DATABASE_URL and REDIS_URL."
                " docs/operations.md says how to run against others."
            )
        call_command("bootstrap_database", verbosity=0)
        call_command("migrate", verbosity=0)
        try:
            verify_keys()
        except EncryptionError as error:
            raise CommandError(str(error)) from error
        operator = first_operator() or self._create_first_operator()
        token_file = _keep_token(operator, settings.LOCAL_DIR / "api-token")
        if settings.SAMPLE_DATA:
            call_command("load_sample_data", stdout=io.StringIO())
        sys.exit(
            supervise(
                programs(options["host"]),
                local=settings.LOCAL_DIR,
                is_ready=_is_ready,
                when_ready=lambda: self._say_where(token_file),
            )
        )

    def _create_first_operator(self) -> User:
        password = secrets.token_urlsafe(15)
        operator = create_operator(username=FIRST_OPERATOR, password=password)
        self.stdout.write(
            f"The first operator is {FIRST_OPERATOR!r} with the password {password} -"
            " shown this once: write it down."
        )
        self.stdout.flush()
        return operator

    def _say_where(self, token_file: Path) -> None:
        site = settings.SITE_URL
        shown = os.path.relpath(token_file) if Path.cwd() in token_file.parents else token_file
        call = (
            f'curl -s -H "Authorization: Bearer $(cat {shlex.quote(str(shown))})"'
            f" '{site}/api/v1/messages/?q={SAMPLE_SEARCH}'"
        )
        self.stdout.write(
            f"Site      {site}/\n"
            f"Admin     {site}/admin/\n"
            f"API docs  {site}/api/v1/docs/\n"
            f"Try it    {call}"
        )
        self.stdout.flush()


def programs(host: str) -> list[Program]:
    """What runs, each under the name that its log lines carry."""
    web, live = settings.PORT, settings.PORT + 1
    python = [sys.executable, "-m"]
    granian = [*python, "granian", "--host", host, "--no-access-log", "--log-level", "warning"]
    celery = [*python, "celery", "--app", "config", "--quiet"]
    return [
        _program(
            "web",
            [*granian, "--port", str(web), "--interface", "wsgi", "--workers", "2"],
            ["--blocking-threads", "4", "config.wsgi:application"],
            DATABASE_POOL_SIZE="4",
            READINESS_CHECKS=",".join(CHECKS),
        ),
        _program(
            "live",
            [*granian, "--port", str(live), "--interface", "asginl", "config.asgi:application"],
            DATABASE_POOL_SIZE="4",
        ),
        _program(
            "worker",
            [*celery, "worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "WARNING"],
            ["--without-mingle", "--without-gossip"],
        ),
        _program("beat", [*celery, "beat", "--loglevel", "WARNING"]),
    ]


def _program(name: str, *command: list[str], **environment: str) -> Program:
    log = settings.LOCAL_DIR / "log" / f"{name}.jsonl"
    common = {"PROCESS": name, "PORT": str(settings.PORT), "LOG_FILE": str(log)}
    return Program(name, list(chain(*command)), common | environment)


def _keep_token(operator: User, path: Path) -> Path:
    """Afterwards the file, readable by its owner only, holds a token that works."""
    if not path.exists() or bearer_of(path.read_text().strip()) is None:
        secret = issue_token(user=operator, name="This machine", scopes=tuple(Scope))
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
    return path


def _is_ready() -> bool:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{settings.PORT}/readyz", timeout=2
        ) as answer:
            return bool(json.load(answer)["status"] == "ok")
    except (OSError, ValueError):
        return False
