"""A conversation as one HTML page, to read, to print and to pass on: no script, and nothing that is loaded.

What people and models wrote is hostile here: it is text, or Markdown in which HTML is text. Of its links those stay
that lead to the web or to a mailbox, and images become links too. Knows neither stores nor files.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from html import escape
from typing import TYPE_CHECKING

import msgspec

from app.assets import asset
from app.carrying.highlight import highlighted
from app.carrying.tale import ENDINGS, Tale, gist, models_of, runs
from app.chat.records import Attachment, Message
from app.chat.text import one_line, visible
from app.fields import fits, shown
from app.generation import GENERATION_FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore
    from markdown_it.token import Token

LIMIT = 200_000
"""Characters; longer texts stand as they were written, because parsing one takes a second there."""
LONGEST_PARAGRAPH = 20_000
"""Characters; the parser's time grows with the square of a paragraph's in places."""
DEEPEST = 40
"""Levels of nesting; what goes deeper stands as it was written."""

_LINK = re.compile(r"(https?|mailto):", re.IGNORECASE)
_BREAK = re.compile(r"<br\s{0,9}/?>", re.IGNORECASE)
_FIELDS = {field.id: field for field in GENERATION_FIELDS}

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<meta http-equiv="x-dns-prefetch-control" content="off">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1 dir="auto">{title}</h1>
{about}
</header>
<main>
{messages}
</main>
</body>
</html>
"""


def html(tale: Tale) -> str:
    """The conversation as a page; the branch in use comes first."""
    return _PAGE.format(
        title=_line(tale.conversation.title) or "Conversation",
        style=asset("styles/export.css").read_text(encoding="utf-8"),
        about="\n".join(_about(tale)),
        messages="\n".join(_messages(tale)),
    )


# --- the page ---------------------------------------------------------------------------------------------


def _about(tale: Tale) -> Iterator[str]:
    """What holds of the conversation as a whole."""
    conversation = tale.conversation
    number = len(tale.messages)
    messages = f"{number:,} {'message' if number == 1 else 'messages'}"
    facts = [_time(conversation.created), *map(_line, models_of(tale)), messages]
    yield f'<p class="facts">{" · ".join(facts)}</p>'
    if settings := _settings(msgspec.to_builtins(conversation.settings)):
        yield f'<p class="facts">{" · ".join(settings)}</p>'
    if conversation.system_prompt:
        yield _folded("System prompt", _plain(conversation.system_prompt))


def _messages(tale: Tale) -> Iterator[str]:
    versions: dict[int | None, list[int]] = {}
    for message in tale.messages:
        versions.setdefault(message.parent, []).append(message.id)
    places = {each: (place, siblings) for siblings in versions.values() for place, each in enumerate(siblings)}
    for number, run in enumerate(runs(tale)):
        if number:
            yield f'<section class="branch">\n<h2>{_origin(tale, run[0].parent)}</h2>'
        yield from (_message(message, *places[message.id]) for message in run)
        if number:
            yield "</section>"


def _origin(tale: Tale, parent: int | None) -> str:
    """Where a branch leaves what stands before it."""
    if parent is None:
        return "Another beginning"
    return f'Another branch, after <a href="#m{parent}">“{_line(gist(tale.messages[parent - 1]))}”</a>'


def _message(message: Message, place: int, versions: "Sequence[int]") -> str:
    asked = message.role == "user"
    speaker = "You" if asked else _line(message.model or "") or "Model"
    parts = [f'<article class="{"question" if asked else "answer"}" id="m{message.id}">']
    parts.append(f"<header><h2>{speaker}</h2> {_time(message.created)}{_version(place, versions)}</header>")
    if message.reasoning:
        parts.append(_folded("Reasoning", _markdown(message.reasoning)))
    if message.content:
        parts.append(_plain(message.content) if asked else _markdown(message.content))
    parts += map(_attachment, message.attachments)
    if message.edited:
        parts.append('<p class="ending">These words were changed by hand.</p>')
    note = _line(message.note)
    if ending := ENDINGS.get(message.status):
        parts.append(f'<p class="ending">{f"{ending}: {note}" if note else f"{ending}."}</p>')
    elif note:
        parts.append(f'<p class="ending">{note}</p>')
    if facts := [*_settings(message.sampling or {}), *_measured(message)]:
        parts.append(f'<footer class="facts">{" · ".join(facts)}</footer>')
    return "\n".join([*parts, "</article>"])


