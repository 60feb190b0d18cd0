"""Documents: what stands in them exactly, what never does, and at what cost."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup import rendering
from dedup.formats.contract import Block
from dedup.models import Conversation
from dedup.rendering import (
    MESSAGES_AT_ONCE,
    MISSING,
    Form,
    Piece,
    file_name,
    pieces_of,
    render_conversation,
    render_conversations,
)
from dedup.services import Wanted, import_path
from dedup.tests.exports_json import as_json
from dedup.tests.factories import (
    SESSION,
    Row,
    dialogue,
    import_all,
    prompt,
    reply,
    transcript,
)
from dedup.tests.planted_secrets import PLANTED

pytestmark = pytest.mark.django_db

FORMS = pytest.mark.parametrize("form", Form)
AGENT = "a7c41d9e03b25f68"
FENCE = "`" * 3
HIDDEN = "Thinking that the source does not show"


@pytest.fixture
def ada() -> User:
    return make_user("ada")


def bring(owner: User, folder: Path, rows: list[Row], name: str = SESSION) -> None:
    import_all(owner.pk, [transcript(folder, rows, name)])


def conversation_of(owner: User, key: str = SESSION) -> Conversation:
    return Conversation.objects.visible_to(owner.pk).get(native_key=key)


def document(owner: User, form: Form, key: str = SESSION, **options: Any) -> str:
    with acting_as(owner.pk):
        return "".join(render_conversation(conversation_of(owner, key), form, **options))


def describe(owner: User, **columns: Any) -> None:
    with acting_as(owner.pk):
        Conversation.objects.visible_to(owner.pk).update(**columns)


def said(key: str, blocks: list[Block], parent: str = "", second: int = 0) -> Row:
    """A row of the assistant with these blocks."""
    message = {"id": f"msg_{second}", "role": "assistant", "content": blocks}
    return reply(key, "", parent, second, message=message)


def tool_use(given: Any, name: str = "Bash") -> Block:
    return {"type": "tool_use", "id": "t1", "name": name, "input": given}


def tool_result(content: Any, **other: Any) -> Block:
    return {"type": "tool_result", "tool_use_id": "t1", "content": content} | other


def rows_of_a_talk() -> list[Row]:
    return [
        prompt("m0", "Which files?\n\n```sh\nls *\n```") | {"cwd": "/home/ada/kitchen"},
        said(
            "m1",
            [
                {"type": "thinking", "thinking": "I look.", "signature": "x"},
                {"type": "text", "text": "Let me *look*."},
                tool_use({"command": "ls"}),
            ],
            "m0",
            1,
        ),
        prompt("m2", [tool_result("pie.md\ntart.md")], "m1", 2),
        prompt("m3", [{"type": "image", "source": {"media_type": "image/png"}}], "m2", 3),
    ]


# --- Exact documents ----------------------------------------------------------------------------


def body(page: str) -> str:
    """What is between the tags of <main>, in one line."""
    return " ".join(page.partition("<main>")[2].partition("</main>")[0].split())


def test_a_markdown_document_exactly(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path, rows_of_a_talk())
    with acting_as(ada.pk):
        row = conversation_of(ada)

    assert (
        document(ada, Form.MARKDOWN)
        == f"""\
---
title: "Which files? ```sh ls * ```"
source: "claude_code"
project: "/home/ada/kitchen"
key: "{SESSION}"
id: "{row.pk}"
created_at: "{row.created_at.isoformat()[:-6]}Z"
updated_at: "{row.updated_at.isoformat()[:-6]}Z"
first_message_at: "2026-03-02T10:00:00Z"
last_message_at: "2026-03-02T10:00:03Z"
messages: 4
segments: 1
statistics:
  exports: 1
  messages_in_exports: 4
  new_messages: 4
  duplicates_filtered: 0
  revisions: 0
  content_collisions: 0
  savings_pct: 0.0
---

# Which files? \\`\\`\\`sh ls \\* \\`\\`\\`

