"""Log lines as JSON: which process, request and person, and never a credential or an address."""

import logging
import re

from pythonjsonlogger.json import JsonFormatter

from common import context

MASK = "[masked]"
SENSITIVE = re.compile(
    r"""
    (?P<bearer>(?i:bearer|basic)\s+\S+)
    | (?P<token>\bcp_[A-Za-z0-9_-]{8,})
    | (?P<url_password>(?<=://)[^\s/@]*:[^\s/@]*(?=@))
    | (?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)
    | (?P<ipv4>(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]))
    | (?P<ipv6>(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){3,7}[0-9A-Fa-f]{1,4}(?![\w:]))
    """,
    re.VERBOSE,
)


def mask(text: str) -> str:
    """The text with credentials, e-mail and network addresses replaced."""
    return SENSITIVE.sub(MASK, text)


class JsonLogFormatter(JsonFormatter):
    """One JSON object a line, with request and person where there are any."""

    def __init__(self, process: str = "") -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "at", "levelname": "level", "name": "logger"},
            static_fields={"process": process} if process else {},
        )

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))

    def process_log_record(self, log_data: dict[str, object]) -> dict[str, object]:
        if request := context.request_id.get():
            log_data["request_id"] = request
        if person := context.person_id.get():
            log_data["user_id"] = str(person)
        return super().process_log_record(log_data)
