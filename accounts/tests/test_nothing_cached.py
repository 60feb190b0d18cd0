"""No answer of a door to identity is kept by anybody on the way: they hold codes, tokens, names."""

from typing import Any

import pytest
from django.test import Client

from accounts.tests.phones import ADDRESS, PASSWORD, Phone, deliver_mail, registered
from accounts.tests.test_lockout import at

pytestmark = pytest.mark.django_db(transaction=True)

BROWSER = "/api/v1/auth/browser/v1"


def kept(answer: Any) -> set[str]:
    """What it does not say of what would keep everybody from keeping it."""
    said = {part.strip() for part in answer.headers.get("Cache-Control", "").split(",")}
    return {"no-store", "private"} - said


def test_no_answer_of_the_api_is_kept() -> None:
    # What is counted there, no other test meets.
    phone, stranger = Phone(), at("203.0.113.93", "stranger")
    answers = [phone.sign_up()]
    answers.append(phone.confirm())
    answers.append(phone.refresh())
    answers += [phone.call("get", path) for path in ("auth/session", "account/email", "config")]
    answers.append(phone.call("post", "auth/reauthenticate", {"password": PASSWORD}))
    answers.append(phone.call("get", "account/authenticators/totp"))
    answers.append(phone.call("get", "account/authenticators/webauthn"))
    answers.append(stranger.log_in())
    answers.append(stranger.log_in(password="a guess that is wrong"))
    answers.append(Phone("finder").call("post", "auth/password/request", {"email": ADDRESS}))
    answers.append(stranger.call("post", "/api/v1/auth/nonce/"))
    answers.append(Phone("third").refresh())

    statuses = [answer.status_code for answer in answers]

    assert statuses == [401, 200, 200, 200, 200, 200, 200, 404, 200, 200, 400, 401, 200, 400]
    assert [kept(answer) for answer in answers] == [set()] * len(answers)


def test_nor_is_one_of_a_browser() -> None:
    registered()
    deliver_mail()
    client = Client()
    answers = [client.get(f"{BROWSER}/{path}") for path in ("config", "auth/session")]
    body = {"email": ADDRESS, "password": PASSWORD}
    answers.append(client.post(f"{BROWSER}/auth/login", body, content_type="application/json"))
    answers += [client.get(f"/accounts/{path}") for path in ("login/", "signup/", "email/")]

    assert [kept(answer) for answer in answers] == [set()] * len(answers)
