"""An erasure that the owner did not ask for is taken back: by mail, by the admin, by command."""

import re
from io import StringIO

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import erasing
from accounts.choices import AccountStatus, ErasureStatus, Role
from accounts.models import ErasureRequest, User
from accounts.services.erasures import CONFIRMATION, request_erasure
from accounts.services.users import change_standing
from accounts.tests.factories import make_user, operator_browser
from accounts.tests.phones import deliver_mail
from audit.choices import SecurityKind
from audit.models import SecurityEvent
from common.tenancy import acting_as, as_operator
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

CANCEL = "/api/v1/account/erasure/cancel/"


@pytest.fixture
def ada() -> User:
    """A thief has asked for her erasure."""
    ada = make_user("ada")
    with acting_as(ada.pk):
        EmailAddress.objects.create(user=ada, email="ada@example.org", primary=True, verified=True)
    request_erasure(user_id=ada.pk, confirmation=CONFIRMATION)
    return ada


def grace_over() -> None:
    with as_operator("test"):
        ErasureRequest.objects.update(due_at=timezone.now())


def set_standing(user: User, status: AccountStatus) -> None:
    with as_operator("test"):
        change_standing(user_id=user.pk, role=Role.USER, status=status)


def state_of(user: User) -> tuple[str, list[str]]:
    """Of the account and of its erasures."""
    with as_operator("test"):
        requests = ErasureRequest.objects.filter(user=user).order_by("pk")
        return User.objects.get(pk=user.pk).account_status, [row.status for row in requests]


TAKEN_BACK = (AccountStatus.ACTIVE, [ErasureStatus.CANCELLED])
WAITING = (AccountStatus.DEACTIVATED, [ErasureStatus.WAITING])


def cancellations() -> list[SecurityEvent]:
    with as_operator("test"):
        return list(SecurityEvent.objects.filter(kind=SecurityKind.ERASURE_CANCELLED))


def test_the_owner_takes_it_back_with_the_code_in_the_mail(ada: User) -> None:
    (message,) = deliver_mail()
    page = f"{settings.SITE_URL}{reverse('account-erasure-cancel')}"
    found = re.search(r"^\s*(\S{43})$", str(message.body), re.MULTILINE)
    assert message.to == ["ada@example.org"]
    assert page in message.body
    assert found

    answer = APIClient().post(CANCEL, {"token": found[1]})

    assert answer.status_code == 204
    assert state_of(ada) == TAKEN_BACK


def test_whom_a_superadmin_opens_again_is_not_erased(ada: User) -> None:
    grace_over()
    deliver_mail()

    answer = operator_browser().post(
        reverse("admin:accounts_user_change", args=[ada.pk]),
        {"role": Role.USER, "account_status": AccountStatus.ACTIVE},
    )

    assert answer.status_code == 302
    assert erasing.carry_out_due() == 0
    assert state_of(ada) == TAKEN_BACK
    (message,) = deliver_mail()
    assert message.subject == "Your account stays"
    (event,) = cancellations()
    assert (event.user_id, event.role) == (ada.pk, "operator")
    # And can ask once more.
    request_erasure(user_id=ada.pk, confirmation=CONFIRMATION)


@pytest.mark.parametrize("status", [AccountStatus.SUSPENDED, AccountStatus.DEACTIVATED])
def test_whom_the_house_closes_otherwise_is_erased_all_the_same(
    ada: User, status: AccountStatus
) -> None:
    set_standing(ada, status)
    grace_over()

    assert erasing.carry_out_due() == 1

    assert state_of(ada) == (AccountStatus.DELETED, [ErasureStatus.COMPLETED])


def test_an_account_that_is_in_use_is_never_erased(ada: User) -> None:
    grace_over()
    with as_operator("test"):
        User.objects.filter(pk=ada.pk).update(account_status=AccountStatus.ACTIVE)

    assert erasing.carry_out_due() == 0

    assert state_of(ada) == (AccountStatus.ACTIVE, [ErasureStatus.WAITING])


def test_opened_again_when_the_work_begins_it_is_taken_back_or_carried_out(ada: User) -> None:
    grace_over()

    _, claimed = at_once(
        [
            lambda: set_standing(ada, AccountStatus.ACTIVE),
            lambda: erasing.claim_next(timezone.now()),
        ]
    )

    assert not isinstance(claimed, Exception)
    status = ErasureStatus.IN_PROGRESS if claimed else ErasureStatus.CANCELLED
    assert state_of(ada)[1] == [status]


# --- By command -------------------------------------------------------------------------------


def cancel(username: str) -> str:
    out = StringIO()
    call_command("cancel_erasure", username, stdout=out)
    return out.getvalue()


def test_the_house_takes_it_back_for_an_owner_without_a_code(ada: User) -> None:
    grace_over()

    said = cancel("Ada")

    assert said == "The account of ada stays.\n"
    assert state_of(ada) == TAKEN_BACK
    assert erasing.carry_out_due() == 0
    (event,) = cancellations()
    assert (event.user_id, event.reason) == (ada.pk, "cancel an erasure by command")


@pytest.mark.parametrize("begun", [True, False])
def test_what_has_begun_or_was_never_asked_for_is_not_taken_back(
    ada: User,
    begun: bool,  # noqa: FBT001 - as parametrized
) -> None:
    grace_over()
    bob = make_user("bob")
    if begun:
        erasing.claim_next(timezone.now())

    with pytest.raises(CommandError, match="Nothing was cancelled"):
        cancel("ada" if begun else "bob")

    status = ErasureStatus.IN_PROGRESS if begun else ErasureStatus.WAITING
    assert state_of(ada) == (AccountStatus.DEACTIVATED, [status])
    assert state_of(bob) == (AccountStatus.ACTIVE, [])
