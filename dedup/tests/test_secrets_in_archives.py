"""Secrets of imported conversations: the stored bytes have them, and nothing that is shown."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup.models import Conversation, Revision
from dedup.selectors import SearchFilters, search_messages
from dedup.services import import_path
from dedup.tests.exports_json import (
    as_json,
    as_lines,
    chatgpt_conversation,
    chatgpt_said,
    claude_ai_conversation,
    claude_ai_message,
)
from dedup.tests.exports_text import (
    codex_rollout,
    export_text,
    json_lines,
    legacy_message,
    legacy_row,
    spoken,
)
from dedup.tests.factories import lines, prompt, rebuilt_files
from dedup.tests.planted_secrets import PLANTED
from dedup.tests.test_any_order import assert_sound, zipped

pytestmark = pytest.mark.django_db

MARK = "zebra"


def said() -> list[str]:
    """One message for each planted secret, all with a word to look for."""
    return [f"{MARK} {number}: {planted.text}" for number, planted in enumerate(PLANTED)]


def of_transcript(texts: Sequence[str]) -> bytes:
    return lines([prompt(f"m{n}", text, second=n) for n, text in enumerate(texts)])


def of_codex(texts: Sequence[str]) -> bytes:
    rows = codex_rollout([spoken("user", text) for text in texts]).splitlines(keepends=True)
    return b"".join(row for row in rows if b"event_msg" not in row)


def of_chatgpt(texts: Sequence[str]) -> bytes:
    nodes = [
        chatgpt_said(f"n{n}", f"n{n - 1}" if n else None, "user", text, [f"n{n + 1}"])
        for n, text in enumerate(texts)
    ]
    return as_json([chatgpt_conversation(nodes, title=texts[3])])


def of_claude_ai(texts: Sequence[str]) -> bytes:
    messages = [claude_ai_message(f"c{n}", "human", text) for n, text in enumerate(texts)]
    return as_json([claude_ai_conversation(messages, name=texts[3])])


def of_openai(texts: Sequence[str]) -> bytes:
    messages = [{"role": "user", "content": text} for text in texts]
    return as_lines([{"id": "chat-1", "title": texts[3], "messages": messages}])


def of_sharegpt(texts: Sequence[str]) -> bytes:
    return as_json([{"conversations": [{"from": "human", "value": text} for text in texts]}])


def of_langchain(texts: Sequence[str]) -> bytes:
    return as_json([{"type": "human", "data": {"content": text}} for text in texts])


def of_legacy(texts: Sequence[str]) -> bytes:
    rows = [legacy_row("tarts", legacy_message(n, "user", text)) for n, text in enumerate(texts)]
    return json_lines(rows)


def of_text(texts: Sequence[str]) -> bytes:
    return export_text([("reply", text) for text in texts], width=100_000)


FORMS: dict[str, tuple[str, Callable[[Sequence[str]], bytes]]] = {
    "transcript": ("talk.jsonl", of_transcript),
    "codex": ("rollout.jsonl", of_codex),
    "chatgpt": ("conversations.json", of_chatgpt),
    "claude.ai": ("conversations.json", of_claude_ai),
    "openai": ("openai.jsonl", of_openai),
    "sharegpt": ("sharegpt.json", of_sharegpt),
    "langchain": ("langchain.json", of_langchain),
    "legacy": ("log.jsonl", of_legacy),
    "text": ("talk.txt", of_text),
}


def strings_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_of(item)


def without_blanks(text: str) -> str:
    """A terminal breaks lines where it likes."""
    return "".join(text.split())


@pytest.fixture
def owner() -> User:
    return make_user()


def import_as(owner: User, folder: Path, name: str, texts: Sequence[str]) -> Path:
    file, write = FORMS[name]
    path = folder / file
    path.write_bytes(write(texts))
    if name in ("chatgpt", "claude.ai"):
        path = zipped(folder / "export.zip", {file: path.read_bytes()})
    import_path(user_id=owner.pk, path=path)
    return path


def revisions() -> list[Revision]:
    return list(Revision.objects.filter(text__contains=MARK).order_by("id"))


@pytest.mark.parametrize("name", FORMS)
def test_no_secret_is_shown_and_every_one_is_kept(owner: User, tmp_path: Path, name: str) -> None:
    path = import_as(owner, tmp_path, name, said())

    with acting_as(owner.pk):
        found = revisions()
        assert len(found) == len(PLANTED)
        for planted, revision in zip(PLANTED, found, strict=True):
            assert planted.secret not in revision.text
            assert f"[{planted.kind}]" in revision.text
            assert [kind for kind, _, _ in revision.secrets] == [planted.kind]
            kept = map(without_blanks, strings_of(revision.content))
            assert any(without_blanks(planted.secret) in text for text in kept)
            raw = bytes(revision.raw).decode()
            escaped = json.dumps(planted.secret, ensure_ascii=False)[1:-1]
            assert without_blanks(planted.secret) in without_blanks(raw) or escaped in raw
        shown = [*Conversation.objects.values_list("title", flat=True)]
    for planted in PLANTED:
        assert not any(planted.secret in title for title in shown)
    assert FORMS[name][1](said()) in rebuilt_files(owner.pk)[str(path)]
    assert_sound(owner.pk)


@pytest.mark.parametrize("name", ["transcript", "chatgpt", "text"])
def test_a_search_shows_no_secret_and_finds_none(owner: User, tmp_path: Path, name: str) -> None:
    import_as(owner, tmp_path, name, said())

    with acting_as(owner.pk):
        hits = search_messages(SearchFilters(words=MARK), most=100)
        assert len(hits) == len(PLANTED)
        for planted in PLANTED:
            assert not any(planted.secret in hit.highlight for hit in hits)
            # In quotes, since a minus before a word leaves it out.
            quoted = '"' + planted.secret.replace('"', " ") + '"'
            for hit in search_messages(SearchFilters(words=quoted), most=100):
                pytest.fail(f"{planted.kind} finds {hit.highlight}")


def test_a_secret_in_the_first_words_is_in_no_title(owner: User, tmp_path: Path) -> None:
    rows = [
        prompt(f"m{number}", planted.text, second=number, sessionId=f"session-{number}")
        for number, planted in enumerate(PLANTED)
    ]
    for number, row in enumerate(rows):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(lines([row]))
        import_path(user_id=owner.pk, path=path)

    with acting_as(owner.pk):
        titles = dict(Conversation.objects.values_list("native_key", "title"))
    for number, planted in enumerate(PLANTED):
        title = titles[f"session-{number}"]
        assert title or planted.text.startswith("<server>")
        # Line breaks are blanks in a title, and a long one is cut.
        assert not any(part in title for part in planted.secret.split())


def test_a_secret_where_a_long_title_is_cut_is_not_shown(owner: User, tmp_path: Path) -> None:
    token = next(planted.secret for planted in PLANTED if planted.kind == "github_pat")
    path = tmp_path / "conversations.json"
    path.write_bytes(
        as_json([chatgpt_conversation([], title=("tart " * 60)[: 300 - 30] + f" {token}")])
    )

    import_path(user_id=owner.pk, path=path)

    with acting_as(owner.pk):
        assert token[:20] not in Conversation.objects.get().title


def test_secrets_across_blocks_and_tools_are_not_shown(owner: User, tmp_path: Path) -> None:
    rows = [
        {
            **prompt(f"m{number}", "", second=number),
            "type": "assistant",
            "message": {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": f"{MARK} {planted.text}"},
                    {"type": "tool_use", "name": "Bash", "input": {"command": planted.text}},
                    {"type": "text", "text": planted.text},
                ],
            },
        }
        for number, planted in enumerate(PLANTED)
    ]
    path = tmp_path / "talk.jsonl"
    path.write_bytes(lines(rows))

    import_path(user_id=owner.pk, path=path)

    with acting_as(owner.pk):
        for planted, revision in zip(PLANTED, revisions(), strict=True):
            assert planted.secret not in revision.text
            assert [kind for kind, _, _ in revision.secrets] == [planted.kind] * 3
    assert_sound(owner.pk)


def test_a_secret_that_is_edited_out_stays_masked_in_both_revisions(
    owner: User, tmp_path: Path
) -> None:
    token = next(planted for planted in PLANTED if planted.kind == "github_pat")
    for folder, text in (("a", f"{MARK} {token.text}"), ("b", f"{MARK} I removed it")):
        path = tmp_path / folder / "talk.jsonl"
        path.parent.mkdir()
        path.write_bytes(of_transcript([text]))
        import_path(user_id=owner.pk, path=path)

    with acting_as(owner.pk):
        before, after = revisions()
        assert token.secret not in before.text
        assert [kind for kind, _, _ in before.secrets] == ["github_pat"]
        assert (after.text, after.secrets) == (f"{MARK} I removed it", [])
        assert search_messages(SearchFilters(words=token.secret), most=10) == []
