"""Sign-ups that nobody finished: with somebody else's address, say, or by a program.

Nobody can log in to such an account, so nobody can ask for its erasure. The ledger does not list
it: if a backup brings it back, it is found again as it was found here.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from accounts.choices import AccountStatus
from accounts.erasing import empty_account, goes_well
from accounts.models import User
from common.locks import lift_time_limit
from common.privacy import what_is_left
from common.tenancy import as_operator

REASON = "erase accounts whose address was never confirmed"
MOST_AT_ONCE = 1000
LOOKED_AT_ONCE = 500
# What a sign-up leaves. Whoever has more was given it by the house, which knows them.
OF_A_SIGN_UP = frozenset(
    {
        "account_emailaddress",
        "accounts_datakey",
        "accounts_recordedanswer",
        "accounts_storedsession",
        "accounts_subscription",
        "accounts_user",
        "audit_security_origin",
        "socialaccount_socialaccount",
    }
)


def erase_unconfirmed() -> None:
    """Afterwards whoever signed up UNCONFIRMED_DAYS ago, and neither confirmed an address nor was
    logged in, is erased. One that fails stops no other, and is tried again."""
    before = timezone.now() - timedelta(days=settings.UNCONFIRMED_DAYS)
    for user_id in islice(who_is_due(before), MOST_AT_ONCE):
        goes_well(partial(_erase, user_id, before))


def who_is_due(before: datetime) -> Iterator[UUID]:
    with as_operator(REASON):
        people = User.objects.unconfirmed(before).order_by("pk")
        ids = list(people.values_list("pk", flat=True))
    for first in range(0, len(ids), LOOKED_AT_ONCE):
        some = ids[first : first + LOOKED_AT_ONCE]
        with as_operator(REASON):
            lift_time_limit()
            left = what_is_left(some)
        yield from (user_id for user_id in some if left[user_id].keys() <= OF_A_SIGN_UP)


def _erase(user_id: UUID, before: datetime) -> None:
    with as_operator(REASON):
        # Whoever confirms an address at this moment either has done so by then, or is refused.
        User.objects.select_for_update(no_key=True).get(pk=user_id)
        due = User.objects.unconfirmed(before).filter(pk=user_id)
        if not due.update(account_status=AccountStatus.DEACTIVATED):
            return
    empty_account(user_id, Counter[str]().update)
