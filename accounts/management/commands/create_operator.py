import getpass
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.choices import OPERATOR_ROLES, Role
from accounts.services.users import create_operator
from common.management.reports import said_plainly


class Command(BaseCommand):
    help = (
        "Create an account that may use the admin. The password is asked for, or read from"
        " standard input."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--role", choices=OPERATOR_ROLES, default=Role.SUPERADMIN)

    def handle(self, *args: Any, **options: Any) -> None:
        password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        with said_plainly():
            user = create_operator(
                username=options["username"], password=password, role=options["role"]
            )
        self.stdout.write(f"{user.username} may now log in.")
