import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from common.bootstrap import database_name
from common.management.reports import said_plainly
from operations.backups.places import find_backup
from operations.backups.restoring import Restored, restore


class Command(BaseCommand):
    help = (
        "Put a backup in the place of the database, which is kept under another name, and its"
        " files back where they are missing. Needs DATABASE_SUPERUSER_URL."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="a name that `backups` lists, or latest")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument(
            "--as",
            dest="beside_as",
            default="",
            metavar="NAME",
            help="restore into a new database of this name, and replace nothing",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            backup = find_backup(options["name"])
            if not options["yes"] and not options["beside_as"]:
                self._ask(backup.name)
            restored = restore(backup, beside_as=options["beside_as"])
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(restored), indent=2))
        else:
            self.stdout.write("\n".join(_lines(restored)))

    def _ask(self, backup: str) -> None:
        """Go on only if a person says what is going to be replaced."""
        if not sys.stdin.isatty():
            raise CommandError("Say --yes: nobody can be asked whether the database be replaced.")
        name = database_name()
        self.stdout.write(f"The database {name} will be replaced by the backup {backup}.")
        if input("Type the name of the database to go on: ").strip() != name:
            raise CommandError("This is not its name: nothing was changed.")


def _lines(restored: Restored) -> list[str]:
    manifest, files = restored.manifest, restored.files
    tables, seconds = len(manifest.tables), round(restored.seconds, 1)
    lines = [f"{restored.database} is the backup {manifest.name}, after {seconds} seconds."]
    lines.append(f"Rows: {manifest.rows} in {tables} tables, and {restored.keys} data keys.")
    if files:
        lines.append(
            f"Files: {files.whole} were whole; {files.missing} were missing and"
            f" {files.different} different, and are put back."
        )
    if restored.pending_migrations:
        lines.append(
            f"The backup is of an older version: {len(restored.pending_migrations)} migrations"
            " must follow. Run manage.py migrate."
        )
    if restored.previous:
        lines.append(
            f"The database that served until now is kept as {restored.previous}. When it is not"
            f' needed any more: DROP DATABASE "{restored.previous}"'
        )
    return lines


def _as_json(restored: Restored) -> dict[str, Any]:
    return {
        "backup": restored.manifest.name,
        "database": restored.database,
        "previous": restored.previous,
        "rows": restored.manifest.rows,
        "keys": restored.keys,
        "files": restored.files and asdict(restored.files),
        "pending_migrations": restored.pending_migrations,
        "seconds": round(restored.seconds, 3),
    }
