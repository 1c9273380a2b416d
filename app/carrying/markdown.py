"""A conversation as a Markdown file: for people to read and keep, and read in again without loss.

Whatever the texts contain, a message begins where a heading carries the comment `<!-- quietly:user ... -->` or
`<!-- quietly:assistant ... -->`, and nowhere else: the same letters inside a text get one backslash more than they
have, `<!-- \\quietly:`. Between such a line and its text stands one empty line, and one follows the text. What was
attached to a message stands after its text, each under a heading with `<!-- quietly:attachment ... -->`, between two
lines that fence it.

Text is the message's own but for control characters. Those, exact times, tokens and measurements stand in the comment
`<!-- quietly:data` at the end, a JSON object a line: first the conversation's, then each message's, with a digest of
what the person sees of it (`seen`). Where that is not what it was, a hand has changed the words: they count, and what
was measured of the former ones is void. The branch in use comes first; an `id` says how old a message is among the
others, and `parent` what it follows, where that is not the message before it. `from_markdown` reads all this.
Knows neither stores nor files.
"""

import base64
import hashlib
import json
import re
from datetime import datetime

import msgspec

from app.carrying.tale import ENDINGS, Tale, gist, models_of, runs
from app.chat.records import Attachment, Message
from app.chat.text import fence_for, one_line, storable

VERSION = 1
DATA = "<!-- quietly:data\n"

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
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
_BLOCK_HTML = re.compile(
    r" {0,3}</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir"
    r"|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link"
    r"|main|menu|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead"
    r"|title|tr|track|ul)(?=[ \t>]|/>|$)",
    re.IGNORECASE,
)
_TAG_ALONE = re.compile(r" {0,3}</?[a-z][a-z0-9-]*(?:\s[^<>]*)?/?>[ \t]*$", re.IGNORECASE)
_RAW_END = {"comment": "-->", "instruction": "?>", "data": "]]>", "declaration": ">"}


def markdown(tale: Tale) -> str:
    """The conversation as Markdown with a YAML front matter."""
    parts = [_front_matter(tale)]
    before: Message | None = None
    for run in runs(tale):
        for message in run:
            if before and message is run[0]:
                parts.append(_branch(tale, message))
            parts.append(_section(message, before))
            before = message
    parts.append(_data(tale, before))
    return "\n\n".join(parts) + "\n"


def shown(text: str) -> str:
    """What of `text` Markdown can carry: all but control characters."""
    return _CONTROLS.sub("", storable(text))


def digest(message: Message) -> str:
    """Tells whether what a person sees of the message is what it was."""
    attached = [[one.name, shown(one.text)] for one in message.attachments]
    words = [message.role, shown(message.content), shown(message.reasoning), attached]
    return hashlib.blake2b(msgspec.json.encode(words), digest_size=12).hexdigest()


# --- what people read -------------------------------------------------------------------------------------


def _front_matter(tale: Tale) -> str:
    conversation = tale.conversation
    lines = ["---", f"title: {_quoted(conversation.title)}", f"date: {_quoted(_moment(conversation.created))}"]
    if models := models_of(tale):
        lines.append(f"models: {_quoted(models)}")
    if settings := msgspec.to_builtins(conversation.settings):
        lines.append(f"settings: {_quoted(settings)}")
    if conversation.system_prompt:
        lines.append(f"system_prompt: {_quoted(conversation.system_prompt)}")
    return "\n".join([*lines, "---"])


def _branch(tale: Tale, message: Message) -> str:
    """Says that the reading goes back to an earlier place."""
    if message.parent is None:
        return "*Another beginning:* <!-- quietly:branch -->"
    words = _inline(gist(tale.messages[message.parent - 1]))
    return f"*Another branch, after “{words}”:* <!-- quietly:branch -->"


