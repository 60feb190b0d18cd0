import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dedup.hashing import DEEPEST, LONGEST_TEXT
from dedup.secrets import find_secrets, masked, masked_value
from dedup.tests.planted_secrets import PASSWORD, PLANTED, Planted

# All characters, lone surrogates and NUL among them.
ANYTHING = st.text(st.characters(), max_size=200)
NAMES = [f"{number}-{planted.kind}" for number, planted in enumerate(PLANTED)]

ORDINARY = """\
password: str
password: string;
def login(user: str, password: str = "") -> str:
token = get_token()
token = self.get_token(user_id=1)
self.token = token2
if password == password2:
password1 = request.POST["password1"]
fields = ("usable_password", "password1", "password2")
api_key=os.environ["API_KEY_2"]
api_key = os.getenv("OPENAI_API_KEY")
apiKey: process.env.API_KEY2
SECRET_KEY = config("SECRET_KEY2")
API_KEY=<your-key>
API_KEY=your-api-key-here-123
PASSWORD=xxxxxxxx
password: changeme123
password="********"
TOKEN=$TOKEN
token: ${{ secrets.GITHUB_TOKEN }}
csrf_token = "{{ csrf_token1 }}"
curl -H "Authorization: Bearer $TOKEN" https://acme.org
curl -H "Authorization: Bearer ${API_TOKEN_1}" https://acme.org
curl -u $USER:$PASS https://acme.org
curl -u user:password https://acme.org
docker run -u 1000:1000 -p 8080:8080 image
mkdir -p build/output1
DATABASE_URL=postgres://user:password@localhost:5432/db
DATABASE_URL=postgres://$USER:$PASSWORD@localhost:5432/db
DATABASE_URL=postgres://{user}:{password}@{host}/db
https://acme.org:8080/path@2x.png
proxy="socks5://<username>:<password>@proxy-host"
git@github.com:acme/repo.git
550e8400-e29b-41d4-a716-446655440000
commit 3f786850e387550fdab836ed7e6dc881de23001b
X-Request-Id: 3f786850e387550fdab836ed7e6dc881
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
"integrity": "sha512-9s3lkjfdlkjsdfLKJ3lk4j5lk3j4lkj3l4kj5lk3j4lk5j3lk4j5lk3j4l5kj34==",
"usage": {"input_tokens": 12345, "cache_creation_input_tokens": 4567}
{"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq9"}
max_tokens: 128000
secret_name: my-app-secret-v2
arn:aws:secretsmanager:eu-west-1:123456789012:secret:AcmeDatabase-a1b2c3
the password is stored in the vault
the token is expired after 30 days
Authorization: Basic authentication
Bearer authentication-tokens-here
-----BEGIN PRIVATE KEY----- is the first line
pad_token="[PAD]"
passport: AB1234567
PWD=/home/ada1/projects
""".splitlines()


@pytest.mark.parametrize("planted", PLANTED, ids=NAMES)
def test_a_planted_secret_is_found_where_it_stands(planted: Planted) -> None:
    found = find_secrets(planted.text)

    start = planted.text.index(planted.secret)
    assert [(secret.kind, secret.start, secret.end) for secret in found] == [
        (planted.kind, start, start + len(planted.secret))
    ]


@pytest.mark.parametrize("planted", PLANTED, ids=NAMES)
def test_masking_leaves_the_text_around_a_secret(planted: Planted) -> None:
    assert masked(planted.text) == planted.text.replace(planted.secret, f"[{planted.kind}]")


def test_more_than_twenty_kinds_are_planted() -> None:
    assert len({planted.kind for planted in PLANTED}) >= 25


@pytest.mark.parametrize("line", ORDINARY)
def test_ordinary_lines_are_left_alone(line: str) -> None:
    assert masked(line) == line


def test_ordinary_lines_together_are_left_alone() -> None:
    text = "\n".join(ORDINARY)

    assert masked(text) == text