## 1. User · 2026-03-02 10:00:00 UTC

Which files?

{FENCE}sh
ls *
{FENCE}

## 2. Assistant · 2026-03-02 10:00:01 UTC

**Thinking**

{FENCE}
I look.
{FENCE}

Let me *look*.

**Tool use: Bash**

{FENCE}json
{{
  "command": "ls"
}}
{FENCE}

## 3. Tool · 2026-03-02 10:00:02 UTC

**Tool result**

{FENCE}
pie.md
tart.md
{FENCE}

## 4. User · 2026-03-02 10:00:03 UTC

*Image (image/png)*
"""
    )


def test_a_json_document_exactly(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path, dialogue(2))
    text = document(ada, Form.JSON)
    with acting_as(ada.pk):
        row = conversation_of(ada)
        ids = dict(row.messages.values_list("native_key", "pk"))

    assert json.loads(text) == {
        "conversation": {
            "id": str(row.pk),
            "source": "claude_code",
            "native_key": SESSION,
            "parent_key": "",
            "title": "Words 0",
            "project": "",
            "metadata": {},
            "created_at": f"{row.created_at.isoformat()[:-6]}Z",
            "updated_at": f"{row.updated_at.isoformat()[:-6]}Z",
            "first_message_at": "2026-03-02T10:00:00Z",
            "last_message_at": "2026-03-02T10:00:01Z",
            "messages": 2,
            "segments": 1,
            "parent": None,
            "sub_agents": [],
        },
        "statistics": {
            "exports": 1,
            "messages_in_exports": 2,
            "new_messages": 2,
            "duplicates_filtered": 0,
            "revisions": 0,
            "content_collisions": 0,
            "savings_pct": 0.0,
        },
        "messages": [
            {
                "number": number + 1,
                "segment": 0,
                "position": number,
                "id": str(ids[f"m{number}"]),
                "role": role,
                "sent_at": f"2026-03-02T10:00:0{number}Z",
                "native_key": f"m{number}",
                "parent_key": parent,
                "api_id": api_id,
                "branch": None,
                "metadata": {},
                "content": [{"type": "text", "text": f"Words {number}"}],
            }
            for number, (role, parent, api_id) in enumerate(
                [("user", "", ""), ("assistant", "m0", "msg_1")]
            )
        ],
    }
    assert [line[:12] for line in text.splitlines()] == [
        "{",
        '"conversatio',
        '"statistics"',
        '"messages": ',
        '{"number": 1',
        '{"number": 2',
        "]",
        "}",
    ]


def test_an_html_document_exactly(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path, rows_of_a_talk())
    with acting_as(ada.pk):
        row = conversation_of(ada)

    page = document(ada, Form.HTML)

    def heading(role: str, number: int) -> str:
        return (
            f'<article class="{role.lower()}" id="message-{number}"> <h2> <span>{role}</span>'
            f' <time datetime="2026-03-02T10:00:0{number - 1}+00:00">'
            f"2026-03-02 10:00:0{number - 1} UTC</time>"
            f' <span class="number">{number}</span> </h2>'
        )

    assert body(page) == " ".join(
        [
            '<header> <h1 dir="auto">Which files? ```sh ls * ```</h1> <dl class="facts">',
            "<dt>Source</dt> <dd> Claude Code </dd>",
            "<dt>Project</dt> <dd> /home/ada/kitchen </dd>",
            f"<dt>Key</dt> <dd> {SESSION} </dd>",
            "<dt>Messages from</dt> <dd> 2026-03-02 10:00 to 2026-03-02 10:00 UTC </dd>",
            f"<dt>Archived</dt> <dd> {row.created_at:%Y-%m-%d %H:%M},",
            f"updated {row.updated_at:%Y-%m-%d %H:%M} UTC </dd>",
            "<dt>Messages</dt> <dd> 4 in 1 segment </dd>",
            "<dt>Exports</dt> <dd> 1 with 4 messages: 0 duplicates filtered, 0.0 % saved </dd>",
            "</dl> </header>",
            heading("User", 1),
            '<div class="words" dir="auto">Which files?</div> <pre> ls * </pre> </article>',
            heading("Assistant", 2),
            "<details open> <summary>Thinking</summary> <pre> I look.</pre> </details>",
            '<div class="words" dir="auto">Let me *look*.</div>',
            "<details open> <summary>Tool use: Bash</summary>",
            "<pre> { &quot;command&quot;: &quot;ls&quot; }</pre> </details> </article>",
            heading("Tool", 3),
            "<details open> <summary>Tool result</summary>",
            "<pre> pie.md tart.md</pre> </details> </article>",
            heading("User", 4),
            '<p class="note">Image (image/png)</p> </article>',
        ]
    )


def test_a_conversation_without_messages_makes_a_whole_document(ada: User) -> None:
    with acting_as(ada.pk):
        Conversation.objects.create(user=ada, source="chatgpt", native_key="k", title="Tarts")

    assert json.loads(document(ada, Form.JSON, "k"))["messages"] == []
    assert document(ada, Form.MARKDOWN, "k").endswith("---\n\n# Tarts\n")
    assert body(document(ada, Form.HTML, "k")).endswith("</dl> </header>")


def test_statistics_count_every_export(ada: User, tmp_path: Path) -> None:
    for number, rows in enumerate([dialogue(4), dialogue(6)]):
        bring(ada, tmp_path / str(number), rows)

    assert json.loads(document(ada, Form.JSON))["statistics"] == {
        "exports": 2,
        "messages_in_exports": 10,
        "new_messages": 6,
        "duplicates_filtered": 4,
        "revisions": 0,
        "content_collisions": 0,
        "savings_pct": 40.0,
    }


# --- Blocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "pieces"),
    [
        ({"type": "thinking", "thinking": ""}, [("note", HIDDEN)]),
        ({"type": "redacted_thinking", "data": "x"}, [("note", HIDDEN)]),
        (tool_use("ls"), [("fenced", "ls", "Tool use: Bash")]),
        (tool_use({}), [("fenced", "{}", "Tool use: Bash", "json")]),
        (
            tool_use({"path": "a.py", "content": 'print("a")\n'}, "Write"),
            [
                ("fenced", '{\n  "path": "a.py"\n}', "Tool use: Write", "json"),
                ("fenced", 'print("a")\n', "Tool use: Write, content"),
            ],
        ),
        ({"type": "server_tool_use", "name": None}, [("fenced", "null", "Tool use", "json")]),
        (tool_result("no", is_error=True), [("fenced", "no", "Tool error")]),
        (tool_result(""), [("note", "Tool result without content")]),
        (
            tool_result(
                [{"type": "text", "text": "a"}, {"type": "image", "name": "a.png"}, "b", 1]
            ),
            [
                ("fenced", "a", "Tool result"),
                ("note", "Image: a.png"),
                ("fenced", "b", "Tool result"),
                ("fenced", "1", "Tool result", "json"),
            ],
        ),
        (
            {"type": "image", "image_url": {"url": "data:image/png;base64,AAAA"}},
            [("note", "Image")],
        ),
        (
            {"type": "image", "asset_pointer": "file-service://f1"},
            [("note", "Image: file-service://f1")],
        ),
        (
            {
                "type": "document",
                "title": "T",
                "source": {"media_type": "application/pdf", "data": "AA"},
            },
            [("note", "Document: T (application/pdf)")],
        ),
        (
            {"type": "attachment", "file_name": "a.txt", "extracted_content": "words"},
            [("fenced", "words", "Attachment: a.txt")],
        ),
        ({"type": "file", "file_name": "a.pdf"}, [("note", "File: a.pdf")]),
        ({"type": "code", "language": "python", "text": "1"}, [("fenced", "1", "Code", "python")]),
        ({"type": "execution_output", "text": "1"}, [("fenced", "1", "Execution output")]),
        (
            {"type": "unknown", "value": [1]},
            [("fenced", '{\n  "value": [\n    1\n  ]\n}', "Unknown", "json")],
        ),
        ({"type": "text", "text": None}, [("fenced", '{\n  "text": null\n}', "Text", "json")]),
        ({"type": 5}, [("fenced", "{}", "Block", "json")]),
    ],
)
def test_every_kind_of_block_is_read(block: Block, pieces: list[Any]) -> None:
    assert list(pieces_of([block])) == [Piece(*piece) for piece in pieces]


# --- What people write is never markup ----------------------------------------------------------


class Tags(HTMLParser):
    """The names of all elements, and the values of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes.update(name for name, _ in attrs)


