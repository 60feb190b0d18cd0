"""Operators see that somebody is logged in, and neither how they call a device nor from where."""

import pytest

from accounts.models import DeviceSession
from accounts.tests.factories import operator_browser
from accounts.tests.phones import registered

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

SESSIONS = "/admin/accounts/devicesession/"
NAME = "Augustas telephone"


@pytest.mark.parametrize("page", ["", "{pk}/change/"])
def test_what_a_device_is_called_and_where_it_is_stays_unread(page: str) -> None:
    registered(NAME)
    session = DeviceSession.objects.get()
    # Else it could not be shown.
    assert (session.device_name, session.address) == (NAME, "127.0.0.1")
    browser = operator_browser()

    answer = browser.get(f"{SESSIONS}{page.format(pk=session.pk)}")

    assert answer.status_code == 200
    text = answer.content.decode()
    assert str(session.pk) in text
    for word in (NAME, "iPhone", "127.0.0.1"):
        assert word not in text
