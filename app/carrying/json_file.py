"""A conversation as a JSON file, without loss: one object, every message an object on a line of its own.

    {
    "format": "quietly conversation",
    "version": 1,
    "conversation": {"title": ..., ...},     as `ConversationObject` says
    "messages": [
    {"id": 1, "role": "user", ...},          as `MessageObject` says
    {"id": 2, "parent": 1, ...}
    ]
    }

Text is UTF-8. What is left out has the default named below. A reader may ignore names that it does not know; where a
change would make that wrong, `version` grows. Knows neither stores nor files.
"""

import struct
from typing import Annotated, Literal

import msgspec

from app.carrying.tale import Count, Tale, numbered
from app.chat.records import Attachment, Conversation, GenerationSettings, Message, Outcome, Role, TitledBy
from app.chat.text import one_line
from app.errors import QuietlyError

FORMAT = "quietly conversation"
VERSION = 1

_TokenId = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]


class ConversationObject(msgspec.Struct, frozen=True):
    """What holds for the conversation as a whole."""

    title: str
    created: float
    """Seconds since 1970-01-01 00:00 UTC."""
    updated: float
    """When something was last said in it; seconds since 1970, UTC."""
    titled_by: TitledBy
    """Whose the title is: the first line of the first question ("line"), a "model"'s or the "person"'s."""
    head: Count | None = None
    """The message at the end of the branch in use; null: nothing is said on it yet."""
    system_prompt: str = ""
    model: str | None = None
    """The model that answered last, or was chosen for the first answer."""
    pinned: bool = False
    settings: GenerationSettings = GenerationSettings()
    """How its answers are generated; only what was chosen."""


class MessageObject(msgspec.Struct, frozen=True):
    """A message. What was never measured is left out."""

    id: Count
    """Grows with the age of the messages, the oldest first."""
    role: Role
    created: float
    """Seconds since 1970-01-01 00:00 UTC."""
    content: str
    """The text as written."""
    parent: Count | None = None
    """The message this one follows; null: it opens the conversation. Messages with the same one are branches."""
    reasoning: str = ""
    """What the model thought before it answered."""
    attachments: tuple[Attachment, ...] = ()
    """What was given along: each a `name` and the `text` that the model reads."""
    status: Outcome = "complete"
    note: str = ""
    """Why, where the status needs it."""
    edited: bool = False
    """A person changed the words of this answer."""
    model: str | None = None
    """The model's name for people."""
    fingerprint: str | None = None
    """The exact weights, configuration and tokenizer that wrote it."""
    sampling: dict[str, object] | None = None
    """The settings it was asked with."""
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    first_token_seconds: float | None = None
    decode_seconds: float | None = None
    token_ids: tuple[_TokenId, ...] | None = None
    """The exact tokens of the answer."""


class _File(msgspec.Struct, frozen=True):
    format: Literal["quietly conversation"]
    conversation: ConversationObject
    messages: tuple[MessageObject, ...]


class _Version(msgspec.Struct, frozen=True):
    version: Count


_USUAL: dict[type[msgspec.Struct], dict[str, object]] = {
    kind: {field.name: field.default for field in msgspec.structs.fields(kind)}
    for kind in (ConversationObject, MessageObject)
}


def json_file(tale: Tale) -> str:
    """The conversation as one JSON object."""
    encode = msgspec.json.Encoder().encode
    about = encode(_sparse(ConversationObject, tale.conversation)).decode()
    messages = (encode(_sparse(MessageObject, message)).decode() for message in tale.messages)
    head = ("{", f'"format": "{FORMAT}",', f'"version": {VERSION},', f'"conversation": {about},', '"messages": [')
    return "\n".join((*head, ",\n".join(messages), "]", "}", ""))


def from_json(data: bytes, name: str) -> Tale:
    """The conversation in the object that `json_file` wrote. QuietlyError names `name`."""
    try:
        if msgspec.json.decode(data, type=_Version).version > VERSION:
            raise QuietlyError(f"{name} was written by a newer Quietly; bring this one up to date and try again.")
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        flaw = one_line(str(error), 120)
        raise QuietlyError(f"{name} is damaged ({flaw}); export the conversation again.") from error
    about = file.conversation
    values = {field: getattr(about, field) for field in about.__struct_fields__}
    earlier: set[int] = set()
    for each in file.messages:
        if each.parent is not None and each.parent not in earlier:
            raise QuietlyError(f"{name} is damaged (message {each.id} follows none before it); export it again.")
        earlier.add(each.id)
    return numbered(Conversation(id=0, **values), [_message(each) for each in file.messages])


def _sparse(kind: type[msgspec.Struct], record: Conversation | Message) -> dict[str, object]:
    """What an object of this kind says of `record`, without what is as it usually is."""
    return {name: value for name, usual in _USUAL[kind].items() if (value := getattr(record, name)) != usual}


def _message(read: MessageObject) -> Message:
    values = {field: getattr(read, field) for field in read.__struct_fields__ if field != "token_ids"}
    ids = read.token_ids
    return Message(conversation=0, packed_ids=None if ids is None else struct.pack(f"<{len(ids)}I", *ids), **values)
