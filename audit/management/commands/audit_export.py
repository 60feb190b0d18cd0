from typing import Any

from django.core.management.base import BaseCommand

from audit.exporting import export_events
from common.management.reports import said_plainly


class Command(BaseCommand):
    help = "Write what happened since the last file of the change stream into the next one."

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            batch = export_events()
        if batch is None:
            self.stdout.write("Nothing is new, or another exporter is at work.")
        else:
            self.stdout.write(f"{batch.lines} events in {batch.stored_as}.")
