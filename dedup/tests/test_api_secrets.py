import json
from pathlib import Path
from typing import Any

import pytest
from django.test.client import Client

from accounts.models import User
from accounts.tests.factories import client_of, make_user
from common.tenancy import acting_as
from dedup.models import Conversation, Import
from dedup.services import import_path
from dedup.tests.exports_json import as_json, chatgpt_conversation, chatgpt_said
from dedup.tests.factories import prompt, reply, transcript
from dedup.tests.planted_secrets import PLANTED, planted

pytestmark = pytest.mark.django_db

TOKEN = next(secret for secret in PLANTED if secret.kind == "github_pat")
WORDS = f"Deploy the bakery with {TOKEN.secret} please"


@pytest.fixture
def ada(tmp_path: Path) -> User:
    """With one session that says a secret in every place that a person fills."""
    ada = make_user()
    call = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": TOKEN.text}}
    said = reply("r1", "", "p1", 1, cwd=f"/home/robin/{TOKEN.secret}", gitBranch=TOKEN.secret)
    said["message"]["content"] = [call]
    rows = [
        prompt("p1", WORDS, cwd=f"/home/robin/{TOKEN.secret}"),
        said,
        prompt("p2", "Bread", "r1", 2),
        prompt("p3", f"Tarts {TOKEN.secret}", "r1", 3),
    ]
    import_path(user_id=ada.pk, path=transcript(tmp_path, rows))
    plain = chatgpt_conversation([chatgpt_said("c1", None, "user", "Is it done?")])
    (tmp_path / "conversations.json").write_bytes(as_json([plain]))
    import_path(user_id=ada.pk, path=tmp_path / "conversations.json")
    return ada


@pytest.fixture
def client(ada: User) -> Client:
    return client_of(ada)


@pytest.fixture
def conversation(ada: User) -> str:
    with acting_as(ada.pk):
        return str(Conversation.objects.visible_to(ada.pk).get(source="claude_code").pk)


