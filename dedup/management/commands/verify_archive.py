import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from audit.choices import SecurityKind
from dedup.doors import add_owner_argument, told_owner
from dedup.verification import imports_to_verify, integrity_problems, verify_import


class Command(BaseCommand):
    help = (
        "Rebuild every imported file from the database and compare it with what was imported. "
        "Ends with 1 if anything differs."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_owner_argument(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        owner = told_owner(options, SecurityKind.OPERATOR_LOOKED, "verify")
        rows = imports_to_verify(owner.pk)
        mismatches, rebuilt = [], 0
        for row in rows:
            found = verify_import(owner.pk, row)
            rebuilt += not found
            mismatches += found
        problems = integrity_problems(owner.pk)
        if options["json"]:
            report = {
                "files": len(rows),
                "rebuilt": rebuilt,
                "mismatched": [mismatch.as_json() for mismatch in mismatches],
                "integrity": {"valid": not problems, "problems": problems},
            }
            self.stdout.write(json.dumps(report, indent=2))
        else:
            for mismatch in mismatches:
                place = "" if mismatch.ordinal is None else f", record {mismatch.ordinal}"
                which = f" (revision {mismatch.revision})" if mismatch.revision else ""
                self.stderr.write(f"{mismatch.file}{place}: {mismatch.reason}{which}")
            for problem in problems:
                self.stderr.write(problem)
            self.stdout.write(f"{rebuilt} of {len(rows)} files rebuilt exactly.")
        if mismatches or problems:
            raise SystemExit(1)