def test_many_secrets_in_one_text_are_all_found_in_order() -> None:
    text = "\r\n".join(f"é\x00😀 {planted.text} é" for planted in PLANTED)

    found = find_secrets(text)

    assert [text[secret.start : secret.end] for secret in found] == [
        planted.secret for planted in PLANTED
    ]
    assert [secret.kind for secret in found] == [planted.kind for planted in PLANTED]


def test_the_same_secret_twice_is_masked_twice() -> None:
    assert masked(f"password: {PASSWORD}\npassword: {PASSWORD}") == (
        "password: [password]\npassword: [password]"
    )


def test_a_text_longer_than_a_message_is_searched_to_its_end() -> None:
    text = "".join(f"{planted.text}\n{'é word ' * 1_500}\n" for planted in PLANTED)

    assert len(text) > 4 * LONGEST_TEXT
    assert [text[secret.start : secret.end] for secret in find_secrets(text)] == [
        planted.secret for planted in PLANTED
    ]


def test_a_key_behind_a_byte_order_mark_is_found() -> None:
    planted = PLANTED[3]

    assert masked(f"\ufeff{planted.text}") == f"\ufeff{masked(planted.text)}"


def test_a_comment_for_scanners_of_code_hides_nothing() -> None:
    planted = PLANTED[3]

    assert planted.secret not in masked(f"{planted.text} # gitleaks:allow kingfisher:ignore")


def test_a_key_with_numbers_of_lines_is_masked_to_its_end() -> None:
    key = next(planted.secret for planted in PLANTED if planted.kind == "private_key")
    numbered = "\n".join(f"{number:>6}→{line}" for number, line in enumerate(key.splitlines(), 1))

    assert masked(numbered) == "     1→[private_key]"


def test_texts_of_kinds_are_no_secrets() -> None:
    text = "\n".join(f"password={mark} token: '{mark}'" for mark in ["[password]", "[github_pat]"])

    assert masked(text) == text


@given(st.sampled_from(PLANTED), ANYTHING, ANYTHING)
def test_no_planted_secret_survives_whatever_surrounds_it(
    planted: Planted, before: str, after: str
) -> None:
    assume(planted.secret not in before + after)

    shown = masked(f"{before}\n{planted.text}\n{after}")

    assert planted.secret not in shown
    assert f"[{planted.kind}]" in shown


@given(st.lists(st.one_of(ANYTHING, st.sampled_from([p.text for p in PLANTED]))).map("".join))
def test_masking_again_changes_nothing(text: str) -> None:
    once = masked(text)

    assert masked(once) == once


@given(st.lists(st.one_of(ANYTHING, st.sampled_from([p.text for p in PLANTED]))).map("\n".join))
def test_secrets_are_ordered_and_apart(text: str) -> None:
    ends = [0]
    for secret in find_secrets(text):
        assert ends[-1] <= secret.start < secret.end <= len(text)
        ends.append(secret.end)


def test_every_string_of_a_json_value_is_masked() -> None:
    token = PLANTED[3]
    value = {"calls": [{token.secret: 1, "input": {"command": token.text}}, None, 1.5, True]}

    assert masked_value(value) == {
        "calls": [{"[github_pat]": 1, "input": {"command": masked(token.text)}}, None, 1.5, True]
    }


def test_the_name_of_a_json_value_tells_that_it_is_a_secret() -> None:
    value = {"db_password": PASSWORD, "password_hint": PASSWORD, "token": "none", "name": "Ada"}

    assert masked_value(value) == {**value, "db_password": "[password]"}


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), ANYTHING),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(ANYTHING, inner)),
        max_leaves=10,
    ),
    st.sampled_from(PLANTED),
)
def test_no_planted_secret_survives_in_json(value: object, planted: Planted) -> None:
    shown = masked_value([value, {"text": planted.text}])

    assert planted.secret not in json.dumps(shown, ensure_ascii=False)
    assert masked_value(shown) == shown or shown != shown  # noqa: PLR0124 - NaN is not itself


def test_json_too_deep_is_refused() -> None:
    value: object = "text"
    for _ in range(DEEPEST + 2):
        value = [value]

    with pytest.raises(RecursionError):
        masked_value(value)
