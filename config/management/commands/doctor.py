import json
import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from accounts.services.users import first_operator
from common.health import CHECKS, readiness

MEBIBYTE = 1 << 20
LEAST_FREE_BYTES = 100 * MEBIBYTE

# What to do when a check of common.health fails.
REMEDIES = {
    "database": "Is the database up, and are the roles set up? manage.py bootstrap_database",
    "migrations": "Bring the schema up to date: manage.py migrate",
    "redis": "Is Redis up, and is REDIS_URL right? Imports by upload wait until it is.",
    "keys": "Put back the keys that are named, from where you keep them: docs/encryption.md",
    "worker": "Start a worker: make run, or the worker command in docs/operations.md",
    "beat": "Start beat: make run, or the beat command in docs/operations.md",
    "live": "Start it: make run, or the live command in docs/operations.md. If it runs on another"
    " port, say so: PORT=… python manage.py doctor",
}


class Command(BaseCommand):
    help = "Say in plain words what is wrong here and how to mend it. Ends with 1 if anything is."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = {name: (outcome, REMEDIES[name]) for name, outcome in _dependencies().items()}
        findings |= {name: (check(), remedy) for name, (check, remedy) in OWN_CHECKS.items()}
        wrong = {name: found for name, found in findings.items() if found[0] != "ok"}
        if options["json"]:
            report = {
                name: {"state": state, "remedy": "" if state == "ok" else remedy}
                for name, (state, remedy) in findings.items()
            }
            self.stdout.write(json.dumps(report, indent=2))
        else:
            for name, (state, remedy) in findings.items():
                self.stdout.write(f"{name:<12}{state}")
                if state != "ok":
                    self.stdout.write(f"{'':<12}→ {remedy}")
        if wrong:
            sys.exit(1)


def _dependencies() -> dict[str, str]:
    return readiness(list(CHECKS))


def _disk() -> str:
    files = Path(settings.MEDIA_ROOT)
    folder = next(path for path in (files, *files.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    return "ok" if free > LEAST_FREE_BYTES else f"only {free // MEBIBYTE} MiB are free at {folder}"


def _operator() -> str:
    try:
        return "ok" if first_operator() else "nobody can log in to the admin"
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it is the answer
        return f"{type(error).__name__}: {error}".strip()


OWN_CHECKS: dict[str, tuple[Callable[[], str], str]] = {
    "disk": (_disk, "Make room, or set FILES_DIR to a larger disk."),
    "operator": (_operator, "Create one: manage.py create_operator NAME"),
}