def body_of(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, url
    body = b"".join(answer) if answer.streaming else answer.content
    return body.decode()


def first_message(client: Client, conversation: str) -> dict[str, Any]:
    places = client.get(f"/api/v1/conversations/{conversation}/messages/").json()["results"]
    message: dict[str, Any] = places[0]["message"]
    return message


def test_no_answer_shows_a_secret_unless_it_is_asked_for(client: Client, conversation: str) -> None:
    message = first_message(client, conversation)["id"]
    shown = [
        f"/api/v1/conversations/{conversation}/",
        f"/api/v1/conversations/{conversation}/messages/",
        f"/api/v1/conversations/{conversation}/branches/",
        f"/api/v1/conversations/{conversation}/export/?form=markdown",
        f"/api/v1/conversations/{conversation}/export/?form=json",
        f"/api/v1/conversations/{conversation}/export/?form=html",
        f"/api/v1/messages/{message}/",
        "/api/v1/messages/?q=bakery",
        "/api/v1/conversations/",
    ]

    for url in shown:
        separator = "&" if "?" in url else "?"
        assert TOKEN.secret not in body_of(client, url), url
        assert TOKEN.secret not in body_of(client, f"{url}{separator}secrets=masked"), url
        assert TOKEN.secret in body_of(client, f"{url}{separator}secrets=shown"), url


@pytest.mark.parametrize("secrets", ["masked", "shown"])
def test_statistics_gaps_and_log_show_none(client: Client, conversation: str, secrets: str) -> None:
    for name in ("statistics", "gaps", "log"):
        url = f"/api/v1/conversations/{conversation}/{name}/?secrets={secrets}"
        assert TOKEN.secret not in body_of(client, url)


@pytest.mark.parametrize(
    "url",
    [
        "conversations/",
        "conversations/{}/",
        "conversations/{}/messages/",
        "conversations/{}/branches/",
        "conversations/{}/statistics/",
        "conversations/{}/gaps/",
        "conversations/{}/log/",
        "conversations/{}/export/",
        "messages/?q=bakery",
        "imports/",
    ],
)
def test_any_other_wish_is_refused(client: Client, conversation: str, url: str) -> None:
    separator = "&" if "?" in url else "?"

    answer = client.get(f"/api/v1/{url.format(conversation)}{separator}secrets=all")

    assert answer.status_code == 400
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [
        ("secrets", "invalid_choice")
    ]


def test_text_is_whole_where_secrets_are_shown(client: Client, conversation: str) -> None:
    message = first_message(client, conversation)

    masked = client.get(f"/api/v1/messages/{message['id']}/").json()
    shown = client.get(f"/api/v1/messages/{message['id']}/?secrets=shown").json()

    assert message["text"] == "Deploy the bakery with [github_pat] please"
    assert masked["revisions"][0]["text"] == message["text"]
    assert masked["revisions"][0]["content"] == [{"type": "text", "text": message["text"]}]
    assert shown["revisions"][0]["text"] == WORDS
    assert shown["revisions"][0]["content"] == [{"type": "text", "text": WORDS}]


def test_a_message_says_which_kinds_of_secrets_it_has(client: Client, conversation: str) -> None:
    places = client.get(f"/api/v1/conversations/{conversation}/messages/").json()["results"]

    details = [client.get(f"/api/v1/messages/{each['message']['id']}/").json() for each in places]

    assert [each["message"]["has_secrets"] for each in places] == [True, True, False, True]
    assert [each["has_secrets"] for each in details] == [True, True, False, True]
    assert [each["secrets"] for each in details] == [
        ["github_pat"],
        ["github_pat"],
        [],
        ["github_pat"],
    ]
    assert details[0]["revisions"][0]["secrets"] == ["github_pat"]
    assert details[2]["revisions"][0]["has_secrets"] is False


def test_highlights_are_masked_whatever_is_asked(client: Client) -> None:
    for secrets in ("masked", "shown"):
        (hit,) = client.get(f"/api/v1/messages/?q=bakery&secrets={secrets}").json()["results"]

        assert hit["highlight"] == "Deploy the <mark>bakery</mark> with [github_pat] please"


def test_conversations_are_filtered_by_their_secrets(client: Client, conversation: str) -> None:
    def listed(query: str) -> list[tuple[str, bool]]:
        rows = client.get(f"/api/v1/conversations/{query}").json()["results"]
        return [(row["source"], row["has_secrets"]) for row in rows]

    assert listed("") == [("chatgpt", False), ("claude_code", True)]
    assert listed("?has_secrets=true") == [("claude_code", True)]
    assert listed("?has_secrets=false") == [("chatgpt", False)]
    detail = client.get(f"/api/v1/conversations/{conversation}/").json()
    assert detail["has_secrets"] is True


def test_project_and_metadata_of_a_conversation_are_masked(client: Client, ada: User) -> None:
    secret = planted("password", "password=@@", "hV8k" + "Qz-r2x").secret
    with acting_as(ada.pk):
        row = Conversation.objects.visible_to(ada.pk).get(source="chatgpt")
        row.project, row.metadata = f"password={secret}", {"env": {"password": secret}}
        row.save(update_fields=["project", "metadata"])
    url = f"/api/v1/conversations/{row.pk}/"

    masked, shown = client.get(url).json(), client.get(f"{url}?secrets=shown").json()

    assert (masked["project"], masked["metadata"]) == (
        "password=[password]",
        {"env": {"password": "[password]"}},
    )
    assert (shown["project"], shown["metadata"]) == (row.project, row.metadata)


def test_names_and_reports_of_imports_are_masked(ada: User) -> None:
    with acting_as(ada.pk):
        row = Import.objects.visible_to(ada.pk).first()
        assert row
        row.name, row.report = f"/home/robin/{TOKEN.secret}.jsonl", {"lines": [TOKEN.text]}
        row.save(update_fields=["name", "report"])
    client = client_of(ada)

    masked = client.get(f"/api/v1/imports/{row.pk}/").json()
    shown = client.get(f"/api/v1/imports/{row.pk}/?secrets=shown").json()

    assert masked["name"] == "/home/robin/[github_pat].jsonl"
    assert TOKEN.secret not in json.dumps(masked)
    assert (shown["name"], shown["report"]) == (row.name, row.report)
