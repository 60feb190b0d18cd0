from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.choices import Scope
from accounts.doors import add_reason_argument, reason_for
from accounts.services.access_tokens import issue_by_house
from accounts.services.users import find_user
from common.management.reports import said_plainly

LONGEST_NAME = 100
MOST_DAYS = 36_500


class Command(BaseCommand):
    help = "Issue an access token for the API. Its secret is printed this once: keep it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="Issued by command", help="what its owner calls it")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            help="what it may be used for; may be repeated; everything if not given",
        )
        parser.add_argument("--days", type=int, help="how long it is valid; for ever if not given")
        add_reason_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        name, days = options["name"].strip(), options["days"]
        if not 0 < len(name) <= LONGEST_NAME:
            raise CommandError(f"--name must have 1 to {LONGEST_NAME} characters.")
        if days is not None and not 0 < days <= MOST_DAYS:
            raise CommandError(f"--days must be between 1 and {MOST_DAYS}.")
        with said_plainly():
            user = find_user(options["username"])
        secret = issue_by_house(
            user=user,
            name=name,
            scopes=[Scope(scope) for scope in dict.fromkeys(options["scope"] or Scope.values)],
            expires_at=timezone.now() + timedelta(days=days) if days else None,
            reason=reason_for(user, options["reason"]) or "issue a token by command",
        )
        self.stdout.write(secret)
