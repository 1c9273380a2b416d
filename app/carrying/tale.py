"""A conversation as one value, apart from every store: what exports write and what imports read.

Its messages are numbered from 1 in the order of their age, so that it is equal to itself wherever it was kept before.
Knows records and asks a store for them; knows no format.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from app.chat.records import Attachment, Conversation, Message, Role, Status
from app.chat.text import one_line

if TYPE_CHECKING:
    from app.chat.store import Store

Branches = Literal["current", "all"]
"""What of a conversation is carried: the branch in use, or everything that was ever said in it."""
Format = Literal["markdown", "json", "html"]

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A number that a store can keep."""

ENDINGS = {"stopped": "Stopped here", "interrupted": "Interrupted here", "failed": "Failed"}
"""By an answer's status, what people read where it did not end by itself."""

LATEST = 253_370_764_800.0
"""The last moment that is carried as it is, in seconds since 1970: calendars end with the year 9999."""


class Tale(msgspec.Struct, frozen=True):
    """A conversation with its messages, the oldest first. Made by `numbered`, `tale_of` or `read`.

    A message's id is its place, from 1; `parent` and the conversation's `head` are such ids, parents come before what
    follows them. The conversation's own id is 0 and nothing in it is still being written.
    """

    conversation: Conversation
    messages: tuple[Message, ...]


def tale_of(store: "Store", conversation: int, branches: Branches = "current") -> Tale:
    """The conversation as it stands in `store`. QuietlyError where it is gone."""
    found = store.conversation(conversation)
    return numbered(found, store.whole(conversation) if branches == "all" else store.branch(conversation))


def numbered(conversation: Conversation, messages: Sequence[Message]) -> Tale:
    """The tale of `messages`, the oldest first, whatever their ids were.

    What follows none of those before it opens the conversation. A head that is not among them becomes the last one;
    None stays None.
    """
    places: dict[int, int] = {}
    told = []
    for place, message in enumerate(messages, 1):
        told.append(
            msgspec.structs.replace(
                message,
                id=place,
                conversation=0,
                parent=None if message.parent is None else places.get(message.parent),
                status="interrupted" if message.status == "writing" else message.status,
                created=moment(message.created),
            )
        )
        places[message.id] = place
    head = None if conversation.head is None else places.get(conversation.head, len(told) or None)
    created, updated = moment(conversation.created), moment(conversation.updated)
    return Tale(msgspec.structs.replace(conversation, id=0, head=head, created=created, updated=updated), tuple(told))


def said(
    identity: int,
    parent: int | None,
    role: Role,
    content: str,
    created: float,
    *,
    reasoning: str = "",
    model: str | None = None,
    status: Status = "complete",
    note: str = "",
    attachments: Sequence[Attachment] = (),
) -> Message:
    """A message of which nothing was measured, for `numbered`: what other programs' exports are made of."""
    return Message(
        id=identity,
        conversation=0,
        parent=parent,
        role=role,
        content=content,
        reasoning=reasoning,
        model=model,
        fingerprint=None,
        sampling=None,
        status=status,
        note=note,
        packed_ids=None,
        prompt_tokens=None,
        completion_tokens=None,
        first_token_seconds=None,
        decode_seconds=None,
        created=created,
        attachments=tuple(attachments),
    )


def moment(seconds: float) -> float:
    """A time that calendars know: `seconds` since 1970, or the nearest there is to it; 0 for what is no number."""
    return 0.0 if math.isnan(seconds) else float(min(max(seconds, 0.0), LATEST))


def models_of(tale: Tale) -> list[str]:
    """The models that answered, in the order of their first answers, and the one that is chosen."""
    answered = [message.model for message in tale.messages if message.role == "assistant"]
    return [model for model in dict.fromkeys([*answered, tale.conversation.model]) if model]


def gist(message: Message) -> str:
    """A message in one line: its first words, else the name of what was attached."""
    texts = (message.content, *(one.name for one in message.attachments))
    return next(filter(None, (one_line(text, 200) for text in texts)), "…")


def branch_of(tale: Tale) -> list[Message]:
    """The messages of the branch in use, the oldest first."""
    found: list[Message] = []
    place = tale.conversation.head
    while place is not None:
        found.append(tale.messages[place - 1])
        place = found[-1].parent
    return found[::-1]


def runs(tale: Tale) -> Iterator[list[Message]]:
    """The branch in use, then what is left: from its oldest message on down to a leaf, again and again."""
    used = branch_of(tale)
    yield used
    placed = {message.id for message in used}
    following: dict[int | None, list[Message]] = {}
    for message in tale.messages:
        if message.id not in placed:
            following.setdefault(message.parent, []).append(message)
    for message in tale.messages:
        run = []
        onward: Message | None = message
        while onward and onward.id not in placed:
            placed.add(onward.id)
            run.append(onward)
            onward = next((each for each in following.get(onward.id, ()) if each.id not in placed), None)
        if run:
            yield run