def _section(message: Message, before: Message | None) -> str:
    content = _text(message.content)
    closer = _closer(content)
    facts: dict[str, object] = {"id": message.id}
    if message.parent != (before.id if before else None):
        facts["parent"] = message.parent
    facts["at"] = _moment(message.created)
    if message.role == "assistant" or message.model is not None:
        facts["model"] = message.model
    if message.role == "assistant" or message.status != "complete":
        facts["status"] = message.status
    facts |= {"sampling": message.sampling} if message.sampling is not None else {}
    facts |= {"note": message.note} if message.note else {}
    facts |= {"edited": True} if message.edited else {}
    facts |= {"closed": closer} if closer else {}  # what was added to the text so that the next heading is one
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
    if ending := ENDINGS.get(message.status):
        reason = _inline(message.note)
        ending = f"{ending}: {reason}" if reason else f"{ending}."
        parts.append(f"*{ending}* <!-- quietly:status -->")
    return "\n\n".join(parts)


def _attachment(attachment: Attachment) -> str:
    """An attachment under its name; the fence is longer than any run of its sign inside."""
    text = _text(attachment.text)
    fence = fence_for(text)
    facts = _commented({"name": attachment.name})
    name = _inline(attachment.name) or "Attachment"
    return f"### {name} <!-- quietly:attachment {facts} -->\n\n{fence}\n{text}\n{fence}"


# --- what only programs read ------------------------------------------------------------------------------


def _data(tale: Tale, last: Message | None) -> str:
    conversation = tale.conversation
    facts: dict[str, object] = {
        "version": VERSION,
        "created": conversation.created,
        "updated": conversation.updated,
        "titled_by": conversation.titled_by,
        "model": conversation.model,
    }
    # A title that a hand changes in the file is the person's from then on.
    facts |= {"title": conversation.title} if conversation.titled_by != "person" else {}
    facts |= {"pinned": True} if conversation.pinned else {}
    if conversation.head != (last.id if last else None):
        facts["head"] = conversation.head
    lines = [facts, *(_message_data(message) for message in tale.messages)]
    return DATA + "".join(f"{_commented(each)}\n" for each in lines) + "-->"


def _message_data(message: Message) -> dict[str, object]:
    facts: dict[str, object] = {"id": message.id, "seen": digest(message), "created": message.created}
    measured = ("fingerprint", "prompt_tokens", "completion_tokens", "first_token_seconds", "decode_seconds")
    facts |= {name: value for name in measured if (value := getattr(message, name)) is not None}
    if message.packed_ids is not None:
        facts["token_ids"] = base64.b64encode(message.packed_ids).decode()
    for name in ("content", "reasoning"):
        if (text := getattr(message, name)) != shown(text):
            facts[name] = text
    if any(one.text != shown(one.text) for one in message.attachments):
        facts["attachments"] = [one.text for one in message.attachments]
    return facts


# --- signs ------------------------------------------------------------------------------------------------


def _text(text: str) -> str:
    """A message's text as it stands in the file: nothing in it passes for a marker."""
    return _MARKER.sub(r"<!-- \\\1", shown(text))


def _inline(text: str) -> str:
    """A name or a note inside a line of Markdown, its signs taken literally."""
    return _INLINE.sub(r"\\\1", one_line(text, 200))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")


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
    until_empty = False
    """Whether this is HTML up to the next empty line: no fence begins there, and nothing has to end it."""
    before = ""
    for line in content.split("\n"):
        begins, before = not before, line.strip(" \t")
        if until_empty:
            until_empty = bool(before)
        elif fence:
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
        elif _BLOCK_HTML.match(line) or (begins and _TAG_ALONE.match(line) and not _RAW_HTML.match(line)):
            until_empty = True
        elif start := _RAW_HTML.match(line):
            kind = str(start.lastgroup)
            end = _RAW_END.get(kind, f"</{start[0].strip(' <').lower()}>")
            html = "" if end in line[start.end() :].lower() else end
    return f"{fence[1]}{fence[2]}" if fence else html
