from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as MigrateCommand
from django.db import connections

from common.tenancy import OWNER_ALIAS, as_owner


class Command(MigrateCommand):
    """Django's `migrate`, as the role that owns the schema."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database=OWNER_ALIAS)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["database"] not in connections.settings:
            raise CommandError("Set DATABASE_OWNER_URL: migrations run as the schema's owner.")
        with as_owner():
            super().handle(*args, **options)