def _version(place: int, versions: "Sequence[int]") -> str:
    """Which of several versions this is, with the way to those beside it."""
    if len(versions) == 1:
        return ""
    ways = [f"version {place + 1:,} of {len(versions):,}"]
    if place:
        ways.append(f'<a href="#m{versions[place - 1]}">the one before</a>')
    if place + 1 < len(versions):
        ways.append(f'<a href="#m{versions[place + 1]}">the next</a>')
    return f' <span class="version">{" ".join(ways)}</span>'


def _attachment(attachment: Attachment) -> str:
    return _folded(f"Attached: {_line(attachment.name) or 'a file'}", _plain(attachment.text))


def _settings(chosen: dict[str, object]) -> Iterator[str]:
    """What was chosen about how answers are generated, by the names that people know."""
    for name, value in chosen.items():
        if (field := _FIELDS.get(name)) and fits(field, value):
            yield escape(f"{field.label} {shown(field, value)}")


def _measured(message: Message) -> Iterator[str]:
    tokens = message.completion_tokens
    if tokens is None:
        return
    yield f"{tokens:,} {'token' if tokens == 1 else 'tokens'}"
    if message.decode_seconds and tokens > 1:
        yield f"{(tokens - 1) / message.decode_seconds:,.1f} tokens a second"


def _folded(summary: str, content: str) -> str:
    return f'<details>\n<summary dir="auto">{summary}</summary>\n{content}\n</details>'


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds).astimezone()
    return f'<time datetime="{moment.isoformat(timespec="seconds")}">{moment:%Y-%m-%d %H:%M}</time>'


# --- texts ------------------------------------------------------------------------------------------------


def _line(text: str) -> str:
    return escape(one_line(text, 200))


def _plain(text: str) -> str:
    """Text as it was written."""
    return f'<div class="text plain" dir="auto" lang="">{escape(visible(text))}</div>'


def _markdown(text: str) -> str:
    """Markdown as HTML."""
    parser = _parser()
    text = visible(text)
    if len(text) > LIMIT:
        return _plain(text)
    tokens = parser.parse(text)
    if any(token.level >= DEEPEST - 1 or _is_long(token) for token in tokens):
        return _plain(text)
    for token in tokens:
        token.children = list(_tamed(token.children or []))
    content: str = parser.renderer.render(tokens, parser.options, {})
    return f'<div class="text" dir="auto" lang="">\n{content}</div>'


@cache
def _parser() -> "MarkdownIt":
    """CommonMark with tables and strikethrough, in which HTML is text."""
    from markdown_it import MarkdownIt

    options = {"html": False, "maxNesting": DEEPEST, "highlight": lambda code, language, _: highlighted(code, language)}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    parser.core.ruler.at("inline", _parse_paragraphs)
    return parser


def _parse_paragraphs(state: "StateCore") -> None:
    """Parse what is inside the blocks, but for what would take long."""
    for token in state.tokens:
        if token.type == "inline" and not _is_long(token):
            token.children = []
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _is_long(token: "Token") -> bool:
    return token.type == "inline" and len(token.content) > LONGEST_PARAGRAPH


def _tamed(tokens: "Sequence[Token]") -> "Iterator[Token]":
    """The tokens inside a line: only links that may be followed, images as links, and <br> as a line's end."""
    from markdown_it.token import Token

    targets: list[str] = []
    for token in tokens:
        if token.type == "link_open":
            targets.append(str(token.attrGet("href") or ""))
            yield _linked(token, targets[-1])
        elif token.type == "link_close":
            target = targets.pop()
            yield _linked(token, target)
            if not _LINK.match(target):
                yield Token("text", "", 0, content=f" ({target})")
        elif token.type == "image":
            source = str(token.attrGet("src") or "")
            yield _linked(Token("link_open", "a", 1), source)
            yield Token("text", "", 0, content=token.content or source)
            yield _linked(Token("link_close", "a", -1), source)
            if not _LINK.match(source):
                yield Token("text", "", 0, content=f" ({source})")
        elif token.type == "text":
            first, *others = _BREAK.split(token.content)
            yield Token("text", "", 0, content=first)
            for other in others:
                yield Token("hardbreak", "br", 0)
                yield Token("text", "", 0, content=other)
        else:
            yield token


def _linked(token: "Token", target: str) -> "Token":
    """One end of a link to `target`; of no more than a span where it may not be followed."""
    token.tag = "a" if _LINK.match(target) else "span"
    token.attrs = {}
    if token.tag == "a" and token.nesting == 1:
        token.attrs = {"href": target, "rel": "noreferrer"}
        if token.markup == "autolink":
            token.attrs["class"] = "bare"  # its words are its target: paper need not repeat it
    return token
