"""Mails of an erasure: when it is asked for, when it is taken back, and when it begins."""

import re

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import ErasureRequest, OutgoingMail
from accounts.services.erasures import CONFIRMATION, request_erasure
from accounts.tasks import carry_out_erasures
from accounts.tests.factories import make_user
from accounts.tests.phones import ADDRESS, PASSWORD, Phone, deliver_mail, registered
from common.tenancy import as_operator

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

ERASURE = "/api/v1/account/erasure/"


@pytest.fixture
def phone() -> Phone:
    phone = registered()
    assert phone.call("post", "auth/reauthenticate", {"password": PASSWORD}).status_code == 200
    deliver_mail()
    return phone


def told() -> list[tuple[list[str], str, str]]:
    """To whom, of what and in which words."""
    return [
        (message.to, str(message.subject).split("] ")[-1], str(message.body))
        for message in deliver_mail()
    ]


def ask(phone: Phone) -> str:
    answer = phone.call("post", ERASURE, {"confirmation": CONFIRMATION})
    assert answer.status_code == 202, answer.content
    return str(answer.json()["token"])


def test_whoever_asks_is_told_when_and_how_to_take_it_back(phone: Phone) -> None:
    token = ask(phone)

    ((recipients, subject, body),) = told()

    assert (recipients, subject) == ([ADDRESS], "Your account will be erased")
    with as_operator("test"):
        due_at = ErasureRequest.objects.get().due_at
    assert f"{due_at.day} {due_at:%B %Y}" in body
    assert token in body.split()
    assert f"{settings.SITE_URL}/accounts/" in body


def test_what_was_told_takes_it_back_and_that_is_told_too(phone: Phone) -> None:
    ask(phone)
    ((_, _, body),) = told()
    (token,) = re.findall(r"^(\S{43})$", body, re.MULTILINE)

    answer = Phone("another").call("post", f"{ERASURE}cancel/", {"token": token})

    assert answer.status_code == 204
    assert [(to, subject) for to, subject, _ in told()] == [([ADDRESS], "Your account stays")]


def test_the_last_mail_says_that_it_begins(phone: Phone) -> None:
    ask(phone)
    told()
    with as_operator("test"):
        ErasureRequest.objects.update(due_at=timezone.now())

    carry_out_erasures.apply(throw=True)
    carry_out_erasures.apply(throw=True)

    assert [(to, subject) for to, subject, _ in told()] == [
        ([ADDRESS], "Your account is being erased")
    ]
    assert not OutgoingMail.objects.exists()


def test_who_has_no_confirmed_address_is_told_nothing() -> None:
    request_erasure(user_id=make_user().pk, confirmation=CONFIRMATION)

    assert told() == []


def test_a_request_that_is_refused_tells_nobody(phone: Phone) -> None:
    assert phone.call("post", ERASURE, {"confirmation": "no"}).status_code == 400

    assert told() == []
