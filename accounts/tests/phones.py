"""A phone in a person's hand: it talks to the API as an app would."""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from django.core import mail
from rest_framework.test import APIClient

from accounts.choices import ConsentType
from accounts.mail import deliver
from accounts.models import OutgoingMail, User

PASSWORD = "correct horse battery staple"
ADDRESS = "ada.lovelace@example.org"
ALL_CONSENTS = {kind.value: 1 for kind in ConsentType}

AUTH = "/api/v1/auth/app/v1"
CODE = re.compile(r"^\s*([A-Z0-9]{3,}-?[A-Z0-9]{3,})\s*$", re.MULTILINE)


def deliver_mail() -> list[mail.EmailMessage]:
    """Everything that was written is sent; these are the mails."""
    before = len(mail.outbox)
    for mail_id in OutgoingMail.objects.order_by("pk").values_list("pk", flat=True):
        deliver(mail_id)
    return mail.outbox[before:]


def code_in(message: mail.EmailMessage) -> str:
    found = CODE.search(str(message.body))
    assert found, message.body
    return found[1]


@dataclass
class Phone:
    """What one app on one device holds of its person's login."""

    name: str = "phone"
    session_token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    client: APIClient = field(default_factory=APIClient)

    @property
    def device_id(self) -> str:
        return str(uuid5(NAMESPACE_OID, self.name))

    def headers(self) -> dict[str, str]:
        said = {"X-Device-Id": self.device_id, "X-Device-Name": self.name}
        said |= {"X-Device-Platform": "ios", "User-Agent": "Commonplace/1 (Ada's iPhone)"}
        if self.access_token:
            said["Authorization"] = f"Bearer {self.access_token}"
        elif self.session_token:
            said["X-Session-Token"] = self.session_token
        return said

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer; tokens that it holds are kept."""
        address = path if path.startswith("/") else f"{AUTH}/{path}"
        answer = self.client.generic(
            method.upper(),
            address,
            "" if body is None else json.dumps(body),
            content_type="application/json",
            headers=self.headers(),
        )
        if answer.headers.get("Content-Type", "").startswith("application/json"):
            self._keep(answer.json())
        return answer

    def _keep(self, said: Any) -> None:
        if not isinstance(said, dict):
            return
        for part in ("meta", "data"):
            tokens = said.get(part)
            if isinstance(tokens, dict):
                self.session_token = tokens.get("session_token", self.session_token)
                self.access_token = tokens.get("access_token", self.access_token)
                self.refresh_token = tokens.get("refresh_token", self.refresh_token)

    def sign_up(self, email: str = ADDRESS, **more: Any) -> Any:
        body = {"email": email, "password": PASSWORD, "consents": ALL_CONSENTS, **more}
        return self.call("post", "auth/signup", body)

    def confirm(self) -> Any:
        (message,) = deliver_mail()
        return self.call("post", "auth/email/verify", {"key": code_in(message)})

    def log_in(self, email: str = ADDRESS, password: str = PASSWORD) -> Any:
        return self.call("post", "auth/login", {"email": email, "password": password})

    def log_out(self) -> Any:
        return self.call("delete", "auth/session")

    def refresh(self) -> Any:
        return self.call("post", "tokens/refresh", {"refresh_token": self.refresh_token})


def registered(name: str = "phone", email: str = ADDRESS, **more: Any) -> Phone:
    """A phone whose person has signed up and confirmed the address."""
    phone = Phone(name)
    assert phone.sign_up(email, **more).status_code == 401
    assert phone.confirm().status_code == 200
    return phone


def person_of(phone: Phone) -> User:
    user: User = User.objects.get(pk=phone.call("get", "/api/v1/account/").json()["id"])
    return user
