"""From a stored conversation to a question for the engine, and from what the engine did back to the store.

Shared by the window and the command line. It knows the store's messages and the engine's, no widget and no process.
"""

from collections.abc import Sequence

from app.chat.store import Message, Outcome, Store
from app.engine.protocol import ChatMessage, Finished, Loaded

STORE_EVERY = 0.25
"""Seconds between two writes of a growing answer: what a power cut may cost."""

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
    """The key under which the engine keeps the conversation's cache."""
    return f"conversation-{conversation}"


def prompt_of(system_prompt: str, branch: Sequence[Message]) -> list[ChatMessage]:
    """`branch`, root to head, as messages that alternate.

    An answer that never came to a word is left out; the questions around it become one, because many templates
    refuse two messages of the same role in a row. Answers carry their exact token ids and whose they are.
    """
    messages: list[ChatMessage] = []
    if system_prompt.strip():
        messages.append(ChatMessage("system", system_prompt))
    for message in branch:
        if message.role == "assistant":
            if message.content and messages and messages[-1].role == "user":
                messages.append(ChatMessage("assistant", message.content, message.token_ids, message.fingerprint))
        elif messages and messages[-1].role == "user":
            messages[-1] = ChatMessage("user", f"{messages[-1].content}\n\n{message.content}")
        else:
            messages.append(ChatMessage("user", message.content))
    return messages


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
) -> Message:
    """Keep how an answer ended: `facts` of the model that wrote it and what it took, as far as known."""
    return store.finish(
        message,
        status,
        answer=answer,
        reasoning=reasoning,
        note=note,
        fingerprint=facts.fingerprint if facts else None,
        token_ids=finished.token_ids if finished else None,
        prompt_tokens=finished.prompt_tokens if finished else None,
        completion_tokens=finished.completion_tokens if finished else None,
        first_token_seconds=finished.first_token_seconds if finished else None,
        decode_seconds=finished.decode_seconds if finished else None,
    )
