"""What the archives' commands share: whose archive is meant, and who is told."""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError

from accounts.doors import add_reason_argument, reason_for
from accounts.errors import UnknownUserError
from accounts.models import User
from accounts.services.users import find_user, first_operator
from audit.choices import SecurityKind
from audit.recording import record_for_each
from common.tenancy import as_operator


def add_owner_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--owner", help="username of the archive's owner (the first operator)")
    add_reason_argument(parser)


def told_owner(options: Mapping[str, Any], kind: SecurityKind, action: str) -> User:
    """The archive's owner, who can see from here on that the house was there, and what for.

    Nobody is told who is the first operator and gave no reason. Raises CommandError.
    """
    owner = owner_of(options["owner"])
    if reason := reason_for(owner, options["reason"]):
        with as_operator(reason):
            record_for_each(
                kind, [owner.pk], subject="dedup_import", details={"action": action}, required=True
            )
    return owner


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
