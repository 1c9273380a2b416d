"""Reads conversations.json, as ChatGPT's data export has it.

The file is a list of conversations. Each has its messages in `mapping`, a tree of nodes that name their parents; an
edited question or another answer is another child, and `current_node` is the end of the branch last seen. Besides
what people saw, the tree holds what they did not: empty roots, custom instructions, calls of tools and what these
gave, thoughts. What the model was told beforehand becomes the system prompt, its thoughts and tools the reasoning
before its answer. Knows neither stores nor files.
"""

import re
from collections.abc import Iterator

import msgspec

from app.carrying.foreign import (
    MOST,
    Node,
    Piece,
    a_list,
    an_object,
    elsewhere,
    fenced,
    grown,
    number,
    parsed,
    text,
    titled,
    within,
)
from app.carrying.tale import Tale, numbered
from app.chat.records import Conversation, Status
from app.chat.text import one_line
from app.errors import QuietlyError

_PROGRAM = "ChatGPT"

# References to what was found on the web stand in private signs, which the page replaces by links, or by nothing.
_REFERENCE = re.compile("( ?)(\ue200[^\ue200\ue201]*\ue201)")

_TOLD = {
    "user_editable_context": ("user_profile", "user_instructions"),
    "model_editable_context": ("model_set_context",),
}
"""Kinds of content that are told the model before every conversation, and where their words are."""
_THOUGHT = ("thoughts", "reasoning_recap")
_WORDS = ("text", "content", "result", "output_str")
"""Where kinds of content without parts have their words."""
_MEDIA = {
    "image_asset_pointer": "an image",
    "audio_asset_pointer": "a recording",
    "real_time_user_audio_video_asset_pointer": "a recording",
    "video_container_asset_pointer": "a video",
}
_ENDS: dict[str, Status] = {"interrupted": "stopped"}
_STATES: dict[str, Status] = {"in_progress": "interrupted", "finished_partial_completion": "stopped"}


def tales(data: bytes, name: str = "conversations.json") -> Iterator[Tale]:
    """The conversations in `data`, which is `mended`; those in which nothing was said are passed over.

    QuietlyError names the file, and the conversation in it, where it is damaged, too large or none of ChatGPT's.
    """
    for place, raw in enumerate(_conversations(data, name), 1):
        tale = _tale(raw, f"Conversation {place:,} in {name}")
        if tale.messages:
            yield tale


