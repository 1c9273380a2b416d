"""Reads a conversation as LM Studio keeps it: a file NUMBER.conversation.json, the number being when it began.

Its `messages` are a line of places. Each has `versions`, of which `currentlySelected` is the one in use and was what
the next place followed: the others become branches. A question is a "singleStep" with content; an answer is a
"multiStep" whose steps are blocks of text, some of them thoughts, calls of tools, and notes for debugging. How the
conversation was tuned stands in `perChatPredictionConfig`. Knows neither stores nor files.
"""

import json
import re
from collections.abc import Iterator
from pathlib import PurePath

import msgspec

from app.carrying.foreign import (
    MOST,
    Node,
    Piece,
    a_list,
    an_object,
    count,
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
from app.chat.records import Conversation, GenerationSettings, Status
from app.chat.text import one_line, storable
from app.errors import QuietlyError
from app.fields import fits
from app.generation import GENERATION_FIELDS

_MILLISECONDS = re.compile(r"\d{13}(?!\d)")
_FIELDS = {
    "llm.prediction.temperature": "temperature",
    "llm.prediction.topPSampling": "top_p",
    "llm.prediction.topKSampling": "top_k",
    "llm.prediction.minPSampling": "min_p",
    "llm.prediction.repeatPenalty": "repetition_penalty",
    "llm.prediction.maxPredictedTokens": "max_tokens",
    "llm.prediction.contextOverflowPolicy": "overflow",
    "llm.prediction.reasoning.enableThinking": "thinking",
}
_OVERFLOW = {"stopAtLimit": "stop", "truncateMiddle": "oldest", "rollingWindow": "rolling"}
_SYSTEM_PROMPT = "llm.prediction.systemPrompt"
_ENDS: dict[str, Status] = {"userStopped": "stopped", "failed": "failed", "modelUnloaded": "interrupted"}


def tale(data: bytes, name: str) -> Tale:
    """The conversation in `data`, of the file `name`. QuietlyError where it is none, too large or damaged."""
    found = parsed(data, name)
    places = found.get("messages")
    if not isinstance(places, list):
        raise QuietlyError(f"{name} has no messages where LM Studio keeps them; choose a file of its conversations.")
    began = _MILLISECONDS.match(PurePath(name).name)
    created = number(found.get("createdAt")) or (float(began[0]) if began else 0.0)
    config = an_object(found.get("perChatPredictionConfig")) if found.get("usePerChatPredictionConfig", True) else {}
    fields = {text(each.get("key")): each.get("value") for each in map(an_object, a_list(config.get("fields")))}
    nodes, current, told = _nodes(places, name)
    messages, head = grown(nodes, current, created / 1000)
    used = text(an_object(found.get("lastUsedModel")).get("identifier"))
    title, whose = titled(found.get("name"), messages)
    said = max(number(found.get(key)) or 0.0 for key in ("userLastMessagedAt", "assistantLastMessagedAt"))
    conversation = Conversation(
        id=0,
        title=title,
        created=created / 1000,
        updated=max([created / 1000, said / 1000, *(message.created for message in messages)]),
        head=head,
        system_prompt=within(
            dict.fromkeys([text(fields.get(_SYSTEM_PROMPT)) or text(found.get("systemPrompt")), *told])
        ),
        model=next((message.model for message in reversed(messages) if message.model), used or None),
        pinned=found.get("pinned") is True,
        titled_by=whose,
        settings=_settings(fields),
    )
    return numbered(conversation, messages)


def _nodes(places: list[object], name: str) -> tuple[dict[str, Node], str | None, list[str]]:
    """The tree, the key of its end that was in use, and what a system was told among the messages."""
    nodes: dict[str, Node] = {}
    told: list[str] = []
    current: str | None = None
    for number_of, place in enumerate(places):
        versions = a_list(an_object(place).get("versions"))
        if len(nodes) + len(versions) > MOST:
            raise QuietlyError(f"{name} has more than {MOST:,} messages; Quietly reads up to that many.")
        if not versions:
            continue
        chosen = count(an_object(place).get("currentlySelected")) or 0
        above = current
        for version, value in enumerate(versions):
            key = f"{number_of}.{version}"
            message = an_object(value)
            if message.get("role") == "system":
                told.append(within(_words(message.get("content"))))
            nodes[key] = Node(above, _piece(message))
            if version == min(chosen, len(versions) - 1):
                current = key
    return nodes, current, told


def _piece(message: dict[str, object]) -> Piece | None:
    """What a version says; None where that is nothing."""
    role = message.get("role")
    if role == "user":
        words = within(_words(message.get("content")))
        return Piece("user", words) if words.strip() else None
    if role != "assistant":
        return None
    piece = Piece("assistant", model=text(an_object(message.get("senderInfo")).get("senderName")) or None)
    answer: list[str] = []
    reasoning: list[str] = []
    # An answer without steps has its content in it, as a question does.
    for step in map(an_object, a_list(message.get("steps")) or [message]):
        thought = an_object(step.get("style")).get("type") == "thinking"
        for part in _parts(step.get("content")):
            (reasoning if thought else answer).append(_shown(part))
            reasoning.append(_tool(part))
        _measure(piece, an_object(step.get("genInfo")))
        piece.created = piece.created or _began(step)
    piece.content, piece.reasoning = within(answer), within(reasoning)
    return piece if piece.content.strip() or piece.reasoning.strip() else None


def _measure(piece: Piece, info: dict[str, object]) -> None:
    """Take what LM Studio measured of a step: of several, the last is the one that wrote the answer."""
    if not info:
        return
    stats = an_object(info.get("stats"))
    piece.model = text(info.get("identifier")) or piece.model
    piece.status = _ENDS.get(text(stats.get("stopReason")), "complete")
    piece.prompt_tokens = count(stats.get("promptTokensCount"))
    piece.completion_tokens = count(stats.get("predictedTokensCount"))
    piece.first_token_seconds = number(stats.get("timeToFirstTokenSec"))
    # Its own rate is of the tokens after the first, as ours is.
    rate = number(stats.get("tokensPerSecond"))
    if rate and piece.completion_tokens:
        piece.decode_seconds = number((piece.completion_tokens - 1) / rate)


def _began(step: dict[str, object]) -> float | None:
    """When a step began, in seconds: its identifier begins with the milliseconds."""
    found = _MILLISECONDS.match(text(step.get("stepIdentifier")))
    return float(found[0]) / 1000 if found else None


def _words(content: object) -> list[str]:
    """The words of a content, and behind them the sentences in the place of its files."""
    parts = sorted(_parts(content), key=lambda part: part.get("type") == "file")
    return [_shown(part) for part in parts]


def _parts(content: object) -> Iterator[dict[str, object]]:
    """The parts of a content; one that is text alone has one."""
    if isinstance(content, str):
        return iter([{"type": "text", "text": content}])
    return map(an_object, a_list(content))


def _shown(part: dict[str, object]) -> str:
    match part.get("type"):
        case "text":
            return text(part.get("text"))
        case "file":
            kind = "an image" if part.get("fileType") == "image" else "the file"
            return elsewhere(kind, text(part.get("fileIdentifier")), "LM Studio")
        case _:
            return ""


def _tool(part: dict[str, object]) -> str:
    """What a tool was asked or what it gave; nothing where the part is something else."""
    match part.get("type"):
        case "toolCallRequest":
            asked = an_object(part.get("toolCallRequest")) or part
            name = one_line(text(asked.get("name"))) or "a tool"
            given = asked.get("arguments", asked.get("parameters"))
            return within([f"Called {name}:", fenced(_written(given), "json")])
        case "toolCallResult":
            return within(["A tool gave:", fenced(_written(part.get("content")))])
        case _:
            return ""


def _written(value: object) -> str:
    """What a tool was given or gave, as text; nothing where it nests too deep to be written."""
    if isinstance(value, str):
        return text(value)
    try:
        return storable(json.dumps(value, ensure_ascii=False, indent=2))
    except RecursionError:
        return ""


def _settings(fields: dict[str, object]) -> GenerationSettings:
    """How the conversation was tuned; what is switched off or does not fit was not chosen."""
    kinds = {field.id: field for field in GENERATION_FIELDS}
    chosen: dict[str, object] = {}
    for key, name in _FIELDS.items():
        value = fields.get(key)
        if isinstance(value, dict):
            value = value.get("value") if value.get("checked") is True else None
        if name == "overflow":
            value = _OVERFLOW.get(text(value))
        if fits(kinds[name], value):
            chosen[name] = value
    return msgspec.convert(chosen, GenerationSettings)
