from typing import Any

from django.core.management.base import BaseCommand

from audit.continuing import continue_after_restore
from audit.exporting import export_events
from common.management.reports import said_plainly


class Command(BaseCommand):
    help = (
        "Let the change stream go on where its files end, in a database that was put back to an "
        "earlier state by other means than `restore`, which does this by itself."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            taken = continue_after_restore()
            export_events()
        self.stdout.write(f"The stream goes on; {taken} files were taken over.")
