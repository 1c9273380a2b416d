"""From a stored conversation to a question for the engine, and from what the engine did back to the store.

Shared by the window and the command line. It knows the store's messages and the engine's, no widget and no process.
A question is asked as its answer's `Message.sampling` says: what was chosen is stored first.
"""

from collections.abc import Sequence

import msgspec

from app import kept
from app.chat.store import Attachment, Message, Outcome, Store
from app.chat.text import fence_for, one_line
from app.engine.protocol import (
    ChatMessage,
    Delta,
    Event,
    Finished,
    Loaded,
    Progress,
    Reading,
    Restated,
    SamplingOptions,
)
from app.generation import GenerationSettings

STORE_EVERY = 0.25
"""Seconds between two writes of a growing answer: what a power cut may cost."""

_NAME_CELLS = 200

_NOTES = {
    "context": "The context is full, so the answer ends here. Begin a new conversation to go on.",
    "length": "The answer ends here because it has reached the length that was allowed.",
}


def note_of(finished: Finished) -> str:
    """What is noted beside an answer that ended for a reason other than its own, or did not see everything."""
    notes = [_NOTES.get(finished.reason, "")]
    match finished.dropped_messages:
        case 0:
            pass
        case 1:
            notes.append("The oldest message no longer fits into the context, and was not read.")
        case count:
            notes.append(f"The {count:,} oldest messages no longer fit into the context, and were not read.")
    return " ".join(filter(None, notes))


def session_of(conversation: int) -> str:
    """The key under which the engine keeps what it has read of the conversation: of a temporary one in memory alone."""
    return f"temporary-{conversation}" if conversation > Store.TEMPORARY else kept.session_of(conversation)


class Written:
    """An answer as it grows. It takes what a turn says, and knows at any moment how far it has come."""

    def __init__(self, answer: str = "", reasoning: str = "") -> None:
        """`answer`, `reasoning`: the words that an answer has already which is to go on."""
        self.answer = answer
        self.reasoning = reasoning
        self.stage = ""
        """What is going on: "convert", "load", "restore", "prefill", "thinking", "writing"; nothing before that."""
        self.done = 0
        self.total = 0
        """How far the stage has come; 0 of 0 where that is not counted."""
        self.prompt_tokens: int | None = None
        """Tokens before the first new one, once they are counted."""
        self.finished: Finished | None = None

    def take(self, event: Event) -> None:
        """Note what happened."""
        match event:
            case Progress(stage=stage, done=done, total=total):
                self.stage, self.done, self.total = stage, done, total
                if stage == "prefill" and self.prompt_tokens is None:
                    self.prompt_tokens = total  # the first counts all of them, later ones what is left to read
            case Restated(answer=answer, reasoning=reasoning):
                self.answer, self.reasoning = answer, reasoning
            case Delta(part="answer", text=text):
                self.answer += text
                self._go_over_to("writing")
            case Delta(text=text):
                self.reasoning += text
                self._go_over_to("thinking")
            case Finished():
                self.finished = event
                self.prompt_tokens = event.prompt_tokens or self.prompt_tokens

    def _go_over_to(self, stage: str) -> None:
        self.stage, self.done, self.total = stage, 0, 0


# --- settings -------------------------------------------------------------------------------------------------------


def effective(
    conversation: GenerationSettings, model: GenerationSettings, program: GenerationSettings
) -> GenerationSettings:
    """What is in force where a conversation, a model and the program have settings; the rest is the checkpoint's."""
    return conversation.over(model).over(program)


def to_store(settings: GenerationSettings) -> dict[str, object]:
    """What was chosen, as it is kept with an answer."""
    chosen: dict[str, object] = msgspec.to_builtins(settings)
    return chosen


def settings_of(answer: Message) -> GenerationSettings:
    """What was chosen for an answer; nothing where it is not known, or stored in a form that means nothing."""
    try:
        return msgspec.convert(answer.sampling or {}, GenerationSettings)
    except msgspec.ValidationError:
        return GenerationSettings()


def continued_with(settings: GenerationSettings, answer: Message) -> GenerationSettings:
    """`settings` for an answer that is to go on: whether it reasons was settled when it began, for what there is of it
    stands behind a prompt that says so."""
    return msgspec.structs.replace(settings, thinking=settings_of(answer).thinking)


def sampling_of(settings: GenerationSettings, own: SamplingOptions | None = None) -> SamplingOptions:
    """How tokens are drawn by `settings`; what they leave open is the checkpoint's `own`, where that is known."""
    drawn = own or SamplingOptions()
    chosen = {name: value for name in drawn.__struct_fields__ if (value := getattr(settings, name)) is not None}
    return msgspec.structs.replace(drawn, **chosen)


