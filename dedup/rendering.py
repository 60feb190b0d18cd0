"""Conversations as documents to read or to hand on, piece by piece.

Everything here reads as whoever acts: the caller is within `acting_as` until the last piece is
taken. Secrets are masked unless they are asked for.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial, reduce
from io import StringIO
from operator import or_
from typing import Any, Literal
from uuid import UUID

from django.db.models import Count, Max, Min, Q, Sum, TextChoices
from django.template.loader import render_to_string

from dedup.branches import Branches, branches_in
from dedup.choices import Role, Source
from dedup.formats.contract import Block
from dedup.models import (
    Conversation,
    Message,
    Placement,
    Revision,
    Segment,
    savings,
)
from dedup.secrets import masked_value
from dedup.selectors import latest_revisions
from dedup.statistics import log_of, parent_of, sub_agents_of

Branch = Literal["all", "active"]
Mask = Callable[[Any], Any]

# As many messages are in memory at a time.
MESSAGES_AT_ONCE = 200
# Where the messages stand in a page; what people write cannot be one, since "<" is escaped.
MESSAGES_HERE = "<!-- messages -->"
LONGEST_SLUG = 60
# Longer results are folded in a page.
LINES_UNFOLDED = 25

MISSING = "Something may be missing here: no export shows what stood in between."
# What begins a block of HTML that only its own end, or that of the document, ends.
TAKES_ALL = re.compile(r" {0,3}<(?:!--|!\[|![A-Za-z]|\?|script|pre|style|textarea)", re.IGNORECASE)
FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<run>`{3,}|~{3,})(?P<info>[^\r\n]*)")
BACKTICKS = re.compile(r"`+")
NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
NOT_IN_LANGUAGES = re.compile(r"[^\w+#.-]")
MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|~])")
# What YAML wants escaped in a string and JSON does not.
UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# A page shows control characters, which HTML forbids, by their symbols.
CONTROLS = {code: 0x2400 + code for code in range(32) if code not in (9, 10, 13)}

SUFFIXES = {"markdown": "md", "json": "json", "html": "html"}
CONTENT_TYPES = {
    "markdown": "text/markdown; charset=utf-8",
    "json": "application/json",
    "html": "text/html; charset=utf-8",
}


class Form(TextChoices):
    """The form of a document."""

    MARKDOWN = "markdown", "Markdown"
    JSON = "json", "JSON"
    HTML = "html", "HTML"

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.value]

    @property
    def suffix(self) -> str:
        return SUFFIXES[self.value]


# Those of which several conversations make one document.
MERGEABLE = (Form.MARKDOWN, Form.JSON)


@dataclass(frozen=True)
class Link:
    """Another conversation, and the file in which it is if it is exported too."""

    id: UUID
    native_key: str
    title: str
    file: str


@dataclass(frozen=True)
class Overview:
    """What stands at the head of a document."""

    id: UUID
    source: str
    native_key: str
    parent_key: str
    title: str
    project: str
    metadata: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    first_message_at: datetime | None
    last_message_at: datetime | None
    messages: int
    segments: int
    statistics: Mapping[str, float]
    parent: Link | None
    sub_agents: Sequence[Link]

    @property
    def name(self) -> str:
        return _one_line(self.title) or self.native_key

    @property
    def source_name(self) -> str:
        return Source(self.source).label


@dataclass(frozen=True)
class PlaceInBranches:
    """Which of several continuations begins with a message, counted from 1."""

    number: int
    of: int
    active: bool

    def __str__(self) -> str:
        which = "this" if self.active else "another"
        return f"Branch {self.number} of {self.of}: the conversation went on in {which} one."


@dataclass(frozen=True)
class ShownMessage:
    """A message at its place in the reading order, which is counted from 1."""

    number: int
    segment: int
    position: int
    message: Message
    revision: Revision
    content: list[Block]
    metadata: Mapping[str, Any]
    branch: PlaceInBranches | None
    begins_segment: bool

    @property
    def speaker(self) -> str:
        return Role(self.revision.role).label

    @property
    def time(self) -> str:
        return _time(self.message.sent_at)


@dataclass(frozen=True)
class Piece:
    """A part of a message: `words` as they are, `fenced` text under a label, or a `note`."""

    kind: Literal["words", "fenced", "note"]
    text: str
    label: str = ""
    language: str = ""

    @property
    def lines(self) -> int:
        return len(self.text.strip("\n").split("\n"))

    @property
    def is_long(self) -> bool:
        return self.lines > LINES_UNFOLDED


def render_conversation(
    conversation: Conversation, form: Form, *, branch: Branch = "all", revealed: bool = False
) -> Iterator[str]:
    """The document, joined from its pieces: `active` leaves out the branches that were left."""
    shown: Mask = _as_it_is if revealed else masked_value
    reading = _Reading(conversation, branch, shown)
    overview = overview_of(conversation, form, shown)
    if form == Form.JSON:
        yield from _json(overview, reading)
        yield "\n"
    elif form == Form.HTML:
        yield from _html(overview, reading)
    else:
        yield f"---\n{_yaml(overview)}---\n\n"
        yield from _markdown(overview, reading)


def render_conversations(
    conversations: Iterable[Conversation],
    form: Form,
    *,
    branch: Branch = "all",
    revealed: bool = False,
) -> Iterator[str]:
    """Several in one Markdown or JSON document. Links between them are names only."""
    if form not in MERGEABLE:
        raise ValueError(f"Several conversations make no {form} document.")
    shown: Mask = _as_it_is if revealed else masked_value
    is_json = form == Form.JSON
    yield '{"conversations": [' if is_json else ""
    for number, conversation in enumerate(conversations):
        reading = _Reading(conversation, branch, shown)
        overview = overview_of(conversation, form, shown, linked=False)
        if is_json:
            yield ",\n" if number else "\n"
            yield from _json(overview, reading)
        else:
            yield "\n" if number else ""
            yield from _markdown(overview, reading, header=_fenced(_yaml(overview), "yaml"))
    if is_json:
        yield "\n]}\n"


def file_name(conversation: Conversation, form: Form) -> str:
    """A name for the document's file that no other conversation has, and that never changes."""
    slug = NOT_IN_NAMES.sub("-", masked_value(conversation.native_key).lower())
    words = f"{conversation.source}-{slug[:LONGEST_SLUG].strip('-')}".strip("-")
    return f"{words}-{conversation.pk}.{form.suffix}"


