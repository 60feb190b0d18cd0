import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.replaying import replay_erasures
from common.management.reports import said_plainly


class Command(BaseCommand):
    help = (
        "Erase again whoever was erased and is there, as after a restore by other means than"
        " `restore`. The ledger is the rows of the database and the files in `erasures/`."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only tell who is there")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            replay = replay_erasures(dry_run=options["dry_run"])
        if options["json"]:
            report = {
                "listed": replay.listed,
                "returned": [person.as_json() for person in replay.returned],
                "erased": not options["dry_run"],
            }
            self.stdout.write(json.dumps(report, indent=2))
            return
        for person in replay.returned:
            left = ", ".join(f"{count} of {name}" for name, count in person.left.items())
            self.stdout.write(f"{person.user_id}: {left}")
        done = "are there" if options["dry_run"] else "were there and are erased again"
        self.stdout.write(f"Of {replay.listed} people in the ledger {len(replay.returned)} {done}.")
