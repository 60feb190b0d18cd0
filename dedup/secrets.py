"""Keys, tokens and passwords in the words of a conversation.

Kingfisher finds them: the rules of Betterleaks (some 490 kinds of key) and those of
`secret_rules.yml`, all compiled into one automaton, so that a text costs the same however many
rules there are. Its scanner runs in this process and never asks a network. For values of which
only the name tells what they are (`password = …`) this module judges whether there is one.

What is found depends on the text alone. The stored bytes are not touched: this is for showing.
"""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kingfisher_sdk import Rules, Scanner
from kingfisher_sdk.core import Finding

from dedup.hashing import DEEPEST, LONGEST_TEXT

RULES = Path(__file__).with_name("secret_rules.yml")

MARK = re.compile(r"\[(?:[a-z]|1password)[a-z0-9_]*\]")
# An ID names its source first and may end in the number of one of several rules.
AROUND_NAME = re.compile(r"^\w+\.(?:secrets/)?|\.\d+$")
# Nothing shorter is a secret, nor the name of one.
SHORTEST = 6
# Some rules cost the square of a text's length: longer ones than a message's go in pieces, which
# overlap by more than a secret is long.
OVERLAP = 20_000
# A NUL makes the scanner take the text for UTF-16 or binary, a byte order mark for a file's start.
UNREADABLE = {0x00: " ", 0xFEFF: " "}

# Parts of a pair that are no secret, or found more narrowly by a rule of our own.
NOT_SECRET = re.compile(
    r"(?:_id|_jfrog_url|_instance_url|_project_url|_rest_url|_name|_host|_domain|_address"
    r"|_username|_repository|_pub_key|_public_key)$"
    r"|^(?:curl_auth_user|mongodb_connection_string|private_key|gcp_service_account"
    r"|gcp_application_default_credentials|posthog_project_api_key|kubernetes_secret_yaml)$"
)
# Names as the source writes them, without word boundaries, or that are of another issuer mostly.
KINDS = {
    "aws_access_token": "aws_access_key",
    "aws_access_key_id": "aws_access_key",
    "curl_auth_header": "bearer_token",
    "digitaloceanapikey": "digitalocean_pat",
    "gcp_api_key": "google_api_key",
    "generic_credential_uri": "url_password",
    "huggingface_access_token": "huggingface_token",
    "kimi_api_key": "openai_api_key",
    "npmjsaccesstoken": "npm_access_token",
    "sendgrid": "sendgrid_api_token",
    "slackappconfigaccesstoken": "slack_config_access_token",
    "slackappconfigrefreshtoken": "slack_config_refresh_token",
    "slackappleveltoken": "slack_app_token",
    "stripe_test_key": "stripe_access_token",
    "telegram_bot_api_token": "telegram_bot_token",
}
# Where two rules find the same, the one that knows the issuer names it: a higher rank wins.
VAGUE = {
    name: rank
    for rank, name in enumerate(
        ["key", "token", "secret", "api_key", "password", "url_password", "bearer_token", "jwt"]
    )
}

# Values after a name. A bare one ends where code or a query string would go on.
QUOTED = re.compile(
    r"""[ \t]{0,20}[bBfFrRuU]{0,2}\\{0,3}(["'`])(?P<value>(?:(?!\1)[^\\\r\n]){6,300})"""
)
BARE = re.compile(
    r"""[ \t*]{0,20}(?P<value>[^\s"'`,;<>(){}\[\]|&\\=]{6,300}={0,2})(?P<after>[(\[{=]?)"""
)
# In a line of .env only white space ends it.
ENVIRONMENT = re.compile(r"""(?P<value>[^\s"'`\\;,]{6,300})""")
WORD = re.compile(r"""[ \t]{0,4}\\?["'`*]{0,3}(?P<value>[^\s"'`\\<>]{6,300})""")
CONTENT = re.compile(r"\s{0,20}(?P<value>[^<\s]{6,300})\s{0,20}</")
ARGUMENT = re.compile(r"""(?P<value>[^\s"'`]{3,128})""")
# Commands of which an option holds a password, as far back as a long command line goes.
WITH_USER = re.compile(r"\b(?:curl|wget|https?)[ \t]")
WITH_PASSWORD = re.compile(
    r"\b(?:sshpass|mysql|mysqldump|mysqladmin|mariadb|redis-cli"
    r"|(?:docker|podman|az|oc)[ \t]+login)\b"
)
LONGEST_COMMAND = 300
CONTINUED = re.compile(r"\\\r?\n")