def overview_of(
    conversation: Conversation, form: Form, shown: Mask, *, linked: bool = True
) -> Overview:
    placed = Placement.objects.visible_to(conversation.user_id).filter(
        segment__conversation=conversation
    )
    counted = placed.aggregate(
        messages=Count("pk"),
        segments=Count("segment", distinct=True),
        first=Min("message__sent_at"),
        last=Max("message__sent_at"),
    )
    link = partial(_link, form=form, shown=shown, linked=linked)
    parent = parent_of(conversation)
    return Overview(
        id=conversation.pk,
        source=conversation.source,
        native_key=shown(conversation.native_key),
        parent_key=shown(conversation.parent_key),
        title=shown(conversation.title),
        project=shown(conversation.project),
        metadata=shown(conversation.metadata),
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        first_message_at=counted["first"],
        last_message_at=counted["last"],
        messages=counted["messages"],
        segments=counted["segments"],
        statistics=_statistics(conversation),
        parent=link(parent) if parent else None,
        sub_agents=[link(child) for child in sub_agents_of(conversation)],
    )


def _link(conversation: Conversation, *, form: Form, shown: Mask, linked: bool) -> Link:
    key = shown(conversation.native_key)
    title = _one_line(shown(conversation.title)) or key
    return Link(conversation.pk, key, title, file_name(conversation, form) if linked else "")


