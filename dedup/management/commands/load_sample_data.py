import hashlib
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from common.tenancy import acting_as
from dedup.doors import owner_of
from dedup.exports import exports_below
from dedup.models import Import
from dedup.services import import_path

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


class Command(BaseCommand):
    help = (
        "Import the sample archive for the first operator, as far as it is not there yet. For"
        " development: refused where SAMPLE_DATA is false, as it is in production."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.SAMPLE_DATA:
            raise CommandError("Sample data are switched off here (SAMPLE_DATA=false).")
        owner = owner_of(None)
        missing = [
            path for path in exports_below(SAMPLES, _refuse) if not _is_there(owner.pk, path)
        ]
        for path in missing:
            import_path(user_id=owner.pk, path=path)
        self.stdout.write(f"{len(missing)} sample files imported.")


def _refuse(error: OSError) -> NoReturn:
    raise CommandError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _is_there(user_id: UUID, path: Path) -> bool:
    digest = hashlib.sha256(path.read_bytes()).digest()
    with acting_as(user_id):
        return Import.objects.completed().filter(artifact__sha256=digest).exists()
