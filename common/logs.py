"""Log lines as JSON: which process, request and person, and never a credential or an address."""

import json
import re
from functools import lru_cache
from typing import Any
from uuid import UUID

from pythonjsonlogger.json import JsonFormatter

from common import context
from common.encryption.derivation import keyed_digest

MASK = "[masked]"
SENSITIVE = re.compile(
    r"""
    (?i:authorization|cookie|x-session-token)[\\"']*\s*[:=][^\r\n]*
    | (?:\b|(?<=\\[nrt]))(?i:bearer|basic)\s+\S+
    | cpr?_[A-Za-z0-9_-]{20,}
    | eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+
    | (?<=://)[^\s/]+(?=@)
    | [^\s@<>"(),:;\[\]\\/=]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+
    | (?:(?<![\w.])|(?<=\\[nrt]))(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)
    # A quoted text may have a written-out line end or tab before an address.
    # An IPv6 address in full (or a MAC address), or shortened by one "::".
    | (?:(?<![\w:])|(?<=\\[nrt]))
      (?: (?:[0-9A-Fa-f]{1,4}:){3,7}[0-9A-Fa-f]{1,4}
        | (?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})?::
          (?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})?
      )
      (?!\w|:[0-9A-Fa-f:])
    """,
    re.VERBOSE,
)
SENSITIVE_NAME = re.compile(
    r"authorization|cookie|password|secret|(access|refresh|session|id)_token", re.IGNORECASE
)
PSEUDONYM_DIGITS = 16


def mask(text: str) -> str:
    """The text with credentials, e-mail and network addresses replaced."""
    return SENSITIVE.sub(MASK, text)


def _masked(value: Any) -> Any:
    """JSON with each text in it masked, and whole what has a sensitive name."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, dict):
        return {
            mask(name): MASK if SENSITIVE_NAME.search(name) else _masked(item)
            for name, item in value.items()
        }
    return value


@lru_cache(maxsize=10_000)
def pseudonym_of(user_id: UUID) -> str:
    """What a person is called in logs: the same in each line, and nobody's name elsewhere.

    Logs are copied to where the database is not; only the key leads from here to an account.
    """
    return keyed_digest("pseudonyms in logs", user_id.bytes).hex()[:PSEUDONYM_DIGITS]


class JsonLogFormatter(JsonFormatter):
    """One JSON object a line, with request and person where there are any."""

    def __init__(self, process: str = "") -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "at", "levelname": "level", "name": "logger"},
            static_fields={"process": process} if process else {},
        )

    def process_log_record(self, log_data: dict[str, object]) -> dict[str, object]:
        if request := context.request_id.get():
            log_data["request_id"] = request
        if person := context.person_id.get():
            log_data["person"] = pseudonym_of(person)
        return super().process_log_record(log_data)

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        # Value by value: in the encoded line an escape such as \n would hide where one begins,
        # and a mask could swallow a closing quote.
        return json.dumps(_masked(json.loads(super().jsonify_log_record(log_data))))
