"""The examples of docs/accounts.md do what the comments above them say."""

import re
import shlex
from argparse import ArgumentParser
from itertools import count
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from pytest_django import Settings

from accounts.tests.phones import code_in, deliver_mail
from accounts.tests.test_second_factors import totp

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENT = settings.BASE_DIR / "docs" / "accounts.md"
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
EXAMPLE = re.compile(r"# (?P<status>\d{3})\b.*\n(?P<command>curl (?:.|\n)*?)(?=\n#|\Z)")
TOKENS = ("session_token", "access_token", "refresh_token", "secret")

curl = ArgumentParser(prog="curl")
curl.add_argument("url")
curl.add_argument("-X", dest="method")
curl.add_argument("-H", dest="headers", action="append", default=[])
curl.add_argument("--json", dest="body")
curl.add_argument("-c", dest="cookies_to")
curl.add_argument("-b", dest="cookies_from")


class Shell:
    """Whoever types the examples: it keeps what an answer holds, and reads the mail."""

    def __init__(self) -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.values = {"SITE": ""}
        self._steps = count()

    def run(self, command: str) -> int:
        given = curl.parse_args(shlex.split(command.replace("\\\n", " "))[1:])
        self._look_up(command)
        headers = dict(self._filled(each).split(": ", 1) for each in given.headers)
        answer = self.client.generic(
            given.method or ("POST" if given.body else "GET"),
            self._filled(given.url),
            self._filled(given.body or ""),
            content_type="application/json",
            headers=headers,
        )
        self._keep(answer.json() if answer.content else {})
        return int(answer.status_code)

    def _look_up(self, command: str) -> None:
        if "$CODE" in command:
            self.values["CODE"] = code_in(deliver_mail()[-1])
        if "$TOTP" in command:
            # One that was used is not taken twice.
            self.values["TOTP"] = totp(self.values["SECRET"], next(self._steps) - 1)
        if "csrftoken" in self.client.cookies:
            self.values["CSRF"] = self.client.cookies["csrftoken"].value

    def _filled(self, text: str) -> str:
        return re.sub(r"\$([A-Z_]+)", lambda match: self.values[match[1]], text)

    def _keep(self, said: Any) -> None:
        for part in ("meta", "data"):
            found = said.get(part) if isinstance(said, dict) else None
            if isinstance(found, dict):
                self.values |= {name.upper(): found[name] for name in TOKENS if name in found}


def test_each_example_gets_the_answer_that_is_announced(settings: Settings) -> None:
    shell = Shell()
    examples = [
        match
        for block in BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))
        for match in EXAMPLE.finditer(block)
    ]

    assert len(examples) >= 20
    for example in examples:
        assert shell.run(example["command"]) == int(example["status"]), example["command"]