def _statistics(conversation: Conversation) -> dict[str, float]:
    """Of the exports that brought it, those of conversations that were found to be a part too."""
    sums = log_of(conversation).aggregate(
        exports=Count("import_row", distinct=True),
        messages_in_exports=Sum("messages_processed", default=0),
        new_messages=Sum("new_messages", default=0),
        duplicates_filtered=Sum("duplicates_filtered", default=0),
        revisions=Sum("revisions", default=0),
        content_collisions=Sum("content_collisions", default=0),
    )
    stored = sums["new_messages"] + sums["revisions"]
    return {**sums, "savings_pct": savings(sums["messages_in_exports"], stored)}


# --- The messages -------------------------------------------------------------------------------


class _Reading:
    """The messages of one conversation in reading order, a chunk in memory at a time."""

    def __init__(self, conversation: Conversation, branch: Branch, shown: Mask) -> None:
        self._conversation = conversation
        self.shown = shown
        branches = branches_in(conversation)
        self._left_out = branches.abandoned if branch == "active" else frozenset[UUID]()
        self._places = _places(branches)

    def __iter__(self) -> Iterator[ShownMessage]:
        number, before = 0, -1
        for row, revision in self._placed():
            if row.message_id in self._left_out:
                continue
            number += 1
            segment = row.segment.number
            yield ShownMessage(
                number=number,
                segment=segment,
                position=row.position,
                message=row.message,
                revision=revision,
                content=self.shown(revision.content),
                metadata=self.shown(revision.metadata),
                branch=self._places.get(row.message_id),
                begins_segment=before not in (-1, segment),
            )
            before = segment

    def _placed(self) -> Iterator[tuple[Placement, Revision]]:
        placements = Placement.objects.visible_to(self._conversation.user_id)
        for stretches in self._chunks():
            chunk = placements.filter(reduce(or_, stretches)).in_reading_order()
            rows = list(chunk.select_related("segment", "message"))
            revisions = latest_revisions(row.message_id for row in rows)
            for row in rows:
                yield row, revisions[row.message_id]

    def _chunks(self) -> Iterator[list[Q]]:
        """Stretches of positions, together at most MESSAGES_AT_ONCE; an index finds each."""
        segments = (
            Segment.objects.filter(conversation=self._conversation)
            .annotate(placed=Count("placements"))
            .order_by("number")
            .values_list("pk", "placed")
        )
        chunk: list[Q] = []
        room = MESSAGES_AT_ONCE
        for segment, placed in segments:
            start = 0
            while start < placed:
                end = min(placed, start + room)
                chunk.append(Q(segment=segment, position__gte=start, position__lt=end))
                room -= end - start
                start = end
                if not room:
                    yield chunk
                    chunk, room = [], MESSAGES_AT_ONCE
        if chunk:
            yield chunk


def _places(branches: Branches) -> dict[UUID, PlaceInBranches]:
    return {
        option.message: PlaceInBranches(number, len(point.options), option.active)
        for point in branches.points
        for number, option in enumerate(point.options, 1)
    }


# --- What a message says ------------------------------------------------------------------------


def pieces_of(content: Iterable[Block]) -> Iterator[Piece]:
    """The blocks of a message as what a person reads; bytes of images are named only."""
    for block in content:
        yield from _pieces(block)


def _pieces(block: Block) -> Iterator[Piece]:
    kind = block.get("type")
    if not isinstance(kind, str):
        yield from _other(block)
    elif kind in READERS:
        yield from READERS[kind](block)
    elif kind.endswith("tool_use"):
        yield from _tool_use(block)
    elif kind.endswith("tool_result"):
        yield from _tool_result(block)
    else:
        yield from _other(block)


def _text(block: Block) -> Iterator[Piece]:
    if isinstance(block.get("text"), str):
        yield Piece("words", block["text"])
    else:
        yield from _other(block)


def _thinking(block: Block) -> Iterator[Piece]:
    thoughts = block.get("thinking")
    if isinstance(thoughts, str) and thoughts.strip():
        yield Piece("fenced", thoughts, "Thinking")
    else:
        yield Piece("note", "Thinking that the source does not show")


