"""A conversation as a Markdown file: for people to read and keep, and exact enough to be read in again.

Whatever the texts contain, a message begins where a heading carries the comment `<!-- quietly:user ... -->`
or `<!-- quietly:assistant ... -->`, and nowhere else: the same letters inside a text get one backslash more
than they have, `<!-- \\quietly:`. Between such a line and its text stands one empty line, and one follows the
text. Text is the message's own but for control characters. What was attached to a message stands after its text,
each under a heading with `<!-- quietly:attachment ... -->`, between two lines that fence it: what lies between
these is the attachment's text. Knows neither the store's file nor the screen.
"""

import contextlib
import json
import os
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from app.chat.failures import explaining
from app.chat.records import Attachment, Conversation, Message
from app.chat.text import one_line, storable, visible

NAME_BYTES = 200
"""A file name's length in UTF-8; file systems allow 255, tools that add to a name need some of it."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TICKS = re.compile("`+")
_MARKER = re.compile(r"<!-- (\\*quietly:)")
_INLINE = re.compile(r"([\\`*_\[\]<>&#~|])")
# What YAML wants escaped inside quotes although JSON does not, and what would be invisible there.
_UNSEEN = re.compile("[\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]")

_FENCE = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})")
_RAW_HTML = re.compile(
    r" {0,3}<(?:(?P<comment>!--)|(?P<instruction>\?)|(?P<data>!\[CDATA\[)|(?P<declaration>![a-z])"
    r"|(?P<raw>script|pre|style|textarea)(?=[\s>]|$))",
    re.IGNORECASE,
)
_RAW_END = {"comment": "-->", "instruction": "?>", "data": "]]>", "declaration": ">"}

_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\s]+')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_ENDINGS = {
    "stopped": "Stopped here",
    "interrupted": "Interrupted here",
    "failed": "Failed",
    "writing": "Being written",
}


def markdown(conversation: Conversation, messages: Sequence[Message]) -> str:
    """The conversation's branch `messages` as Markdown with a YAML front matter."""
    sections = [_front_matter(conversation, messages), *(_section(message) for message in messages)]
    return "\n\n".join(sections) + "\n"


def file_name(title: str, number: int = 1) -> str:
    """The `number`th name for an export with this title, safe on macOS, Linux and Windows."""
    suffix = ".md" if number == 1 else f" {number}.md"
    stem = _NOT_IN_NAMES.sub(" ", visible(unicodedata.normalize("NFC", storable(title)))).lstrip(" .-")
    if _RESERVED.fullmatch(stem):
        stem = f"_{stem}"
    room = NAME_BYTES - len(suffix)
    stem = stem.encode()[:room].decode(errors="ignore").rstrip(" .\u200d")
    return f"{stem or 'Conversation'}{suffix}"


def write_export(conversation: Conversation, messages: Sequence[Message], folder: Path) -> Path:
    """Write the Markdown into `folder`, readable by its owner only; an existing file is never touched.

    The file is there whole or not at all. Returns its path; QuietlyError where it cannot be written.
    """
    content = markdown(conversation, messages).encode()
    part = folder / f".quietly-{os.urandom(8).hex()}.part"
    with explaining(folder / file_name(conversation.title)):
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            target = _reserved(folder, conversation.title)
            try:
                part.replace(target)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
        finally:
            part.unlink(missing_ok=True)
    return target


def _reserved(folder: Path, title: str) -> Path:
    """An empty file of ours under the first name that is free: whoever else exports now gets the next."""
    number = 0
    while True:
        number += 1
        target = folder / file_name(title, number)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            return target


def _front_matter(conversation: Conversation, messages: Sequence[Message]) -> str:
    answers = [message for message in messages if message.role == "assistant"]
    models = list(dict.fromkeys(answer.model for answer in answers if answer.model)) or (
        [conversation.model] if conversation.model else []
    )
    lines = [
        "---",
        f"title: {_quoted(conversation.title)}",
        f"date: {_quoted(_moment(conversation.created))}",
    ]
    if models:
        lines.append(f"models: {_quoted(models)}")
    if answers and answers[-1].sampling:
        lines.append(f"sampling: {_quoted(answers[-1].sampling)}")
    if conversation.system_prompt:
        lines.append(f"system_prompt: {_quoted(conversation.system_prompt)}")
    return "\n".join([*lines, "---"])


