"""The operator's pages of the archives: what they show, what they never show, what they cost."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.contrib import admin
from django.db import connections
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from accounts.tests.factories import make_user, operator_browser
from common.health import redis_client
from common.tenancy import acting_as
from common.tests.connections import connect_as_superuser
from dedup import progress
from dedup.models import Conversation, DeduplicationLog, Import, Message
from dedup.services import import_path
from dedup.tests.factories import (
    OTHER_SESSION,
    SESSION,
    dialogue,
    import_all,
    latest_import,
    lines,
    prompt,
    reply,
    transcript,
)
from dedup.tests.planted_secrets import PLANTED

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

LABELS = ["import", "artifact", "conversation", "message", "deduplicationlog"]
MODELS = {label: model for model in admin.site._registry if (label := model._meta.model_name)}
MOST_QUERIES = 20


@pytest.fixture
def ada() -> User:
    return make_user("ada")


@pytest.fixture
def browser() -> Client:
    """A browser in which an operator has logged in."""
    return operator_browser("grace")


def list_of(browser: Client, label: str, **query: str) -> str:
    answer = browser.get(reverse(f"admin:dedup_{label}_changelist"), query)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def form_of(browser: Client, row: Model) -> str:
    address = reverse(f"admin:dedup_{row._meta.model_name}_change", args=[row.pk])
    answer = browser.get(address)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def chart_of(page: str) -> dict[str, Any]:
    """What the first chart of a page draws: by legend, the values."""
    drawn = re.search(r'data-value="(\{.*?\})">|data-value="(\{.*?\})" ', page)
    assert drawn
    data = json.loads(drawn[1] or drawn[2])
    return {"labels": data["labels"]} | {row["label"]: row["data"] for row in data["datasets"]}


def conversation_of(user: User, key: str = SESSION) -> Conversation:
    with acting_as(user.pk):
        return Conversation.objects.visible_to(user.pk).get(native_key=key)


def sessions(folder: Path, numbers: range) -> list[Path]:
    """Sessions of two messages each, all of them different."""
    return [
        transcript(
            folder / str(number),
            [
                row | {"sessionId": str(UUID(int=number))}
                for row in (
                    prompt(f"{number}-0", f"Question {number}", second=number * 2),
                    reply(f"{number}-1", f"Answer {number}", f"{number}-0", second=number * 2 + 1),
                )
            ],
            str(UUID(int=number)),
        )
        for number in numbers
    ]


# --- Secrets ----------------------------------------------------------------------------------


def chat_with_secrets() -> list[dict[str, Any]]:
    """Every planted secret in a prompt, in a tool's input and in its output; one in the title."""
    rows: list[dict[str, Any]] = [
        {"type": "custom-title", "customTitle": PLANTED[0].text, "sessionId": SESSION}
    ]
    for number, plant in enumerate(PLANTED):
        call = {"type": "tool_use", "id": f"t{number}", "name": "Bash"}
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": plant.text}
        asked = reply(f"a{number}", plant.text, f"p{number}", number)
        asked["message"]["content"].append({**call, "input": {"command": plant.text}})
        rows += [
            prompt(f"p{number}", plant.text, "", number),
            asked,
            prompt(f"r{number}", [result], f"a{number}", number, toolUseResult=plant.text),
        ]
    return rows


def test_no_list_and_no_form_shows_a_secret(ada: User, browser: Client, tmp_path: Path) -> None:
    import_all(ada.pk, [transcript(tmp_path, chat_with_secrets())])
    with connect_as_superuser() as connection:
        # As if an older detector had known none of them.
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE dedup_conversation SET title = %s", [PLANTED[3].text])
        connection.execute("UPDATE dedup_import SET name = %s", [f"chats/{PLANTED[5].secret}"])
    # Of a key the longest line: JSON writes the line ends otherwise.
    secrets = [max(re.split(r"[\s\\]+", plant.secret), key=len) for plant in PLANTED]

    for label in LABELS:
        pages = [list_of(browser, label), list_of(browser, label, all="")]
        rows = MODELS[label]._base_manager.using("operator").all()
        pages += [form_of(browser, row) for row in rows]

        assert len(pages) > 2
        shown = [secret for secret in secrets for page in pages if secret in page]
        assert shown == [], label