def _tool_use(block: Block) -> Iterator[Piece]:
    name, given = block.get("name"), block.get("input")
    label = f"Tool use: {_one_line(name)}" if isinstance(name, str) else "Tool use"
    if isinstance(given, str):
        yield Piece("fenced", given, label)
    elif isinstance(given, dict):
        # JSON would make one line of many, and put backslashes into commands.
        texts = {key: item for key, item in given.items() if _is_spoilt_by_json(item)}
        rest = {key: item for key, item in given.items() if key not in texts}
        if rest or not texts:
            yield Piece("fenced", _pretty(rest), label, "json")
        for key, text in texts.items():
            yield Piece("fenced", text, f"{label}, {_one_line(key)}")
    else:
        yield Piece("fenced", _pretty(given), label, "json")


def _tool_result(block: Block) -> Iterator[Piece]:
    label = "Tool error" if block.get("is_error") is True else "Tool result"
    content = block.get("content")
    if isinstance(content, str) and content.strip():
        yield Piece("fenced", content, label)
    elif not content or isinstance(content, str):
        yield Piece("note", f"{label} without content")
    elif isinstance(content, list):
        for part in content:
            yield from _part_of_result(part, label)
    else:
        yield Piece("fenced", _pretty(content), label, "json")


def _part_of_result(part: Any, label: str) -> Iterator[Piece]:
    if isinstance(part, str):
        yield Piece("fenced", part, label)
    elif not isinstance(part, dict):
        yield Piece("fenced", _pretty(part), label, "json")
    elif part.get("type") == "text" and isinstance(part.get("text"), str):
        yield Piece("fenced", part["text"], label)
    else:
        yield from _pieces(part)


def _attached(block: Block, *, label: str) -> Iterator[Piece]:
    named = ": ".join(filter(None, [label, _name_of(block)]))
    media = _first_text(_member(block, "source"), "media_type") or _first_text(
        block, "media_type", "mime_type", "file_type"
    )
    if (text := _attached_text(block)) is not None:
        yield Piece("fenced", text, named)
    else:
        yield Piece("note", f"{named} ({media})" if media else named)


def _attached_text(block: Block) -> str | None:
    source = _member(block, "source")
    text = source.get("data") if source.get("type") == "text" else block.get("extracted_content")
    return text if isinstance(text, str) and text else None


def _name_of(block: Block) -> str:
    own = _first_text(block, "file_name", "filename", "name", "title", "asset_pointer", "file_id")
    inner = _first_text(_member(block, "file"), "filename", "file_id")
    source = _first_text(_member(block, "source"), "url", "file_id")
    address = _first_text(_member(block, "image_url"), "url") or _first_text(block, "image_url")
    # Such an address is the image itself.
    return own or inner or source or ("" if address.startswith("data:") else address)


def _other(block: Block) -> Iterator[Piece]:
    kind = block.get("type")
    label = _one_line(kind).replace("_", " ").capitalize() if isinstance(kind, str) else "Block"
    rest = {name: value for name, value in block.items() if name != "type"}
    language = rest.get("language")
    texts = [rest[name] for name in ("text", "content", "value") if isinstance(rest.get(name), str)]
    if len(texts) == 1 and len(rest) == 1 + ("language" in rest):
        yield Piece("fenced", texts[0], label, language if isinstance(language, str) else "")
    else:
        yield Piece("fenced", _pretty(rest), label, "json")


READERS: dict[str, Callable[[Block], Iterator[Piece]]] = {
    "text": _text,
    "thinking": _thinking,
    "redacted_thinking": _thinking,
    "image": partial(_attached, label="Image"),
    "document": partial(_attached, label="Document"),
    "attachment": partial(_attached, label="Attachment"),
    "file": partial(_attached, label="File"),
}


# --- Markdown -----------------------------------------------------------------------------------


