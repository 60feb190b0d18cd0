import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table

from common.management.reports import age_in_words, said_plainly, size_in_words
from operations.backups.places import Backup, all_backups
from operations.errors import DamagedBackupError

# Where nobody says how wide it is.
WIDTH = 160


class Command(BaseCommand):
    help = "List the backups in BACKUP_DIR, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            rows = [_row(backup) for backup in reversed(all_backups())]
        if options["json"]:
            self.stdout.write(json.dumps({"backups": rows}, indent=2))
        elif rows:
            table = Table("Backup", "Age", "Label", "Size", "Rows", "Files", "Verified")
            for backup, row in zip(reversed(all_backups()), rows, strict=True):
                table.add_row(*_cells(backup, row))
            on_terminal = self.stdout.isatty()
            console = Console(force_terminal=on_terminal, width=None if on_terminal else WIDTH)
            with console.capture() as printed:
                console.print(table)
            self.stdout.write(printed.get())
        else:
            self.stdout.write("There is no backup yet: manage.py backup makes one.")


def _row(backup: Backup) -> dict[str, Any]:
    verification = backup.verification()
    row = {
        "name": backup.name,
        "made_at": backup.made_at.isoformat(),
        "verified_at": verification and verification.verified_at.isoformat(),
        "verified": verification and verification.passed,
    }
    try:
        manifest = backup.manifest()
    except DamagedBackupError as error:
        return row | {"problem": error.detail}
    return row | {
        "label": manifest.label,
        "size": manifest.size,
        "rows": manifest.rows,
        "files": manifest.files,
    }


def _cells(backup: Backup, row: dict[str, Any]) -> list[str]:
    age = age_in_words(backup.made_at)
    if "problem" in row:
        return [backup.name, age, "", "", "", "", row["problem"]]
    verified = {None: "never", True: "passed", False: "FAILED"}[row["verified"]]
    return [
        backup.name,
        age,
        row["label"],
        size_in_words(row["size"]),
        str(row["rows"]),
        str(row["files"]),
        verified,
    ]
