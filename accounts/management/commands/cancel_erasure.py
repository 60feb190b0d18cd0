from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.services.erasures import cancel_by_house
from accounts.services.users import find_user
from common.management.reports import said_plainly


class Command(BaseCommand):
    help = "Take back an erasure that has not begun, for an owner who did not ask for it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        with said_plainly():
            user = find_user(options["username"])
            cancel_by_house(user_id=user.pk, reason="cancel an erasure by command")
        self.stdout.write(f"The account of {user.username} stays.")
