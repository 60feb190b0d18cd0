import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from common.management.reports import said_plainly
from operations.backups.places import LATEST, find_backup
from operations.backups.verifying import verify_backup


class Command(BaseCommand):
    help = "Read every byte of a backup and compare it with its sums. Ends with 1 if any differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", default=LATEST, help="the latest if left out")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            backup = find_backup(options["name"])
            found = verify_backup(backup)
        if options["json"]:
            report = {
                "name": backup.name,
                "verified_at": found.verified_at.isoformat(),
                "whole": found.passed,
                "problems": found.problems,
            }
            self.stdout.write(json.dumps(report, indent=2))
        else:
            for problem in found.problems:
                self.stderr.write(problem)
            state = "is whole" if found.passed else "is damaged: do not count on it"
            self.stdout.write(f"The backup {backup.name} {state}.")
        if not found.passed:
            raise SystemExit(1)
