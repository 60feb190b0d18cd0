import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from audit.retention import apply_retention
from common.management.reports import said_plainly


class Command(BaseCommand):
    help = "Drop the months of the change stream that are past their time, once they are in files."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only tell what would go")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            dropped = apply_retention(dry_run=options["dry_run"])
        if options["json"]:
            parts = [part.as_json() for part in dropped]
            self.stdout.write(json.dumps({"dry_run": options["dry_run"], "parts": parts}, indent=2))
            return
        for part in dropped:
            self.stdout.write(f"{part.part}: {part.rows} rows, ended {part.ends_at:%Y-%m-%d}")
        verb = "would go" if options["dry_run"] else "gone"
        self.stdout.write(f"{len(dropped)} parts {verb}.")