ATTACK = '</pre></details></title><script>alert(1)</script><img src=x onerror="alert(1)"><!--'


def test_no_text_becomes_markup_of_a_page(ada: User, tmp_path: Path) -> None:
    blocks = [
        {"type": "text", "text": f"{ATTACK}\n```{ATTACK}\n{ATTACK}\n<!-- messages -->"},
        {"type": "thinking", "thinking": ATTACK},
        tool_use({ATTACK: ATTACK, "content": f"\n{ATTACK}"}, ATTACK),
        {"type": ATTACK, ATTACK: ATTACK},
        {"type": "image", "name": ATTACK},
    ]
    bring(ada, tmp_path, [prompt("m0", ATTACK), said("m1", blocks, "m0", 1)])
    bring(ada, tmp_path, [prompt("s0", "Go", isSidechain=True, agentId=AGENT)], f"agent-{AGENT}")
    describe(ada, title=f"{ATTACK} <!-- messages -->", project=ATTACK)

    page = document(ada, Form.HTML)

    tags = Tags(page)
    assert not tags.names & {"script", "img"}
    assert not tags.attributes & {"onerror", "src"}
    assert page.count("<!--") == 0
    assert page.count("</main>") == 1
    assert html.unescape(page).count(ATTACK) >= 12
    assert "default-src 'none'" in page


