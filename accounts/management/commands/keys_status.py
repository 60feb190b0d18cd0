import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from accounts.data_keys import count_destroyed, keys_in_use
from common.encryption.checks import problem_of_lookup_key
from common.encryption.errors import EncryptionError
from common.encryption.providers import active_provider
from common.tenancy import as_operator


class Command(BaseCommand):
    help = (
        "Say which keys wrap how many data keys, and whether they can be opened. Ends with 1 if"
        " one of them cannot."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with as_operator("look at the keys"):
            used, destroyed, lookup = keys_in_use(), count_destroyed(), problem_of_lookup_key()
        active, active_problem = _active()
        if options["json"]:
            told = {
                "active": active,
                "active_problem": active_problem,
                "lookup_problem": lookup,
                "keys": [asdict(use) for use in used],
                "destroyed": destroyed,
            }
            self.stdout.write(json.dumps(told, indent=2))
        else:
            self.stdout.write(f"active     {active or active_problem}")
            self.stdout.write(f"look-up    {lookup or 'ok'}")
            for use in used:
                name = f"{use.provider} {use.key_id}"
                self.stdout.write(f"in use     {name}: {use.data_keys}, {use.problem or 'ok'}")
            self.stdout.write(f"destroyed  {destroyed}")
        if lookup or active_problem or any(use.problem for use in used):
            raise SystemExit(1)


def _active() -> tuple[str, str]:
    """The name of the key that wraps new ones, or why there is none."""
    try:
        provider = active_provider()
        key_id = provider.active_key_id
    except EncryptionError as error:
        return "", str(error)
    return f"{provider.name} {key_id}", ""