def reading_of(settings: GenerationSettings) -> Reading:
    """How the conversation is read by `settings`."""
    return Reading(settings.context, settings.overflow or "oldest", settings.thinking)


def context_of(settings: GenerationSettings, holds: int) -> int:
    """Tokens that may stand in the context by `settings`: a rolling one goes on to what the model can hold."""
    if settings.context is None or settings.overflow == "rolling":
        return holds
    return min(settings.context, holds)


# --- prompts --------------------------------------------------------------------------------------------------------


def prompt_of(system_prompt: str, branch: Sequence[Message], *, continued: bool = False) -> list[ChatMessage]:
    """`branch`, root to head, as messages that alternate.

    An answer that never came to a word is left out; the questions around it become one, because many templates
    refuse two messages of the same role in a row. Answers carry their exact token ids and whose they are. What a
    person gave along stands before the words of the message, each piece named and fenced.

    `continued`: the branch ends with an answer that is to go on. It stays the last message, also when it has come to
    no word but to tokens of reasoning.
    """
    messages: list[ChatMessage] = []
    if system_prompt.strip():
        messages.append(ChatMessage("system", system_prompt))
    for message in branch:
        if message.role == "assistant":
            begun = message.content or (continued and message is branch[-1] and message.packed_ids)
            if begun and messages and messages[-1].role == "user":
                messages.append(ChatMessage("assistant", message.content, message.token_ids, message.fingerprint))
        else:
            _ask(messages, message)
    return messages


def asking(messages: Sequence[ChatMessage], question: Message) -> list[ChatMessage]:
    """What `prompt_of` made, with `question` behind it."""
    asked = list(messages)
    _ask(asked, question)
    return asked


def _ask(messages: list[ChatMessage], question: Message) -> None:
    if messages and messages[-1].role == "user":
        messages[-1] = ChatMessage("user", f"{messages[-1].content}\n\n{_said(question)}")
    else:
        messages.append(ChatMessage("user", _said(question)))


def as_message(text: str, attachments: Sequence[Attachment]) -> Message:
    """What stands in the composer, as the message it would become."""
    return Message(
        id=0,
        conversation=0,
        parent=None,
        role="user",
        content=text,
        reasoning="",
        model=None,
        fingerprint=None,
        sampling=None,
        status="complete",
        note="",
        packed_ids=None,
        prompt_tokens=None,
        completion_tokens=None,
        first_token_seconds=None,
        decode_seconds=None,
        created=0.0,
        attachments=tuple(attachments),
    )


def _said(message: Message) -> str:
    """All that a person's message says to the model: what came along, then its words."""
    parts = [_enclosed(attachment) for attachment in message.attachments]
    return "\n\n".join(filter(None, [*parts, message.content]))


def _enclosed(attachment: Attachment) -> str:
    """An attachment under its name, between fences longer than any inside: its end is where the longer one stands."""
    fence = fence_for(attachment.text)
    name = one_line(attachment.name, _NAME_CELLS).replace("`", "'") or "without a name"
    end = "" if attachment.text.endswith("\n") else "\n"
    return f"Attached file `{name}`:\n{fence}\n{attachment.text}{end}{fence}"


# --- ends -----------------------------------------------------------------------------------------------------------


def record(
    store: Store,
    message: int,
    status: Outcome,
    *,
    answer: str,
    reasoning: str,
    note: str = "",
    facts: Loaded | None = None,
    finished: Finished | None = None,
    begun: Message | None = None,
) -> Message:
    """Keep how an answer ended: `facts` of the model that wrote it and what it took, as far as known.

    `begun`: the answer as it stood before it was continued; where nothing came to it, its exact tokens stay.
    """
    fingerprint = facts.fingerprint if facts else None
    token_ids = finished.token_ids if finished else None
    if begun and (answer, reasoning) == (begun.content, begun.reasoning) and not (finished and finished.token_ids):
        fingerprint, token_ids = begun.fingerprint, begun.token_ids
    return store.finish(
        message,
        status,
        answer=answer,
        reasoning=reasoning,
        note=note,
        fingerprint=fingerprint,
        token_ids=token_ids,
        prompt_tokens=finished.prompt_tokens if finished else None,
        completion_tokens=finished.completion_tokens if finished else None,
        first_token_seconds=finished.first_token_seconds if finished else None,
        decode_seconds=finished.decode_seconds if finished else None,
    )
