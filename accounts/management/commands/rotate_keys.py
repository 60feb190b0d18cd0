import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.data_keys import rewrap_all
from common.encryption.errors import EncryptionError


class Command(BaseCommand):
    help = (
        "Wrap every data key that another key wraps with the active one; what they seal stays as"
        " it is. May run while people work, and again after it was cut short. docs/encryption.md"
        " says what comes before and after."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            rotation = rewrap_all()
        except EncryptionError as error:
            raise CommandError(f"{error} What was rewrapped until then stays so.") from error
        if options["json"]:
            self.stdout.write(json.dumps(asdict(rotation), indent=2))
            return
        self.stdout.write(
            f"{rotation.rewrapped} data keys were rewrapped with {rotation.provider}"
            f" {rotation.key_id}."
        )
        if rotation.left:
            self.stdout.write(
                f"{rotation.left} are left: somebody else had them in hand, or they came while"
                " this ran. Run it again."
            )
