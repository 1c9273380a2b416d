"""What the store hands out: conversations, messages, attachments, drafts and templates, as they stand.

Plain frozen records; they know neither the file they came from nor the screen.
"""

import struct
from typing import Any, Literal

import msgspec

from app.generation import GenerationSettings as GenerationSettings

Role = Literal["user", "assistant"]
Status = Literal["complete", "writing", "stopped", "interrupted", "failed"]
Outcome = Literal["complete", "stopped", "interrupted", "failed"]
TitledBy = Literal["line", "model", "person"]


class Conversation(msgspec.Struct, frozen=True):
    """A conversation as lists show it; times are seconds since 1970, UTC."""

    id: int
    title: str
    created: float
    updated: float
    """When something was last said in it."""
    head: int | None
    """The message at the end of the branch in use."""
    system_prompt: str
    model: str | None
    """The model that answered last, or was chosen for the first answer."""
    pinned: bool = False
    titled_by: TitledBy = "line"
    """Whose the title is: the first line of the first question, a model's, or the person's."""
    settings: GenerationSettings = GenerationSettings()


class Attachment(msgspec.Struct, frozen=True):
    """What a person gave along with a message; `text` is what the model reads."""

    name: str
    text: str


class Message(msgspec.Struct, frozen=True):
    """A message as it stands in the file; what was never measured is None."""

    id: int
    conversation: int
    parent: int | None
    role: Role
    content: str
    reasoning: str
    model: str | None
    fingerprint: str | None
    sampling: dict[str, object] | None
    status: Status
    note: str
    packed_ids: bytes | None
    """The answer's tokens as stored, four bytes each, little-endian; a tuple would take 36."""
    prompt_tokens: int | None
    completion_tokens: int | None
    first_token_seconds: float | None
    decode_seconds: float | None
    created: float
    edited: bool = False
    """A person changed the answer's words."""
    attachments: tuple[Attachment, ...] = ()

    @property
    def token_ids(self) -> tuple[int, ...] | None:
        """The exact tokens of the answer, unpacked at each call."""
        if self.packed_ids is None:
            return None
        count = len(self.packed_ids) // 4
        return struct.unpack(f"<{count}I", self.packed_ids[: count * 4])


class Draft(msgspec.Struct, frozen=True):
    """What was typed and not yet sent."""

    text: str = ""
    attachments: tuple[Attachment, ...] = ()


class Template(msgspec.Struct, frozen=True):
    """A prompt that the person kept under a name."""

    name: str
    text: str


class SystemPrompt(msgspec.Struct, frozen=True):
    """What a model is told before the first message, kept under a name."""

    name: str
    text: str


class Preset(msgspec.Struct, frozen=True):
    """How a conversation begins: which model, what it is told, how it answers."""

    name: str
    model: str | None = None
    """The model's name for people; None is whichever is chosen."""
    system_prompt: str = ""
    settings: GenerationSettings = GenerationSettings()


class Removed(msgspec.Struct, frozen=True):
    """What a deletion took away: in memory alone, for `Store.restore`, and gone with the program."""

    kind: Literal["conversation", "message"]
    id: int
    created: float
    conversation: int
    parent: int | None
    """What the removed message followed."""
    head: int | None
    """Where the conversation's head stood before."""
    rows: tuple[tuple[str, tuple[tuple[Any, ...], ...]], ...]
    """By table, exactly as they stood there, in the order in which they go back."""
