import json
import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand

from audit.verification import verify_stream
from common.management.reports import said_plainly

NOTED = re.compile(r"(\d+):([0-9a-f]{64})")


def noted_head(text: str) -> tuple[int, str]:
    match = NOTED.fullmatch(text)
    if match is None:
        raise ArgumentTypeError("Give it as this command prints it: NUMBER:HASH.")
    return int(match[1]), match[2]


class Command(BaseCommand):
    help = (
        "Read every file of the change stream and name each line that was changed, removed or "
        "moved. Ends with 1 if there is one. Note the head that it prints somewhere else, and "
        "give it with --head the next time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--head", type=noted_head, metavar="NUMBER:HASH", help="a line noted earlier"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            report = verify_stream(known_head=options["head"])
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=2))
        else:
            for problem in report.problems:
                self.stderr.write(str(problem))
            self.stdout.write(f"{report.lines} events in {report.files} files, chained.")
            self.stdout.write(f"Head: {report.lines}:{report.head}")
            if lag := report.lag_seconds:
                self.stdout.write(f"The oldest event that is in no file is {lag:.0f} s old.")
        if report.problems:
            raise SystemExit(1)
