"""Secrets to plant in conversations: none is real, and none stands in this file as it is.

They are put together at run time, so that scanners of this repository find nothing in it.
"""

import base64
import random
import string
from typing import NamedTuple

DIGITS = string.digits
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + DIGITS
LETTERS = string.ascii_letters + DIGITS
URL_SAFE = LETTERS + "-_"
BASE64 = LETTERS + "+/"


class Planted(NamedTuple):
    """A text in which a secret of a kind stands."""

    kind: str
    text: str
    secret: str


def planted(kind: str, around: str, secret: str) -> Planted:
    return Planted(kind, around.replace("@@", secret), secret)


def _fake(seed: int, length: int, alphabet: str = LETTERS) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


def _key(name: str, end: str = "\n", *, whole: bool = True) -> str:
    lines = [_fake(line, 64, BASE64) for line in range(12)]
    lines = ["-----BEGIN " + f"{name}-----", *lines]
    if whole:
        lines += [_fake(12, 30, BASE64) + "==", "-----END " + f"{name}-----"]
    return end.join(lines)


HEADER_AND_CLAIMS = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890","name":"Ada"}')
)
PASSWORD = "hV8k" + "Qz-r2x"
NUMBERS = "-".join(_fake(seed, 12, DIGITS) for seed in (1, 2))