def test_a_page_holds_no_control_character(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path, [prompt("m0", "a\x00b\x1b[31mred\x07\tend")])

    page = document(ada, Form.HTML)

    assert "a\u2400b\u241b[31mred\u2407\tend" in page
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", page)


def test_a_fence_is_longer_than_every_run_of_backticks_in_it(ada: User, tmp_path: Path) -> None:
    result = "```\n`````\nend\n```` x"
    bring(ada, tmp_path, [prompt("m0", [tool_result(result)])])

    assert f"\n``````\n{result}\n``````\n" in document(ada, Form.MARKDOWN)


def test_a_title_does_not_end_the_header(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path, dialogue(1))
    title = 'A "title"\n---\nadmin: true \u2028 \x85 \u200b {x: [1]} # <b>'
    describe(ada, title=title, project="\n---\n- x: 'y'")

    header, _, rest = document(ada, Form.MARKDOWN).removeprefix("---\n").partition("\n---\n")

    read = yaml.safe_load(header)
    assert read["title"] == 'A "title" --- admin: true \u200b {x: [1]} # <b>'
    assert read["project"] == "\n---\n- x: 'y'"
    assert rest.startswith(
        '\n# A "title" --- admin: true \u200b {x: \\[1\\]} \\# \\<b\\>\n\n## 1. User'.replace(
            "{x: \\[1\\]}", "\\{x: \\[1\\]\\}"
        )
    )


