import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from common.management.reports import said_plainly
from operations.backups.drilling import run_drill


class Command(BaseCommand):
    help = (
        "Restore a backup beside everything else, verify the copy, and remove it. The result is"
        " noted in BACKUP_DIR/drills.jsonl. Ends with 1 if anything is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--backup", default="", metavar="NAME", help="this one, or latest; otherwise a new one"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            drill = run_drill(options["backup"])
        if options["json"]:
            self.stdout.write(json.dumps(drill.as_json(), indent=2))
        else:
            for step, seconds in drill.steps.items():
                self.stdout.write(f"{step:<16}{seconds:8.1f} s")
            for problem in drill.problems:
                self.stderr.write(problem)
            outcome = "passed" if drill.passed else "FAILED"
            self.stdout.write(
                f"The drill with the backup {drill.backup or '(none)'} {outcome}:"
                f" {drill.rows} rows, {drill.files} files, {drill.owners} archives."
            )
        if not drill.passed:
            raise SystemExit(1)