PLANTED = [
    planted("aws_access_key", "AWS_ACCESS_KEY_ID=@@\n", "AKIA" + _fake(3, 16, "ABCDEFGH234567")),
    planted("aws_access_key", "My key id is @@, right?", "ASIA" + _fake(4, 16, "JKLMNOPQ234567")),
    planted("aws_secret_access_key", "aws_secret_access_key = @@\n", _fake(5, 40, BASE64)),
    planted("github_pat", "export GITHUB_TOKEN=@@ && git push", "ghp_" + _fake(6, 36)),
    planted(
        "github_fine_grained_pat",
        '{"token": "@@"}',
        "github_pat_" + _fake(7, 22) + "_" + _fake(8, 59),
    ),
    planted("github_app_token", "Authorization: token @@", "ghs_" + _fake(9, 36)),
    planted(
        "gitlab_pat", 'curl -H "PRIVATE-TOKEN: @@" https://git.acme.org', "glpat-" + _fake(10, 20)
    ),
    planted("slack_bot_token", "slack:\n  bot: @@\n", "xoxb-" + f"{NUMBERS}-{_fake(11, 24)}"),
    planted(
        "slack_webhook_url",
        "curl -X POST @@ -d '{}'",
        "https://hooks.slack.com/"
        f"services/T{_fake(12, 8, UPPER)}/B{_fake(13, 10, UPPER)}/{_fake(14, 24)}",
    ),
    planted("stripe_access_token", 'stripe.api_key = "@@"', "sk_live_" + _fake(15, 24)),
    planted("stripe_access_token", "const stripe = Stripe('@@');", "sk_test_" + _fake(16, 24)),
    planted("google_api_key", 'const key = "@@";', "AIza" + _fake(17, 35, URL_SAFE)),
    planted(
        "openai_api_key", "OPENAI_API_KEY=@@", "sk-" + f"{_fake(18, 20)}T3BlbkFJ{_fake(19, 20)}"
    ),
    planted("openai_api_key", "client = OpenAI(api_key='@@')", "sk-proj-" + _fake(20, 48)),
    planted(
        "anthropic_api_key", '$env:KEY = "@@"', "sk-ant-" + f"api03-{_fake(21, 93, URL_SAFE)}AA"
    ),
    planted("jwt", "Set-Cookie: s=@@; Path=/", f"{HEADER_AND_CLAIMS}.{_fake(22, 43, URL_SAFE)}"),
    planted("private_key", "the key:\n@@\nbye", _key("RSA PRIVATE KEY")),
    planted("private_key", "the key:\r\n@@\r\nbye", _key("OPENSSH PRIVATE KEY", "\r\n")),
    planted("private_key", '{"private_key": "@@\\n"}', _key("PRIVATE KEY", "\\n")),
    planted("private_key", "$ head key.pem\n@@\n", _key("EC PRIVATE KEY", whole=False)),
    planted("url_password", "DATABASE_URL=postgres://app:@@@db.acme.org:5432/app", PASSWORD),
    planted("url_password", "git clone https://bob:@@@git.acme.org/x.git", "tR4nqu" + "1lity"),
    planted("npm_access_token", "//registry.npmjs.org/:_authToken=@@", "npm_" + _fake(23, 36)),
    planted(
        "pypi_upload_token",
        "[pypi]\nusername = __token__\npassword = @@\n",
        "pypi-" + f"AgEIcHlwaS5vcmc{_fake(24, 150, URL_SAFE)}",
    ),
    planted("sendgrid_api_token", "mail('@@')", "SG." + f"{_fake(25, 22)}.{_fake(26, 43)}"),
    planted("twilio_api_key", "TWILIO_API_KEY=@@", "SK" + _fake(27, 32, HEX)),
    planted("token", "TWILIO_AUTH_TOKEN=@@", _fake(28, 32, HEX)),
    planted(
        "telegram_bot_token", 'Bot("@@").run()', f"{_fake(29, 9, '123456789')}:AA{_fake(30, 33)}"
    ),
    planted(
        "discord_bot_token",
        'client.login("@@");',
        "MTE" + f"{_fake(31, 23)}.{_fake(32, 6)}.{_fake(33, 38, URL_SAFE)}",
    ),
    planted(
        "azure_storage_key",
        "AccountName=acme;AccountKey=@@;EndpointSuffix=core.windows.net",
        _fake(34, 86, BASE64) + "==",
    ),
    planted("mailchimp_api_key", "mailchimp key is @@ ok", _fake(35, 32, HEX) + "-us12"),
    planted("square_access_token", "SQUARE: @@", "sq0atp-" + _fake(36, 22)),
    planted("huggingface_token", "huggingface-cli login --token @@", "hf_" + _fake(37, 34)),
    planted("digitalocean_pat", "doctl auth init -t @@", "dop_v1_" + _fake(38, 64, HEX)),
    planted("google_oauth_client_secret", '"client_secret": "@@"', "GOCSPX-" + _fake(39, 28)),
    planted("bearer_token", '> curl -H "Authorization: Bearer @@" https://acme.org', _fake(40, 40)),
    planted("bearer_token", "< Authorization: Bearer @@\n", _fake(41, 40)),
    planted(
        "basic_credentials",
        "Authorization: Basic @@",
        base64.b64encode(f"admin:{PASSWORD}".encode()).decode(),
    ),
    planted("password", "curl -s \\\n  -u admin:@@ https://acme.org/v1", PASSWORD),
    planted("password", "mysql -u root -p@@ shop", PASSWORD),
    planted("password", "DB_PASSWORD=@@\nDB_HOST=db\n", "hV8k" + "Qz!r2(x"),
    planted("password", "db:\n  user: app\n  password: @@\n", PASSWORD),
    planted("password", '{"user": "app", "password": "@@"}', "Tr0ub4" + "dor&3"),
    planted("password", '"{\\"password\\": \\"@@\\"}"', PASSWORD),
    planted("password", "The password for staging is `@@`, can you log in?", "Sunflower" + "42!"),
    planted("password", "./deploy --user ada --password @@ --force", PASSWORD),
    planted("password", "<server><password>@@</password></server>", PASSWORD),
    planted(
        "secret", "SECRET_KEY = '@@'", "django-" + f"insecure-{_fake(42, 50, LETTERS + '!@#%^&*(')}"
    ),
    planted("api_key", "const apiKey: string = '@@';", _fake(43, 32)),
    planted("token", 'token = "@@"', _fake(44, 40, HEX)),
]
