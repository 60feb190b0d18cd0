from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.continuing import continue_after_restore
from audit.errors import StreamBrokenError


class Command(BaseCommand):
    help = (
        "Let the change stream go on where its files end, in a database that was put back to an "
        "earlier state by other means than `restore`, which does this by itself."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            taken = continue_after_restore()
        except StreamBrokenError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"The stream goes on; {taken} files were taken over.")
