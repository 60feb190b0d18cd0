from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from common.bootstrap import bootstrap_database, database_name, role_passwords


class Command(BaseCommand):
    help = (
        "Create the database, its roles and the vector extension, as a superuser. "
        "Run it once before the first migrate; running it again does no harm."
    )
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DATABASE_SUPERUSER_URL:
            raise CommandError(
                "Set DATABASE_SUPERUSER_URL (or DATABASE_SUPERUSER_URL_FILE) to a superuser's"
                " address of the server, or have an administrator run common/bootstrap.sql."
            )
        try:
            bootstrap_database(settings.DATABASE_SUPERUSER_URL, database_name(), role_passwords())
        except psycopg.ProgrammingError as error:
            # The driver's message may repeat parts of the address, and so of the password.
            sentence = "The superuser's address cannot be used, or it may not do this."
            raise CommandError(sentence) from (None if error.sqlstate is None else error)
        except psycopg.OperationalError as error:
            raise CommandError(f"The database could not be set up: {error}") from error
        if options["verbosity"]:
            self.stdout.write(f"The database {database_name()} is ready for manage.py migrate.")
