"""What the commands share that go to people's things: why they go there."""

from argparse import ArgumentParser

from django.core.management.base import CommandError

from accounts.models import User
from accounts.services.users import first_operator
from audit.reasons import SHORTEST_REASON
from common.tenancy import LONGEST_REASON


def add_reason_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--reason", default="", help="why; needed unless the things are the first operator's"
    )


def reason_for(user: User, given: str) -> str:
    """Why the house goes to the person's things; "" for those of the first operator.

    Raises CommandError where a reason is missing.
    """
    reason = given.strip()
    if not reason and user == first_operator():
        return ""
    if not SHORTEST_REASON <= len(reason) <= LONGEST_REASON:
        raise CommandError(
            f"Say with --reason why you go to the things of {user.username}, in {SHORTEST_REASON}"
            f" to {LONGEST_REASON} characters: it is kept, and they see that the house was there."
        )
    return reason