@pytest.mark.parametrize(
    ("text", "closing"),
    [
        ("```py\nprint(1)", "\n```\n"),
        ("~~~~\n```\n~~~\n", "~~~~\n"),
        ("1. so\n   ```\n   x", "\n   ```\n"),
        ("```py\nprint(1)\n```", "\n"),
        ("```\n``` x\n```\nthen ```code``` and ```", "\n"),
        ("````\n```\n````\n", ""),
    ],
)
def test_a_block_of_code_that_was_cut_short_ends_with_its_message(
    ada: User, tmp_path: Path, text: str, closing: str
) -> None:
    bring(ada, tmp_path, [prompt("m0", text), reply("m1", "After it", "m0", 1)])

    shown = document(ada, Form.MARKDOWN)

    assert f"UTC\n\n{text}{closing}\n## 2. Assistant · " in shown


def test_text_of_all_languages_stays_as_it_is(ada: User, tmp_path: Path) -> None:
    text = "Grüße, 世界 👩‍👩‍👧 שלום \ud800 e\u0301 \u2028 end"
    kept = text.replace("\ud800", "\ufffd")
    import_all(ada.pk, [transcript(tmp_path, [json.dumps(prompt("m0", text)).encode()])])

    assert f"\n{kept}\n" in document(ada, Form.MARKDOWN)
    assert kept in document(ada, Form.HTML)
    (message,) = json.loads(document(ada, Form.JSON))["messages"]
    assert message["content"] == [{"type": "text", "text": kept}]


# --- Secrets ------------------------------------------------------------------------------------


def plain(form: Form, text: str) -> str:
    """The words of a document without the escapes of its form."""
    if form == Form.JSON:
        return "\n".join(strings(json.loads(text)))
    return html.unescape(text) if form == Form.HTML else text


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def planted_everywhere(owner: User, folder: Path) -> None:
    rows: list[Row] = []
    for number, planted in enumerate(PLANTED):
        rows += [
            prompt(f"p{number}", f"In words: {planted.text}"),
            said(f"u{number}", [tool_use({"command": planted.text, "deep": [planted.text]})]),
            prompt(f"r{number}", [tool_result(planted.text)]),
            prompt(f"s{number}", [tool_result([{"type": "text", "text": planted.text}])]),
            said(f"t{number}", [{"type": "thinking", "thinking": planted.text}]),
            said(f"o{number}", [{"type": "other", "value": {"x": planted.text}}]),
        ]
    bring(owner, folder, rows)
    describe(
        owner,
        title=PLANTED[3].text,
        project=f"/home/{PLANTED[3].secret}",
        metadata={"notes": [planted.text for planted in PLANTED], PLANTED[3].secret: 1},
    )


@FORMS
def test_no_secret_stands_in_a_document_unless_it_is_asked_for(
    ada: User, tmp_path: Path, form: Form
) -> None:
    planted_everywhere(ada, tmp_path)

    masked = plain(form, document(ada, form))
    revealed = plain(form, document(ada, form, revealed=True))

    assert [planted.kind for planted in PLANTED if planted.secret in masked] == []
    assert {planted.kind for planted in PLANTED if f"[{planted.kind}]" not in masked} == set()
    assert [planted.kind for planted in PLANTED if planted.secret not in revealed] == []
    assert f"/home/{PLANTED[3].secret}" in revealed


def test_no_secret_stands_in_a_merged_document_or_in_a_files_name(
    ada: User, tmp_path: Path
) -> None:
    planted_everywhere(ada, tmp_path)
    secret = PLANTED[3].secret
    with acting_as(ada.pk):
        row = conversation_of(ada)
        merged = "".join(render_conversations([row], Form.MARKDOWN))
        row.native_key = secret

        name = file_name(row, Form.MARKDOWN)

    assert [planted.kind for planted in PLANTED if planted.secret in merged] == []
    assert name == f"claude_code-github-pat-{row.pk}.md"


# --- Order, branches, segments, sub-agents ------------------------------------------------------


def headings(text: str) -> list[str]:
    """The words of the messages in their order, with the lines between them."""
    return re.findall(r"^(?:Words .*|> .*)$", text, re.MULTILINE)