def _yaml(overview: Overview) -> str:
    """The header; a string in JSON is one in YAML too, and ends where it ends."""
    values: dict[str, Any] = {
        "title": overview.name,
        "source": overview.source,
        "project": overview.project,
        "key": overview.native_key,
        "id": str(overview.id),
        "created_at": _iso(overview.created_at),
        "updated_at": _iso(overview.updated_at),
        "first_message_at": _iso(overview.first_message_at),
        "last_message_at": _iso(overview.last_message_at),
        "messages": overview.messages,
        "segments": overview.segments,
    }
    lines = [f"{name}: {_yaml_value(value)}" for name, value in values.items()]
    lines.append("statistics:")
    lines += [f"  {name}: {_yaml_value(value)}" for name, value in overview.statistics.items()]
    return "".join(f"{line}\n" for line in lines)


def _yaml_value(value: Any) -> str:
    return UNPRINTABLE.sub(
        lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False)
    )


def _markdown(overview: Overview, reading: _Reading, header: str = "") -> Iterator[str]:
    yield f"# {_escaped(overview.name)}\n"
    if header:
        yield f"\n{header}"
    if overview.parent:
        yield f"\nSub-agent of {_markdown_link(overview.parent)}\n"
    if overview.sub_agents:
        yield "\nSub-agents:\n\n"
        yield from (f"- {_markdown_link(link)}\n" for link in overview.sub_agents)
    for shown in reading:
        if shown.begins_segment:
            yield f"\n> **{MISSING}**\n"
        yield f"\n## {shown.number}. {shown.speaker}{shown.time and f' · {shown.time}'}\n"
        if shown.branch:
            yield f"\n> {shown.branch}\n"
        for piece in pieces_of(shown.content):
            yield _markdown_piece(piece)


def _markdown_link(link: Link) -> str:
    return f"[{_escaped(link.title)}]({link.file})" if link.file else _escaped(link.title)


def _markdown_piece(piece: Piece) -> str:
    if piece.kind == "words":
        text = _with_fences_closed(piece.text)
        return f"\n{_ended(text)}" if text.strip() else ""
    if piece.kind == "note":
        return f"\n*{_escaped(piece.text)}*\n"
    return f"\n**{_escaped(piece.label)}**\n\n{_fenced(piece.text, piece.language)}"