def _conversations(data: bytes, name: str) -> list[msgspec.Raw]:
    """The file's conversations, each still to be read; one that stands alone needs no list."""
    try:
        return msgspec.json.decode(data, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        return [msgspec.Raw(data)]
    except RecursionError:
        raise QuietlyError(f"{name} is nested too deep to be an export; export it again.") from None
    except msgspec.DecodeError:
        raise QuietlyError(f"{name} is damaged or not whole; download ChatGPT's export again.") from None


def _tale(raw: msgspec.Raw, what: str) -> Tale:
    found = parsed(raw, what)
    mapping = found.get("mapping")
    if not isinstance(mapping, dict):
        raise QuietlyError(f"{what} has no messages where ChatGPT keeps them; choose the file that it exported.")
    if len(mapping) > MOST:
        raise QuietlyError(f"{what} has {len(mapping):,} messages; Quietly reads up to {MOST:,}.")
    model = text(found.get("default_model_slug")) or None
    created = number(found.get("create_time")) or 0.0
    nodes, told = _nodes(mapping, model)
    current = found.get("current_node")
    messages, head = grown(nodes, current if isinstance(current, str) else None, created)
    title, whose = titled(found.get("title"), messages)
    last = next((message.model for message in reversed(messages) if message.model), model)
    conversation = Conversation(
        id=0,
        title=title,
        created=created or min((message.created for message in messages), default=0.0),
        updated=number(found.get("update_time")) or max((message.created for message in messages), default=created),
        head=head,
        system_prompt=within(dict.fromkeys(told)),
        model=last,
        pinned=found.get("is_starred") is True,
        titled_by=whose,
    )
    return numbered(conversation, messages)


def _nodes(mapping: dict[str, object], model: str | None) -> tuple[dict[str, Node], list[str]]:
    """The tree, and what the model was told before it."""
    parents: dict[str, str] = {}
    for key, value in mapping.items():
        for child in a_list(an_object(value).get("children")):
            if isinstance(child, str):
                parents.setdefault(child, key)
    nodes: dict[str, Node] = {}
    told: list[str] = []
    for key, value in mapping.items():
        node = an_object(value)
        message = an_object(node.get("message"))
        content = an_object(message.get("content"))
        piece: Piece | None = None
        if fields := _TOLD.get(text(content.get("content_type"))):
            told += [text(content.get(field)).strip() for field in fields]
        elif an_object(message.get("author")).get("role") == "system":
            told.append(within(_words(message)).strip())
        elif not _hidden(message):
            piece = _piece(message, model)
        parent = node.get("parent")
        nodes[key] = Node(parent if isinstance(parent, str) else parents.get(key), piece)
    return nodes, told


def _hidden(message: dict[str, object]) -> bool:
    metadata = an_object(message.get("metadata"))
    return metadata.get("is_visually_hidden_from_conversation") is True or message.get("weight") == 0


def _piece(message: dict[str, object], model: str | None) -> Piece | None:
    """What a message says; None where that is nothing."""
    author = an_object(message.get("author"))
    metadata = an_object(message.get("metadata"))
    created = number(message.get("create_time")) or None
    match author.get("role"):
        case "user":
            words = within([*_words(message), *_media(message)])
            return Piece("user", words, created=created) if words.strip() else None
        case "assistant":
            piece = _spoken(message)
            piece.model = text(metadata.get("model_slug")) or model
        case "tool":
            piece = _given(message)
        case _:
            return None
    if not piece.content.strip() and not piece.reasoning.strip():
        return None
    ending = text(an_object(metadata.get("finish_details")).get("type"))
    piece.status = _ENDS.get(ending) or _STATES.get(text(message.get("status")), "complete")
    piece.created = created
    return piece


def _spoken(message: dict[str, object]) -> Piece:
    """A piece of an answer: words for the person, a call of a tool, or thoughts."""
    content = an_object(message.get("content"))
    kind = content.get("content_type")
    recipient = one_line(text(message.get("recipient")))
    words = within(_words(message))
    if kind == "code":
        words = fenced(words, text(content.get("language")))
    if recipient not in ("", "all"):
        called = words if kind == "code" else fenced(words)
        return Piece("assistant", reasoning=within([f"Called {recipient}:", called]) if called else "")
    if kind in _THOUGHT or message.get("channel") in ("analysis", "commentary"):
        return Piece("assistant", reasoning=words)
    return Piece("assistant", within([words, *_media(message)]))


def _given(message: dict[str, object]) -> Piece:
    """What a tool gave: its words were for the model, its pictures for the person."""
    name = one_line(text(an_object(message.get("author")).get("name"))) or "A tool"
    gave = fenced(within(_words(message)))
    return Piece("assistant", within(_media(message)), within([f"{name} gave:", gave]) if gave else "")


def _words(message: dict[str, object]) -> list[str]:
    """The words of a message; of a recording what was heard in it."""
    content = an_object(message.get("content"))
    if content.get("content_type") == "thoughts":
        thoughts = map(an_object, a_list(content.get("thoughts")))
        return [text(thought.get(field)) for thought in thoughts for field in ("summary", "content")]
    parts = a_list(content.get("parts"))
    if not parts:
        return [next(filter(None, (text(content.get(field)) for field in _WORDS)), "")]
    found = map(an_object, a_list(an_object(message.get("metadata")).get("content_references")))
    links = {text(reference.get("matched_text")): text(reference.get("alt")) for reference in found}

    def resolved(reference: re.Match[str]) -> str:
        link = links.get(reference[2], "")
        return link and reference[1] + link

    return [_REFERENCE.sub(resolved, text(part) or text(an_object(part).get("text"))) for part in parts]


def _media(message: dict[str, object]) -> Iterator[str]:
    """The sentences in the place of a message's pictures, recordings and files."""
    attachments = map(an_object, a_list(an_object(message.get("metadata")).get("attachments")))
    names = {text(each.get("id")) or text(each.get("name")): text(each.get("name")) for each in attachments}
    for part in map(an_object, a_list(an_object(message.get("content")).get("parts"))):
        if kind := _MEDIA.get(text(part.get("content_type"))):
            identity = text(part.get("asset_pointer")).rpartition("//")[2]
            yield elsewhere(kind, names.pop(identity, ""), _PROGRAM)
    for name in names.values():
        yield elsewhere("the file", name, _PROGRAM)
