"""What the archives' commands share: whose archive is meant."""

from argparse import ArgumentParser

from django.core.management.base import CommandError

from accounts.errors import UnknownUserError
from accounts.models import User
from accounts.services.users import find_user, first_operator


def add_owner_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--owner", help="username of the archive's owner (the first operator)")


def owner_of(username: str | None) -> User:
    """The named user, or the first operator. Raises CommandError."""
    if username:
        try:
            return find_user(username)
        except UnknownUserError as error:
            raise CommandError(error.detail) from error
    user = first_operator()
    if user is None:
        raise CommandError(
            "There is no operator yet. Run `make run` once, or `manage.py create_operator`,"
            " or name an owner with --owner."
        )
    return user