def _fenced(text: str, language: str) -> str:
    """The text as a code block, whatever stands in it."""
    longest = max(map(len, BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{NOT_IN_LANGUAGES.sub('', language)}\n{_ended(text)}{fence}\n"


def _with_fences_closed(text: str) -> str:
    """A block of code that was cut short would take in all that follows it, and so would an
    element of HTML that begins a line and never ends."""
    text = _with_elements_escaped(text)
    *_, last = code_and_words(text)
    return f"{_ended(text)}{last.fence}" if last.is_open else text


def _with_elements_escaped(text: str) -> str:
    lines, fence = [], ""
    for line in StringIO(text, newline=""):
        found = FENCE.match(line)
        if fence:
            fence = "" if found and _closes(found, fence) else fence
        elif found and _opens(found):
            fence = found["indent"] + found["run"]
        elif TAKES_ALL.match(line):
            line = line.replace("<", "\\<", 1)  # noqa: PLW2901 - the line that is kept
        lines.append(line)
    return "".join(lines)


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _escaped(text: str) -> str:
    return MARKDOWN_SIGNS.sub(r"\\\1", _one_line(text))


@dataclass
class Stretch:
    """Lines of a text that are a block of code, between their fences, or none."""

    is_code: bool
    text: str = ""
    language: str = ""
    fence: str = ""
    is_open: bool = False


def code_and_words(text: str) -> Iterator[Stretch]:
    """The text by its blocks of code, which begin and end as CommonMark says."""
    current = Stretch(is_code=False)
    for line in StringIO(text, newline=""):
        found = FENCE.match(line)
        if current.is_code:
            if found and _closes(found, current.fence):
                current.is_open = False
                yield current
                current = Stretch(is_code=False)
                continue
        elif found and _opens(found):
            yield current
            language = NOT_IN_LANGUAGES.sub("", (found["info"].split() or [""])[0])
            fence = found["indent"] + found["run"]
            current = Stretch(is_code=True, language=language, fence=fence, is_open=True)
            continue
        current.text += line
    yield current


def _opens(found: re.Match[str]) -> bool:
    return found["run"][0] == "~" or "`" not in found["info"]


def _closes(found: re.Match[str], fence: str) -> bool:
    """Further to the right it would be a line of the code."""
    run = fence.strip()
    deepest = len(fence) - len(run) + 3
    return (
        found["run"].startswith(run)
        and len(found["indent"].expandtabs()) <= deepest
        and not found["info"].strip()
    )


# --- JSON ---------------------------------------------------------------------------------------


def _json(overview: Overview, reading: _Reading) -> Iterator[str]:
    """One object, each message on a line of its own."""
    values = {
        "id": str(overview.id),
        "source": overview.source,
        "native_key": overview.native_key,
        "parent_key": overview.parent_key,
        "title": overview.title,
        "project": overview.project,
        "metadata": overview.metadata,
        "created_at": _iso(overview.created_at),
        "updated_at": _iso(overview.updated_at),
        "first_message_at": _iso(overview.first_message_at),
        "last_message_at": _iso(overview.last_message_at),
        "messages": overview.messages,
        "segments": overview.segments,
        "parent": _json_link(overview.parent) if overview.parent else None,
        "sub_agents": [_json_link(link) for link in overview.sub_agents],
    }
    yield f'{{\n"conversation": {_compact(values)},\n'
    yield f'"statistics": {_compact(overview.statistics)},\n"messages": ['
    for shown in reading:
        yield "\n" if shown.number == 1 else ",\n"
        yield _compact(_json_message(shown, reading.shown))
    yield "\n]\n}"


def _json_link(link: Link) -> dict[str, Any]:
    named = {"id": str(link.id), "native_key": link.native_key, "title": link.title}
    return named | ({"file": link.file} if link.file else {})


def _json_message(shown: ShownMessage, mask: Mask) -> dict[str, Any]:
    message, branch = shown.message, shown.branch
    return {
        "number": shown.number,
        "segment": shown.segment,
        "position": shown.position,
        "id": str(message.pk),
        "role": shown.revision.role,
        "sent_at": _iso(message.sent_at),
        "native_key": mask(message.native_key),
        "parent_key": mask(message.parent_key),
        "api_id": mask(message.api_id),
        "branch": branch and {"number": branch.number, "of": branch.of, "active": branch.active},
        "metadata": shown.metadata,
        "content": shown.content,
    }


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# --- HTML ---------------------------------------------------------------------------------------


def _html(overview: Overview, reading: _Reading) -> Iterator[str]:
    """One page that needs nothing else and runs nothing: templates escape what they are given."""
    page = render_to_string("dedup/conversation.html", {"overview": overview})
    before, after = page.translate(CONTROLS).split(MESSAGES_HERE)
    yield before
    for shown in reading:
        pieces = [_html_piece(piece) for piece in pieces_of(shown.content)]
        given = {"shown": shown, "pieces": pieces, "missing": MISSING}
        yield render_to_string("dedup/message.html", given).translate(CONTROLS)
    yield after


def _html_piece(piece: Piece) -> dict[str, Any]:
    stretches = code_and_words(piece.text) if piece.kind == "words" else []
    return {
        "piece": piece,
        "stretches": [
            (stretch, stretch.text if stretch.is_code else stretch.text.strip("\r\n"))
            for stretch in stretches
            if stretch.text.strip()
        ],
    }


# --- Values -------------------------------------------------------------------------------------


def _as_it_is(value: Any) -> Any:
    return value


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_spoilt_by_json(value: Any) -> bool:
    return isinstance(value, str) and _compact(value) != f'"{value}"'


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _member(block: Block, name: str) -> Block:
    value = block.get(name)
    return value if isinstance(value, dict) else {}


def _first_text(block: Block, *names: str) -> str:
    texts = (block.get(name) for name in names)
    return next((_one_line(text) for text in texts if isinstance(text, str) and text), "")


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