def branched() -> list[Row]:
    return [
        prompt("m0", "Words 0", "", 0),
        reply("m1", "Words 1", "m0", 1),
        prompt("m2", "Words left", "m1", 2),
        reply("m3", "Words left too", "m2", 3),
        prompt("m4", "Words chosen", "m1", 4),
    ]


def test_a_branch_is_named_where_it_begins(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path, branched())

    assert headings(document(ada, Form.MARKDOWN)) == [
        "Words 0",
        "Words 1",
        "> Branch 1 of 2: the conversation went on in another one.",
        "Words left",
        "Words left too",
        "> Branch 2 of 2: the conversation went on in this one.",
        "Words chosen",
    ]
    assert "Branch 1 of 2: the conversation went on in another one." in document(ada, Form.HTML)
    messages = json.loads(document(ada, Form.JSON))["messages"]
    assert [message["branch"] for message in messages] == [
        None,
        None,
        {"number": 1, "of": 2, "active": False},
        None,
        {"number": 2, "of": 2, "active": True},
    ]


def test_the_active_branch_alone_leaves_the_others_out(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path, branched())

    assert headings(document(ada, Form.MARKDOWN, branch="active")) == [
        "Words 0",
        "Words 1",
        "> Branch 2 of 2: the conversation went on in this one.",
        "Words chosen",
    ]
    messages = json.loads(document(ada, Form.JSON, branch="active"))["messages"]
    assert [message["number"] for message in messages] == [1, 2, 3]
    assert "Words left" not in document(ada, Form.HTML, branch="active")


def test_what_may_be_missing_is_said_between_segments(ada: User, tmp_path: Path) -> None:
    for number in (0, 2):
        path = tmp_path / f"{number}.json"
        texts = [f"Words {number}", f"Words {number + 1}"]
        path.write_bytes(as_json([{"role": "user", "content": text} for text in texts]))
        import_path(user_id=ada.pk, path=path, wanted=Wanted("openai", "talk"))

    assert re.findall(
        r"^(?:Words|>|##) .*$", document(ada, Form.MARKDOWN, "talk"), re.MULTILINE
    ) == [
        "## 1. User",
        "Words 0",
        "## 2. User",
        "Words 1",
        f"> **{MISSING}**",
        "## 3. User",
        "Words 2",
        "## 4. User",
        "Words 3",
    ]
    assert document(ada, Form.HTML, "talk").count(f'<p class="gap">{MISSING}</p>') == 1
    read = json.loads(document(ada, Form.JSON, "talk"))
    assert read["conversation"]["segments"] == 2
    places = [(row["segment"], row["position"]) for row in read["messages"]]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_session_and_its_sub_agents_name_each_other(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path, dialogue(2))
    rows = [prompt("s0", "Find *tests*", isSidechain=True, agentId=AGENT)]
    bring(ada, tmp_path, rows, f"agent-{AGENT}")
    child_key = f"{SESSION}/agent-{AGENT}"
    with acting_as(ada.pk):
        parent, child = conversation_of(ada), conversation_of(ada, child_key)
        names = {form: (file_name(parent, form), file_name(child, form)) for form in Form}

    up, down = names[Form.MARKDOWN]
    assert f"\nSub-agents:\n\n- [Find \\*tests\\*]({down})\n" in document(ada, Form.MARKDOWN)
    assert f"\nSub-agent of [Words 0]({up})\n" in document(ada, Form.MARKDOWN, child_key)
    up, down = names[Form.HTML]
    assert f'<li><a href="{down}">Find *tests*</a></li>' in body(document(ada, Form.HTML))
    assert f'<a href="{up}">Words 0</a>' in body(document(ada, Form.HTML, child_key))
    (link,) = json.loads(document(ada, Form.JSON))["conversation"]["sub_agents"]
    assert link == {
        "id": str(child.pk),
        "native_key": child_key,
        "title": "Find *tests*",
        "file": names[Form.JSON][1],
    }