# Whole or cut short, on many lines or with \n written out, quoted, or numbered by a pager.
BETWEEN_LINES = r"""(?:\\[rn]|[\s>|"'+,]|\d{1,6}[→|:\t])"""
KEY_BODY = re.compile(
    rf"(?:(?:{BETWEEN_LINES}|[A-Za-z-]{{4,16}}: [^\r\n]{{1,100}})*+[A-Za-z0-9+/]{{16,}}+={{0,2}})++"
    rf"(?:{BETWEEN_LINES}{{0,20}}=?[A-Za-z0-9+/]{{1,15}}={{1,2}})?"
    rf"(?:{BETWEEN_LINES}{{0,20}}[A-Za-z0-9+/=]{{0,15}}{BETWEEN_LINES}{{0,20}}"
    r"-----END[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
)

PLACEHOLDER = re.compile(
    r"^(?:\$[\w({]|[<{\[]|%\w+%$|@\w+@$)"  # $TOKEN, ${TOKEN}, <token>, {{ token }}, %TOKEN%
    r"|\$\{|\{\{|\{\w*\}|%\(?\w*\)?s|\*{3}|x{4}|\.{3}|…|•"
    r"|\b(?:your|my|the|some)[-_ ]"
    r"|^(?:fake|mock|dummy|sample|placeholder|test[-_]|changeme|none|null|undefined)"
    r"|example|change[-_]?me|redacted|insert[-_]|replace[-_]"
    r"|process\.env|os\.environ|getenv|import\.meta|secrets\.|\.\w+\(",
    re.IGNORECASE,
)
# A path, an address, a digest with its algorithm.
OTHER_THING = re.compile(r"(?:[.~]{0,2}/|[a-z]:\\|sha\d+[-:])|.{0,20}://", re.IGNORECASE)
# In examples of addresses.
COMMON_PASSWORD = re.compile(
    r"pass|user|secret|token|key|name|pwd|postgres|admin|rabbit|mysql|redis|mongo|minio|docker|test",
    re.IGNORECASE,
)
MEMBER = re.compile(r"[A-Za-z_$][\w$]*(?:\??\.[A-Za-z_$][\w$]*)+")
PLAIN_PART = re.compile(r"(?:[A-Z]?[a-z]*|[A-Z]+)(?:[A-Z][a-z]+)*\d{0,2}|\d{1,8}")
LETTER, DIGIT, SYMBOL = re.compile(r"[^\W\d_]"), re.compile(r"\d"), re.compile(r"[!@#$%^&*+?~]\S")
PARTS = re.compile(r"[-_.:/]")
TOKEN_CHARACTERS = re.compile(r"[\w.~+/=:@!$%-]+")
TRAILING = ".,;:*?)"