def _section(message: Message) -> str:
    content = _text(message.content)
    closer = _closer(content)
    facts: dict[str, object] = {"at": _moment(message.created)}
    if message.role == "assistant":
        facts |= {"model": message.model, "status": message.status}
        facts |= {"sampling": message.sampling} if message.sampling else {}
        facts |= {"note": message.note} if message.note else {}
        facts |= {"edited": True} if message.edited else {}
    if closer:
        facts["closed"] = closer  # what was added to the text so that the next heading is one
    speaker = "You" if message.role == "user" else _inline(message.model or "") or "Model"
    parts = [f"## {speaker} <!-- quietly:{message.role} {_commented(facts)} -->"]
    if message.reasoning:
        # Quoted, so that whatever it leaves open ends with it.
        quoted = "\n".join(f"> {line}" if line else ">" for line in _text(message.reasoning).split("\n"))
        parts += ["<details><summary>Reasoning</summary> <!-- quietly:reasoning -->", quoted]
        parts += ["</details> <!-- quietly:answer -->"]
    parts.append(f"{content}\n{closer}" if closer else content)
    parts += [_attachment(attachment) for attachment in message.attachments]
    if message.edited:
        parts.append("*These words were changed by hand.* <!-- quietly:edited -->")
    if message.status in _ENDINGS:
        reason = _inline(message.note)
        ending = f"{_ENDINGS[message.status]}: {reason}" if reason else f"{_ENDINGS[message.status]}."
        parts.append(f"*{ending}* <!-- quietly:status -->")
    return "\n\n".join(parts)


def _attachment(attachment: Attachment) -> str:
    """An attachment under its name; the fence is longer than any run of its sign inside."""
    text = _text(attachment.text)
    fence = "`" * max(3, 1 + max(map(len, _TICKS.findall(text)), default=0))
    facts = _commented({"name": attachment.name})
    name = _inline(attachment.name) or "Attachment"
    return f"### {name} <!-- quietly:attachment {facts} -->\n\n{fence}\n{text}\n{fence}"


def _text(text: str) -> str:
    """A message's text: its own but for control characters, and nothing in it passes for a marker."""
    return _MARKER.sub(r"<!-- \\\1", _CONTROLS.sub("", storable(text)))


def _inline(text: str) -> str:
    """A name or a note inside a line of Markdown, its signs taken literally."""
    return _INLINE.sub(r"\\\1", one_line(text, 200))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat()


def _quoted(value: object) -> str:
    """`value` as JSON that is YAML too, on one line, with no comment in it."""
    plain = storable(json.dumps(value, ensure_ascii=False)).replace("<!--", "\\u003c!--")
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", plain)


def _commented(value: object) -> str:
    """`value` as JSON in which no comment can end."""
    return _quoted(value).replace("--", "\\u002d\\u002d").replace(">", "\\u003e").replace("<", "\\u003c")


def _closer(content: str) -> str:
    """What ends a code fence or raw HTML block left open (CommonMark 0.31, 4.5 and 4.6); else nothing."""
    fence: re.Match[str] | None = None
    html = ""
    for line in content.split("\n"):
        if fence:
            sign = fence[2]
            bare = line.lstrip(" ")
            indent = len(line) - len(bare)
            bare = bare.rstrip(" \t")
            if indent <= 3 and bare == sign[0] * max(len(bare), len(sign)):
                fence = None
        elif html:
            html = "" if html in line.lower() else html
        elif fence := _FENCE.match(line):
            continue
        elif start := _RAW_HTML.match(line):
            kind = str(start.lastgroup)
            end = _RAW_END.get(kind, f"</{start[0].strip(' <').lower()}>")
            html = "" if end in line[start.end() :].lower() else end
    return f"{fence[1]}{fence[2]}" if fence else html