def test_of_several_contents_the_one_that_counts_is_shown(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path / "a", [prompt("m0", "Words before"), reply("m1", "Words 1", "m0", 1)])
    bring(ada, tmp_path / "b", [prompt("m0", "Words after"), *dialogue(4)[1:]])

    assert headings(document(ada, Form.MARKDOWN))[0] == "Words after"


# --- Several in one -----------------------------------------------------------------------------


def test_several_conversations_make_one_document(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path, dialogue(1))
    bring(ada, tmp_path, [prompt("s0", "Go", isSidechain=True, agentId=AGENT)], f"agent-{AGENT}")
    with acting_as(ada.pk):
        rows = [conversation_of(ada), conversation_of(ada, f"{SESSION}/agent-{AGENT}")]
        text = "".join(render_conversations(rows, Form.MARKDOWN))
        read = json.loads("".join(render_conversations(rows, Form.JSON)))
        alone = [json.loads(document(ada, Form.JSON, row.native_key)) for row in rows]
        nothing = json.loads("".join(render_conversations([], Form.JSON)))
        with pytest.raises(ValueError, match="no html document"):
            "".join(render_conversations(rows, Form.HTML))

    assert re.findall(r"^#.*|^title: .*|^Sub.*|^- .*", text, re.MULTILINE) == [
        "# Words 0",
        'title: "Words 0"',
        "Sub-agents:",
        "- Go",
        "## 1. User · 2026-03-02 10:00:00 UTC",
        "# Go",
        'title: "Go"',
        "Sub-agent of Words 0",
        "## 1. User · 2026-03-02 10:00:00 UTC",
    ]
    alone[0]["conversation"]["sub_agents"][0].pop("file")
    alone[1]["conversation"]["parent"].pop("file")
    assert read == {"conversations": alone}
    assert nothing == {"conversations": []}


# --- Names, types and costs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("../../etc/passwd", "codex-etc-passwd"),
        ("A b_C.jsonl", "codex-a-b-c-jsonl"),
        ("/", "codex"),
        ("x" * 500, f"codex-{'x' * 60}"),
        ("日本\x7f", "codex"),
    ],
)
def test_the_name_of_a_file_is_safe_and_its_own(key: str, words: str) -> None:
    row = Conversation(pk=UUID(int=7), source="codex", native_key=key, title="Whatever")

    assert file_name(row, Form.HTML) == f"{words}-{UUID(int=7)}.html"


def test_every_form_has_a_type_and_a_suffix() -> None:
    assert [(form.content_type, form.suffix) for form in Form] == [
        ("text/markdown; charset=utf-8", "md"),
        ("application/json", "json"),
        ("text/html; charset=utf-8", "html"),
    ]


def queries_for(owner: User, form: Form) -> int:
    with (
        acting_as(owner.pk),
        CaptureQueriesContext(connection) as captured,
    ):
        for _ in render_conversation(conversation_of(owner), form):
            pass
    return len(captured)


def test_the_number_of_queries_is_that_of_the_chunks(ada: User, tmp_path: Path) -> None:
    bring(ada, tmp_path / "a", dialogue(MESSAGES_AT_ONCE))
    small = queries_for(ada, Form.JSON)
    bring(ada, tmp_path / "b", dialogue(5_000))

    chunks = 5_000 // MESSAGES_AT_ONCE
    assert small <= 12
    assert queries_for(ada, Form.JSON) == small + 2 * (chunks - 1)


def test_an_element_that_never_ends_takes_in_nothing_that_follows() -> None:
    text = "<!-- a note\n```html\n<script>\n        ```\n<pre>\n```\n  <STYLE> x\n1 < 2\n"

    assert rendering._with_fences_closed(text) == (
        "\\<!-- a note\n```html\n<script>\n        ```\n<pre>\n```\n  \\<STYLE> x\n1 < 2\n"
    )


def test_a_fence_too_far_to_the_right_ends_no_code() -> None:
    assert rendering._with_fences_closed("```\ncode\n     ```\n") == ("```\ncode\n     ```\n```")