NAMES = [
    ("password", re.compile(r"pass|pwd|credential", re.IGNORECASE)),
    ("token", re.compile(r"token", re.IGNORECASE)),
    ("api_key", re.compile(r"api[ _-]?key", re.IGNORECASE)),
    ("secret", re.compile(r"secret", re.IGNORECASE)),
]
SECRET_NAME = re.compile(
    r"(?i)(?:passw(?:or)?d|passphrase|passcode|(?:^|_)pass|pwd|secret|token|credentials?"
    r"|(?:api|access|secret|private|auth)[ _-]?key)$"
)
LONG_TOKEN = 16
ENTROPY_OF_A_TOKEN = 3.0
FEWEST_CHARACTERS = 5
LONG_PASSWORD = 8
LONGEST_PLACEHOLDER = 64


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret stands in a text, in characters."""

    kind: str
    start: int
    end: int


def find_secrets(text: str) -> list[Secret]:
    """The secrets of a text, in order and apart from each other."""
    if len(text) < SHORTEST:
        return []
    if len(text) <= LONGEST_TEXT:
        return _apart(_found(text))
    pieces = range(0, len(text) - OVERLAP, LONGEST_TEXT - OVERLAP)
    return _apart(
        Secret(secret.kind, secret.start + start, secret.end + start)
        for start in pieces
        for secret in _found(text[start : start + LONGEST_TEXT])
    )


def masked(text: str) -> str:
    """The text with the kind of each secret in brackets in its place."""
    # A mark may end a longer value, of which the rest is a secret by itself. This ends: each
    # round replaces characters that are no mark.
    while secrets := find_secrets(text):
        text = cover(text, secrets)
    return text


def cover(text: str, secrets: Iterable[Secret]) -> str:
    """The text with marks in the places of these secrets."""
    pieces, done = [], 0
    for secret in secrets:
        pieces += [text[done : secret.start], f"[{secret.kind}]"]
        done = secret.end
    return "".join([*pieces, text[done:]])


def masked_value(value: Any, depth: int = 0) -> Any:
    """Any JSON value with every string in it masked, the names too (equal ones become one)."""
    if isinstance(value, str):
        return masked(value)
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        return {
            masked(name): _masked_member(name, item)
            if isinstance(item, str)
            else masked_value(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [masked_value(item, depth + 1) for item in value]
    return value


@cache
def _scanner() -> Scanner:
    # Compiled at first use, 0.3 s from Kingfisher's cache of it and 3 s without.
    return Scanner(Rules([RULES]), base64=False)


def _found(text: str) -> Iterator[Secret]:
    if "\x00" in text or "\ufeff" in text:
        text = text.translate(UNREADABLE)
    # A lone surrogate becomes one question mark: characters stay countable.
    data = text.encode("utf-8", "replace")
    for finding, start, end in _in_characters(_scanner().scan(data), data):
        if secret := _judged(finding, text, start, end):
            yield secret


def _masked_member(name: str, text: str) -> str:
    """The string under a name: `{"password": "…"}` says what its value is."""
    shown = masked(text)
    if shown == text and SECRET_NAME.search(name) and len(text) >= SHORTEST:
        kind = _kind_of_name(name)
        if _is_real(text, kind):
            return f"[{kind}]"
    return shown


def _in_characters(findings: list[Finding], data: bytes) -> Iterator[tuple[Finding, int, int]]:
    """The findings in order with where they start and end; the scanner counts bytes."""
    places = [(finding.location, finding) for finding in findings]
    places.sort(key=lambda place: place[0]["start_offset"])
    byte = character = 0
    for place, finding in places:
        start, end = place["start_offset"], place["end_offset"]
        character += _characters(data[byte:start])
        byte = start
        yield finding, character, character + _characters(data[start:end])


def _characters(data: bytes) -> int:
    return len(data) if data.isascii() else len(data.decode("utf-8", "ignore"))


def _judged(finding: Finding, text: str, start: int, end: int) -> Secret | None:
    kind = _kind_of_rule(finding.rule_id)
    if kind is None or _is_marks(text[start:end]):
        return None
    reader = READERS.get(kind)
    if reader:
        return reader(text, start, end)
    if PLACEHOLDER.search(text[start:end]):
        return None
    return Secret(kind, start, end)


@cache
def _kind_of_rule(rule: str) -> str | None:
    """`betterleaks.github-pat` is a `github_pat`; None for what is no secret."""
    name = AROUND_NAME.sub("", rule).replace("-", "_").replace(".", "_")
    if not rule.startswith("custom.") and NOT_SECRET.search(name):
        return None
    return KINDS.get(name, name)


def _kind_of_name(name: str) -> str:
    return next((kind for kind, pattern in NAMES if pattern.search(name)), "key")


def _after_name(text: str, start: int, end: int) -> Secret | None:
    """The value that is assigned, passed or listed after its name."""
    name = text[start:end]
    kind = _kind_of_name(name)
    if value := QUOTED.match(text, end):
        # In a list of words the next may be a name too: "password1", "password2".
        return _if_real(text, kind, value.span("value"), bare=name[-1] == ",")
    if name[-1] in "(,":
        return None
    if text[start - 1 : start] == ":":  # arn:…:secret:name
        return None
    if name[-1] == "=" and name[:-1].isupper() and (value := ENVIRONMENT.match(text, end)):
        return _if_real(text, kind, value.span("value"))
    value = BARE.match(text, end)
    if not value or value["after"] or MEMBER.fullmatch(value["value"]):
        return None
    return _if_real(text, kind, value.span("value"), bare=True)


def _after_words(text: str, start: int, end: int) -> Secret | None:
    """The value after an option of a command or a sentence."""
    value = WORD.match(text, end)
    kind = _kind_of_name(text[start:end])
    return _if_real(text, kind, value.span("value"), bare=True) if value else None


def _after_tag(text: str, start: int, end: int) -> Secret | None:
    value = CONTENT.match(text, end)
    return _if_real(text, _kind_of_name(text[start:end]), value.span("value")) if value else None


def _after_user(text: str, start: int, end: int) -> Secret | None:
    return _argument(text, end) if WITH_USER.search(_command(text, start)) else None


def _after_option(text: str, start: int, end: int) -> Secret | None:
    return _argument(text, end) if WITH_PASSWORD.search(_command(text, start)) else None


def _argument(text: str, start: int) -> Secret | None:
    value = ARGUMENT.match(text, start)
    return _if_real(text, "password", value.span("value"), bare=True) if value else None


def _command(text: str, end: int) -> str:
    """The command line up to there, with the lines that go on."""
    before = text[max(0, end - LONGEST_COMMAND) : end]
    return CONTINUED.sub(" ", before).rpartition("\n")[2] + " "


def _private_key(text: str, start: int, end: int) -> Secret | None:
    body = KEY_BODY.match(text, end)
    return Secret("private_key", start, body.end()) if body else None


def _url_password(text: str, start: int, end: int) -> Secret | None:
    value = text[start:end]
    if _is_real(value, "password") or (
        len(value) >= LONG_PASSWORD
        and not PLACEHOLDER.search(value)
        and not COMMON_PASSWORD.search(value)
    ):
        return Secret("url_password", start, end)
    return None


def _bearer_token(text: str, start: int, end: int) -> Secret | None:
    real = _if_real(text, "token", (start, end), bare=True)
    return Secret("bearer_token", real.start, real.end) if real else None


def _basic_credentials(text: str, start: int, end: int) -> Secret | None:
    try:
        real = b":" in base64.b64decode(text[start:end] + "==")
    except binascii.Error:
        real = False
    return Secret("basic_credentials", start, end) if real else None


READERS = {
    "assignment": _after_name,
    "option": _after_words,
    "element": _after_tag,
    "sentence": _after_words,
    "user_option": _after_user,
    "password_option": _after_option,
    "private_key": _private_key,
    "url_password": _url_password,
    "bearer_token": _bearer_token,
    "basic_credentials": _basic_credentials,
}


def _if_real(text: str, kind: str, span: tuple[int, int], *, bare: bool = False) -> Secret | None:
    start, end = span
    if bare:
        end = start + len(text[start:end].rstrip(TRAILING))
    return Secret(kind, start, end) if _is_real(text[start:end], kind, bare=bare) else None


def _is_real(value: str, kind: str, *, bare: bool = False) -> bool:
    """Whether a value looks like a secret of its kind, not like code, a word or a placeholder."""
    value = MARK.sub("", value)
    if not _is_mixed(value) or OTHER_THING.match(value):
        return False
    if PLACEHOLDER.search(value[:LONGEST_PLACEHOLDER]):
        return False
    parts = PARTS.split(value)
    plain = all(map(PLAIN_PART.fullmatch, parts))
    if kind == "password":
        return not (plain and (len(parts) > 1 or (bare and _kind_of_name(value) != "key")))
    return not plain and _is_random(value) and _is_written_as(kind, value)


def _is_mixed(value: str) -> bool:
    """Letters with digits or symbols, and not the same few."""
    return bool(
        len(value) >= SHORTEST
        and " " not in value
        and LETTER.search(value)
        and (DIGIT.search(value) or SYMBOL.search(value))
        and len(set(value)) >= FEWEST_CHARACTERS
    )


def _is_random(value: str) -> bool:
    long = len(value) >= LONG_TOKEN and DIGIT.search(value)
    return bool(long) and _entropy(value) >= ENTROPY_OF_A_TOKEN


def _is_written_as(kind: str, value: str) -> bool:
    return kind not in ("token", "api_key") or bool(TOKEN_CHARACTERS.fullmatch(value))


def _entropy(value: str) -> float:
    """Shannon's, in bits per character."""
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares)


def _is_marks(value: str) -> bool:
    return not MARK.sub("", value).strip()


def _apart(secrets: Iterable[Secret]) -> list[Secret]:
    """Overlapping ones as one, of the kind that says most."""
    apart: list[Secret] = []
    for secret in sorted(secrets, key=lambda secret: (secret.start, secret.end)):
        if apart and secret.start < apart[-1].end:
            last = apart[-1]
            kind = max(last.kind, secret.kind, key=lambda kind: (VAGUE.get(kind, len(VAGUE)), kind))
            apart[-1] = Secret(kind, last.start, max(last.end, secret.end))
        else:
            apart.append(secret)
    return apart