def test_the_history_of_a_row_names_it_without_its_secret(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, [transcript(tmp_path, dialogue(2))])
    with connect_as_superuser() as connection:
        connection.execute("UPDATE dedup_conversation SET title = %s", [PLANTED[3].text])

    page = browser.get(
        reverse("admin:dedup_conversation_history", args=[conversation_of(ada).pk])
    ).content.decode()

    assert "[github_pat]" in page
    assert PLANTED[3].secret not in page


def test_what_holds_secrets_is_marked(ada: User, browser: Client, tmp_path: Path) -> None:
    import_all(ada.pk, [transcript(tmp_path, [prompt("m0", PLANTED[0].text)])])
    plain = sessions(tmp_path, range(1, 2))
    import_all(ada.pk, plain)

    with_secrets = list_of(browser, "conversation", secrets="yes")
    without = list_of(browser, "conversation", secrets="no")

    assert str(conversation_of(ada).pk) in with_secrets
    assert str(conversation_of(ada).pk) not in without
    assert "Question 1" in without
    assert "Question 1" not in with_secrets


# --- Imports ----------------------------------------------------------------------------------


def test_imports_show_savings_by_day_of_what_the_filter_leaves(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    bob = make_user("bob")
    import_all(ada.pk, [transcript(tmp_path / "1", dialogue(4))])
    import_all(ada.pk, [transcript(tmp_path / "2", dialogue(6))])
    import_all(bob.pk, [transcript(tmp_path / "3", dialogue(3))])

    house = chart_of(list_of(browser, "import"))
    hers = chart_of(list_of(browser, "import", owner=str(ada.pk)))

    assert (house["New"], house["Duplicates"]) == ([9], [4])
    assert (hers["New"], hers["Duplicates"], hers["Saved in all, %"]) == ([6], [4], [40.0])


def test_an_empty_list_has_no_chart(browser: Client) -> None:
    assert "data-value" not in list_of(browser, "import")


def test_running_imports_show_how_far_they_are(
    ada: User, browser: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_all(ada.pk, sessions(tmp_path, range(3)))
    with acting_as(ada.pk):
        Import.objects.update(status="running")
        first, second, _ = Import.objects.order_by("id")
    for row, share in ((first, 37), (second, 61)):
        progress.reporter(row.pk, 100)(4711, share)
    asked: list[list[str]] = []
    client = redis_client()

    class Counted:
        def mget(self, keys: list[str]) -> Any:
            asked.append(keys)
            return client.mget(keys)

    monkeypatch.setattr("dedup.progress.redis_client", Counted)

    page = list_of(browser, "import")

    assert "width: 37%" in page
    assert "width: 61%" in page
    assert page.count("4711 records") >= 2
    assert [len(keys) for keys in asked] == [3]
    assert asked[0][0].startswith(settings.REDIS_PREFIX)


def test_without_redis_the_list_shows_no_bar(
    ada: User, browser: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_all(ada.pk, [transcript(tmp_path, dialogue(2))])
    with acting_as(ada.pk):
        Import.objects.update(status="running")
    monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")

    assert "Running" in list_of(browser, "import")


def test_an_import_names_what_it_repeats_and_extends(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    path = transcript(tmp_path, dialogue(4))
    import_all(ada.pk, [path])
    first = latest_import(ada.pk)
    path.write_bytes(lines(dialogue(6)))
    import_all(ada.pk, [path])
    longer = latest_import(ada.pk)
    import_all(ada.pk, [path])
    again = latest_import(ada.pk)
    assert (longer.extends_id, again.original_id) == (first.pk, longer.pk)

    assert f"/import/{first.pk}/change/" in form_of(browser, longer)
    assert f"/import/{again.pk}/change/" in form_of(browser, longer)
    assert f"/import/{longer.pk}/change/" in form_of(browser, again)
    assert f"/import/{longer.pk}/change/" in form_of(browser, first)


def test_the_check_of_a_state_directory_is_readable(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, [transcript(tmp_path, dialogue(2))])
    report = {
        "hashes": {
            "checked": 1342,
            "verified": 1341,
            "mismatched": [{"conversation": "kitchen", "line": 77}],
        },
        "conversations": 4,
        "messages": 1342,
        "watermarks": 3,
        "watermark_mismatches": [{"conversation": "bread", "watermark": 8, "highest_index": 9}],
        "hash_file": {"missing_in_log": 5, "missing_in_file": 6},
        "unreadable_lines": 0,
        "missing_files": ["conversation_log.jsonl"],
        "damaged_files": [],
    }
    with acting_as(ada.pk):
        Import.objects.update(report=report)

    page = form_of(browser, latest_import(ada.pk))

    for words in ("1341 of 1342", "kitchen", "77", "bread", "conversation_log.jsonl"):
        assert words in page


# --- Conversations and messages ---------------------------------------------------------------


def test_a_conversation_shows_what_each_export_added(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, [transcript(tmp_path / "1", dialogue(4))])
    import_all(ada.pk, [transcript(tmp_path / "2", dialogue(6))])

    page = form_of(browser, conversation_of(ada))
    chart = chart_of(page)

    assert (chart["New"], chart["Duplicates"]) == ([4, 2], [0, 4])
    assert chart["Saved in all, %"] == [0.0, 40.0]
    assert "One segment: the order is known without gaps." in page
    assert "5, raised" in page
    assert "Words 5" in page


def test_segments_are_shown_with_the_gaps_between_them(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, [transcript(tmp_path, dialogue(4))])
    conversation = conversation_of(ada)
    with connect_as_superuser() as connection:
        connection.execute(
            "INSERT INTO dedup_segment (user_id, conversation_id, number) VALUES (%s, %s, 1)",
            [ada.pk, conversation.pk],
        )
        connection.execute(
            "UPDATE dedup_placement SET position = position - 2, segment_id = "
            "(SELECT id FROM dedup_segment WHERE number = 1) WHERE position > 1"
        )

    page = form_of(browser, conversation)

    assert "Between two segments is a gap" in page


def test_sub_agents_and_their_session_lead_to_each_other(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, [transcript(tmp_path, dialogue(2)), *sessions(tmp_path, range(1, 2))])
    with acting_as(ada.pk):
        agents = Conversation.objects.exclude(native_key=SESSION)
        agents.update(parent_key=SESSION)
        agent = agents.get()
    session = conversation_of(ada)

    assert f"/conversation/{agent.pk}/change/" in form_of(browser, session)
    assert f"/conversation/{session.pk}/change/" in form_of(browser, agent)


def test_merged_conversations_are_left_out_unless_asked_for(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, [transcript(tmp_path, dialogue(2)), *sessions(tmp_path, range(1, 2))])
    whole = conversation_of(ada)
    with acting_as(ada.pk):
        parts = Conversation.objects.exclude(native_key=SESSION)
        parts.update(merged_into=whole)
        part = parts.get()

    listed = {
        value: [str(row.pk) in list_of(browser, "conversation", **query) for row in (whole, part)]
        for value, query in (
            ("usual", {}),
            ("merged", {"merged": "yes"}),
            ("both", {"merged": "all"}),
        )
    }

    assert listed == {"usual": [True, False], "merged": [False, True], "both": [True, True]}
    assert f"/conversation/{whole.pk}/change/" in form_of(browser, part)


@pytest.mark.parametrize("words", ["Question 1", str(UUID(int=1))])
def test_conversations_are_found_by_title_and_by_key(
    words: str, ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, sessions(tmp_path, range(1, 3)))

    page = list_of(browser, "conversation", q=words)

    assert str(conversation_of(ada, str(UUID(int=1))).pk) in page
    assert str(conversation_of(ada, str(UUID(int=2))).pk) not in page


def test_the_messages_of_one_conversation_are_listed(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, sessions(tmp_path, range(1, 3)))
    conversation = conversation_of(ada, str(UUID(int=1)))
    assert f"?conversation={conversation.pk}" in form_of(browser, conversation)

    page = list_of(browser, "message", conversation=str(conversation.pk))

    assert "Answer 1" in page
    assert "Answer 2" not in page


def test_a_filter_tells_nothing_of_whom_no_row_is_shown(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, sessions(tmp_path, range(1, 2)))
    conversation = str(conversation_of(ada, str(UUID(int=1))).pk)

    pages = [list_of(browser, label, q="nosuchword") for label in LABELS]
    pages.append(list_of(browser, "message", q="nosuchword", conversation=conversation))

    for page in pages:
        assert "Question 1" not in page
        assert not re.search(r"\bada\b", page)
        assert str(ada.pk) not in page


@pytest.mark.parametrize("label", LABELS)
def test_a_list_is_narrowed_to_an_owner_by_name(
    label: str, ada: User, browser: Client, tmp_path: Path
) -> None:
    bob = make_user("bob")
    import_all(ada.pk, sessions(tmp_path / "ada", range(1, 2)))
    import_all(bob.pk, sessions(tmp_path / "bob", range(2, 3)))

    def owners(owner: str) -> set[UUID]:
        answer = browser.get(reverse(f"admin:dedup_{label}_changelist"), {"owner": owner})
        return {row.user_id for row in answer.context["cl"].result_list}

    assert owners(" ADA ") == {ada.pk}
    assert owners(str(bob.pk)) == {bob.pk}
    assert owners("nobody") == set()
    assert owners("") == {ada.pk, bob.pk}


def test_a_message_shows_its_revisions_and_which_counts(
    ada: User, browser: Client, tmp_path: Path
) -> None:
    first = [prompt("m0", "Hello"), reply("m1", "Said first", "m0", 1)]
    import_all(ada.pk, [transcript(tmp_path / "1", first)])
    then = [first[0], reply("m1", "Said then", "m0", 1), prompt("m2", "Bye", "m1", 5)]
    import_all(ada.pk, [transcript(tmp_path / "2", then)])
    with acting_as(ada.pk):
        message = Message.objects.get(native_key="m1")

    page = form_of(browser, message)

    assert page.index("This revision counts") < page.index("Said then")
    assert page.index("Another revision counts") < page.index("Said first")
    assert "Said then" in list_of(browser, "message")
    assert "Said first" not in list_of(browser, "message")


def test_a_message_shows_where_it_stands(ada: User, browser: Client, tmp_path: Path) -> None:
    import_all(ada.pk, [transcript(tmp_path, dialogue(2))])
    copied = [row | {"sessionId": OTHER_SESSION} for row in dialogue(2)]
    import_path(user_id=ada.pk, path=transcript(tmp_path, copied, OTHER_SESSION))
    with acting_as(ada.pk):
        message = Message.objects.get(native_key="m0")

    page = form_of(browser, message)

    assert f"/conversation/{conversation_of(ada).pk}/change/" in page
    assert f"/conversation/{conversation_of(ada, OTHER_SESSION).pk}/change/" in page


# --- Cost -------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_a_list_costs_the_same_queries_however_many_rows_it_has(
    label: str, ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, sessions(tmp_path, range(1, 3)))
    few = queries_of(browser, label)
    import_all(ada.pk, sessions(tmp_path, range(3, 12)))

    many = queries_of(browser, label)

    assert many == few
    assert many <= MOST_QUERIES


@pytest.mark.parametrize("model", [Import, Conversation, DeduplicationLog])
def test_a_form_costs_few_queries(
    model: type[Model], ada: User, browser: Client, tmp_path: Path
) -> None:
    import_all(ada.pk, [transcript(tmp_path / "1", dialogue(2))])
    few = queries_of_form(browser, model)
    for turns in range(3, 9):
        import_all(ada.pk, [transcript(tmp_path / str(turns), dialogue(turns))])

    assert queries_of_form(browser, model) <= few + 1


def queries_of(browser: Client, label: str) -> int:
    # What the role may do is asked once in a process.
    list_of(browser, label)
    with CaptureQueriesContext(connections["operator"]) as captured:
        list_of(browser, label)
    return len(captured)


def queries_of_form(browser: Client, model: type[Model]) -> int:
    row = model._base_manager.using("operator").order_by("-pk").first()
    assert row is not None
    with CaptureQueriesContext(connections["operator"]) as captured:
        form_of(browser, row)
    return len(captured)
