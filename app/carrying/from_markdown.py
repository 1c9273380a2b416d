"""Reads what `markdown` writes, also after a hand has changed words, taken messages out or put some in.

Knows neither stores nor files.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import zip_longest

import msgspec
from msgspec import UNSET, UnsetType

from app.carrying.markdown import DATA, VERSION, digest
from app.carrying.tale import Count, Tale, numbered, said
from app.chat.records import Attachment, Conversation, GenerationSettings, Message, Outcome, Role, TitledBy
from app.chat.text import one_line
from app.errors import QuietlyError

_MARK = re.compile(r"<!-- quietly:([a-z]+)(?: (\{[^<>\n]*\}))? -->$", re.MULTILINE)
_ESCAPED = re.compile(r"<!-- \\(\\*quietly:)")
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant"}
_NEAR = 2e-3
"""Seconds by which a time that people read may differ from the exact one and still say the same."""


class _Facts(msgspec.Struct, frozen=True):
    """What stands in the heading of a message."""

    id: Count | None = None
    parent: Count | UnsetType | None = UNSET
    at: str = ""
    model: str | None = None
    status: Outcome = "complete"
    sampling: dict[str, object] | None = None
    note: str = ""
    edited: bool = False
    closed: str = ""


class _Named(msgspec.Struct, frozen=True):
    """What stands in the heading of an attachment."""

    name: str


class _ConversationData(msgspec.Struct, frozen=True):
    """The first line of the comment at the end."""

    version: int = VERSION
    created: float | None = None
    updated: float | None = None
    titled_by: TitledBy = "person"
    title: str | None = None
    model: str | UnsetType | None = UNSET
    pinned: bool = False
    head: Count | UnsetType | None = UNSET


class _MessageData(msgspec.Struct, frozen=True):
    """One of its other lines."""

    id: Count
    seen: str
    created: float
    fingerprint: str | None = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    first_token_seconds: float | None = None
    decode_seconds: float | None = None
    token_ids: bytes | None = None
    """In base64, as msgspec reads bytes."""
    content: str | None = None
    reasoning: str | None = None
    attachments: tuple[str, ...] = ()


class _Section:
    """A message as it stands in the file."""

    def __init__(self, role: Role, facts: _Facts, content: str) -> None:
        self.role = role
        self.facts = facts
        self.content = content
        self.reasoning = ""
        self.attachments: list[Attachment] = []
        self.number = 0
        self.parent: int | None = None


def is_markdown(text: str) -> bool:
    """Whether `text` is a conversation that `markdown` wrote."""
    return text.startswith("---\n") and "\n---\n" in text and (DATA in text or bool(_MARK.search(text)))


def from_markdown(text: str, name: str) -> Tale:
    """The conversation in `text`, whose lines end with line feeds alone. QuietlyError names `name`."""
    try:
        front, body, data = _parts(text)
        about, exact = _data(data)
        if about.version > VERSION:
            raise QuietlyError(f"{name} was written by a newer Quietly; bring this one up to date and try again.")
        sections = _sections(body)
        return _tale(front, about, sections, exact)
    except (msgspec.MsgspecError, RecursionError) as error:
        flaw = one_line(str(error), 120)
        raise QuietlyError(
            f"{name} cannot be read because what stands in its comments or at its top was changed ({flaw});"
            " undo that, or export the conversation again."
        ) from error


# --- the parts of the file --------------------------------------------------------------------------------


def _parts(text: str) -> tuple[dict[str, str], str, list[str]]:
    """The lines at the top by their names, what lies between, and the lines of the comment at the end."""
    top, _, body = text.removeprefix("---\n").partition("\n---\n")
    front = {key: value.strip() for key, _, value in (line.partition(":") for line in top.split("\n"))}
    body, _, data = body.partition(DATA)
    if not data:  # nobody has to keep it
        body = f"{body.rstrip()}\n\n"
    return front, body, data.partition("\n-->")[0].split("\n") if data else []


def _data(lines: Sequence[str]) -> tuple[_ConversationData, dict[int, _MessageData]]:
    if not lines:
        return _ConversationData(), {}
    exact = [msgspec.json.decode(line, type=_MessageData) for line in lines[1:]]
    return msgspec.json.decode(lines[0], type=_ConversationData), {each.id: each for each in exact}


def _sections(body: str) -> list[_Section]:
    found: list[_Section] = []
    marks = list(_MARK.finditer(body))
    for mark, following in zip_longest(marks, marks[1:]):
        end = body.rfind("\n", 0, following.start()) + 1 if following else len(body)
        kind, facts = str(mark[1]), mark[2] or "{}"
        text = _ESCAPED.sub(r"<!-- \1", body[mark.end() : end].removeprefix("\n\n").removesuffix("\n\n"))
        if role := _ROLES.get(kind):
            found.append(_Section(role, msgspec.json.decode(facts, type=_Facts), text))
        elif not found:
            continue
        elif kind == "reasoning":
            found[-1].reasoning = "\n".join(_unquoted(line) for line in text.split("\n"))
        elif kind == "answer":
            found[-1].content = text
        elif kind == "attachment":
            lines = text.split("\n")[1:-1]  # without the fence
            found[-1].attachments.append(Attachment(msgspec.json.decode(facts, type=_Named).name, "\n".join(lines)))
    for section in found:
        if closer := section.facts.closed:
            section.content = section.content.removesuffix(f"\n{closer}")
    return found


def _unquoted(line: str) -> str:
    return line[2:] if line.startswith("> ") else line.removeprefix(">")


# --- what they mean ---------------------------------------------------------------------------------------


def _tale(
    front: Mapping[str, str], about: _ConversationData, sections: Sequence[_Section], exact: Mapping[int, _MessageData]
) -> Tale:
    known = _number(sections)
    created = _time(front.get("date", ""), about.created, 0.0)
    messages = sorted((_message(section, exact, created) for section in sections), key=lambda message: message.id)
    head = sections[-1].number if sections else None
    if not isinstance(about.head, UnsetType):
        head = None if about.head is None else known.get(about.head, head)
    model = about.model
    if isinstance(model, UnsetType):
        model = next((message.model for message in reversed(messages) if message.model), None)
    title = _title(front.get("title", ""))
    updated = max((message.created for message in messages), default=created)
    conversation = Conversation(
        id=0,
        title=title,
        created=created,
        updated=updated if about.updated is None else about.updated,
        head=head,
        system_prompt=msgspec.json.decode(front.get("system_prompt", '""'), type=str),
        model=model,
        pinned=about.pinned,
        titled_by=about.titled_by if title == about.title else "person",
        settings=msgspec.json.decode(front.get("settings", "{}"), type=GenerationSettings),
    )
    return numbered(conversation, messages)


def _number(sections: Sequence[_Section]) -> dict[int, int]:
    """Number the sections by age and say what each follows; returns the number of each `id` in the file.

    What a hand put in without an `id`, or with one that is there already, is as old as what stands before it.
    """
    ages: list[int] = []
    known: dict[int, int] = {}
    for place, section in enumerate(sections):
        own = section.facts.id
        if own is not None and own not in known:
            known[own] = place
            ages.append(own)
        else:
            ages.append(ages[-1] if ages else 0)
    for number, place in enumerate(sorted(range(len(sections)), key=ages.__getitem__), 1):
        sections[place].number = number
    known = {own: sections[place].number for own, place in known.items()}
    before: int | None = None
    for section in sections:
        parent = section.facts.parent
        section.parent = (
            None if parent is None else before if isinstance(parent, UnsetType) else known.get(parent, before)
        )
        before = section.number
    return known


def _message(section: _Section, exact: Mapping[int, _MessageData], begun: float) -> Message:
    """The message of `section`, exactly as it was unless a hand has changed its words."""
    facts = section.facts
    data = None if facts.id is None else exact.get(facts.id)
    message = msgspec.structs.replace(
        said(
            section.number,
            section.parent,
            section.role,
            section.content,
            _time(facts.at, data.created if data else None, begun),
            reasoning=section.reasoning,
            model=facts.model,
            status=facts.status,
            note=facts.note,
            attachments=section.attachments,
        ),
        sampling=facts.sampling,
        edited=facts.edited,
    )
    if data is None:
        return message
    if data.seen != digest(message):
        return msgspec.structs.replace(message, edited=section.role == "assistant")
    return msgspec.structs.replace(
        message,
        content=message.content if data.content is None else data.content,
        reasoning=message.reasoning if data.reasoning is None else data.reasoning,
        attachments=_attached(message.attachments, data.attachments),
        fingerprint=data.fingerprint,
        packed_ids=data.token_ids,
        prompt_tokens=data.prompt_tokens,
        completion_tokens=data.completion_tokens,
        first_token_seconds=data.first_token_seconds,
        decode_seconds=data.decode_seconds,
    )


def _attached(shown: Sequence[Attachment], exact: Sequence[str]) -> tuple[Attachment, ...]:
    if len(exact) != len(shown):
        return tuple(shown)
    return tuple(Attachment(one.name, text) for one, text in zip(shown, exact, strict=True))


def _title(written: str) -> str:
    """A title as we write it, or as people do: without quotes."""
    try:
        return msgspec.json.decode(written, type=str)
    except msgspec.MsgspecError:
        return written


def _time(read: str, exact: float | None, otherwise: float) -> float:
    """The time that a person reads in the file, as exactly as it is known."""
    try:
        seconds = datetime.fromisoformat(read.strip('"')).timestamp()
    except (ValueError, OverflowError):
        return otherwise if exact is None else exact
    return seconds if exact is None or abs(seconds - exact) > _NEAR else exact
