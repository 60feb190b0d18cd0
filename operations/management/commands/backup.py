import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from common.management.reports import said_plainly, size_in_words
from operations.backups.making import Made, make_backup


class Command(BaseCommand):
    help = "Back up the database and the stored files into BACKUP_DIR. Needs DATABASE_BACKUP_URL."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--label", default="", help="a note to find the backup by")
        parser.add_argument(
            "--keep",
            type=int,
            nargs="?",
            const=settings.BACKUP_KEEP_DAYS,
            metavar="DAYS",
            help="afterwards remove backups that are older, but never the newest whole one"
            " (without a number: BACKUP_KEEP_DAYS)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            made = make_backup(label=options["label"], keep_days=options["keep"])
        for name in made.taken.damaged:
            self.stderr.write(f"The stored file {name} is damaged; it was backed up as it is.")
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(made), indent=2))
            return
        manifest, taken = made.manifest, made.taken
        self.stdout.write(
            f"{manifest.name}: {manifest.rows} rows in {len(manifest.tables)} tables"
            f" ({size_in_words(manifest.dump.size)}), {manifest.files} files"
            f" ({size_in_words(manifest.file_bytes)}), {taken.added} of them new."
        )
        if made.pruned:
            why = f"; {made.pruned.postponed}" if made.pruned.postponed else ""
            self.stdout.write(
                f"Removed {len(made.pruned.backups)} backups and {made.pruned.files} files{why}."
            )


def _as_json(made: Made) -> dict[str, Any]:
    manifest, taken, pruned = made.manifest, made.taken, made.pruned
    return {
        "name": manifest.name,
        "label": manifest.label,
        "created_at": manifest.created_at.isoformat(),
        "database": manifest.database,
        "tables": len(manifest.tables),
        "rows": manifest.rows,
        "size": manifest.size,
        "dump_bytes": manifest.dump.size,
        "files": manifest.files,
        "file_bytes": manifest.file_bytes,
        "files_added": taken.added,
        "files_vanished": taken.vanished,
        "files_damaged": taken.damaged,
        "removed": pruned
        and {
            "backups": pruned.backups,
            "files": pruned.files,
            "postponed": pruned.postponed,
        },
    }
